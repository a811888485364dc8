"""Data sets that TensorFlow Datasets has prepared, read without TensorFlow."""

import dataclasses
from typing import Any

import numpy as np

from jaxdl.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TfdsSource:
    """One split of a prepared data set, with random access.

    Attributes:
      data: `tfds`'s own data source.
      name: What error messages call it.
      fields: The features that an example holds.
      labels: Class names in the order of their ids.
    """

    data: Any
    name: str
    fields: tuple[str, ...]
    labels: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"There is no example {index}; there are {len(self)}.")
        try:
            example = self.data[index]
        except RuntimeError as error:  # What ArrayRecord's reader raises about a damaged file.
            raise DataError(f"{self.describe(index)} is corrupt: {error}") from error
        return {name: _narrow(example[name]) for name in self.fields}

    def describe(self, index: int) -> str:
        """Such as `cifar10 train, example 12`."""
        return f"{self.name}, example {index}"


def tfds_source(
    *, name: str, split: str = "train", data_dir: str | None = None, fields: tuple[str, ...] = ()
) -> TfdsSource:
    """A data set that TensorFlow Datasets has prepared in the `array_record` (or `parquet`) format.

    Nothing is downloaded and no TensorFlow imported. Image features stay encoded (bytes): `Decode` makes pixels.

    Args:
      name: Such as `"cifar10"` or `"cifar10:3.0.2"` or `"name/config"`.
      split: Such as `"train"` or `"train[:80%]"`.
      data_dir: Where it was prepared; None for the default of TensorFlow Datasets.
      fields: The features that examples hold; by default all that are not text.

    Raises:
      DataError: the data set is not prepared there, or in another format, or the split or a field is unknown. The
        message says how to prepare it.
    """
    import tensorflow_datasets as tfds

    try:
        builder = tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise DataError(_how_to_prepare(name, data_dir, "is not prepared")) from error
    features = dict(sorted(builder.info.features.items()))
    fields = fields or tuple(key for key, feature in features.items() if not isinstance(feature, tfds.features.Text))
    if unknown := [field for field in fields if field not in features]:
        raise DataError(f"{name} has no feature {', '.join(unknown)}; it has {', '.join(features)}.")
    images = [key for key in features if isinstance(features[key], tfds.features.Image)]
    try:
        data = builder.as_data_source(split=split, decoders={key: tfds.decode.SkipDecoding() for key in images})
    except NotImplementedError as error:
        problem = f"is prepared as {builder.info.file_format.value}, which has no random access"
        raise DataError(_how_to_prepare(name, data_dir, problem)) from error
    except ValueError as error:
        raise DataError(
            f"{name}, split {split!r}: {error}. Its splits are {', '.join(builder.info.splits)}."
        ) from error
    classes = [key for key in fields if isinstance(features[key], tfds.features.ClassLabel)]
    labels = tuple(features["label" if "label" in classes else classes[0]].names) if classes else ()
    return TfdsSource(data=data, name=f"{name} {split}", fields=tuple(fields), labels=labels)


def _how_to_prepare(name: str, data_dir: str | None, problem: str) -> str:
    where = f"data_dir={data_dir!r}" if data_dir else "the default data_dir"
    argument = f", data_dir={data_dir!r}" if data_dir else ""
    return (
        f"The data set {name} {problem} in {where}. Prepare it once, in Python: "
        f'import tensorflow_datasets as tfds; tfds.builder({name!r}{argument}, file_format="array_record")'
        ".download_and_prepare(). (Many of its data sets need TensorFlow installed for this step, and only for this.)"
    )


def _narrow(value: Any) -> Any:
    """int64 class ids as int32, the widest integer that JAX takes by default."""
    return np.int32(value) if isinstance(value, np.int64 | int) and -(2**31) <= value < 2**31 else value
