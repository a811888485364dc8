"""Sources: data sets with random access, one kind per file."""

from jaxdl.data.sources.array_records import array_record, write_array_record
from jaxdl.data.sources.arrays import ArraySource
from jaxdl.data.sources.captions import Captioned, CaptionedFiles, class_captions, class_prompts
from jaxdl.data.sources.digits_8x8 import digits
from jaxdl.data.sources.folds import Fold
from jaxdl.data.sources.idx_files import idx, read_idx
from jaxdl.data.sources.image_folder import ImageFolder
from jaxdl.data.sources.memory import in_memory
from jaxdl.data.sources.synthetic import Synthetic
from jaxdl.data.sources.tfds import tfds_source

__all__ = [
    "ArraySource",
    "Captioned",
    "CaptionedFiles",
    "Fold",
    "ImageFolder",
    "Synthetic",
    "array_record",
    "class_captions",
    "class_prompts",
    "digits",
    "idx",
    "in_memory",
    "read_idx",
    "tfds_source",
    "write_array_record",
]
