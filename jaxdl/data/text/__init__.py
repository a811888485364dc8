"""Text: tokenizers, readers of text files, and sources that give token ids."""

from jaxdl.data.text.records import Records, read_jsonl, read_lines, read_parallel, read_table
from jaxdl.data.text.rows import PackedRows, TextRows
from jaxdl.data.text.streams import TokenStream, read_stream, tokenized, write_stream
from jaxdl.data.text.tokenizer import Tokenizer, characters, load_tokenizer, train_tokenizer, utf8_bytes

__all__ = [
    "PackedRows",
    "Records",
    "TextRows",
    "TokenStream",
    "Tokenizer",
    "characters",
    "load_tokenizer",
    "read_jsonl",
    "read_lines",
    "read_parallel",
    "read_stream",
    "read_table",
    "tokenized",
    "train_tokenizer",
    "utf8_bytes",
    "write_stream",
]
