"""Text: tokenizers, readers of text files, and sources that give token ids."""

from jaxdl.data.text.corpus import part_of, python_reference, tokenizer_of
from jaxdl.data.text.pairs import PairRows
from jaxdl.data.text.records import Records, read_jsonl, read_lines, read_parallel, read_table
from jaxdl.data.text.rows import PackedRows, TextRows
from jaxdl.data.text.streams import TokenStream, read_stream, tokenized, write_stream
from jaxdl.data.text.tokenizer import Tokenizer, characters, load_tokenizer, train_tokenizer, utf8_bytes

__all__ = [
    "PackedRows",
    "PairRows",
    "Records",
    "TextRows",
    "TokenStream",
    "Tokenizer",
    "characters",
    "load_tokenizer",
    "part_of",
    "python_reference",
    "read_jsonl",
    "read_lines",
    "read_parallel",
    "read_stream",
    "read_table",
    "tokenized",
    "tokenizer_of",
    "train_tokenizer",
    "utf8_bytes",
    "write_stream",
]
