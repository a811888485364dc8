"""Text: tokenizers, readers of text files, and sources that give token ids."""

from jaxdl.data.text.corpus import part_of, python_reference, tokenizer_of
from jaxdl.data.text.labels import by_score, few_of, fold_of, joined, read_classes
from jaxdl.data.text.masked import MaskedRows
from jaxdl.data.text.pairs import PairRows
from jaxdl.data.text.prepared import read_tfds
from jaxdl.data.text.records import Records, read_jsonl, read_lines, read_parallel, read_table
from jaxdl.data.text.rows import PackedRows, TextRows
from jaxdl.data.text.spans import CorruptSpans
from jaxdl.data.text.squad import Question, Questions, question_pairs, question_text, read_squad, write_squad
from jaxdl.data.text.streams import TokenStream, read_stream, tokenized, write_stream
from jaxdl.data.text.tokenizer import Tokenizer, characters, load_tokenizer, train_tokenizer, utf8_bytes
from jaxdl.data.text.windows import AnswerWindows, tokenizer_of_questions

__all__ = [
    "AnswerWindows",
    "CorruptSpans",
    "MaskedRows",
    "PackedRows",
    "PairRows",
    "Question",
    "Questions",
    "Records",
    "TextRows",
    "TokenStream",
    "Tokenizer",
    "by_score",
    "characters",
    "few_of",
    "fold_of",
    "joined",
    "load_tokenizer",
    "part_of",
    "python_reference",
    "question_pairs",
    "question_text",
    "read_classes",
    "read_jsonl",
    "read_lines",
    "read_parallel",
    "read_squad",
    "read_stream",
    "read_table",
    "read_tfds",
    "tokenized",
    "tokenizer_of",
    "tokenizer_of_questions",
    "train_tokenizer",
    "utf8_bytes",
    "write_squad",
    "write_stream",
]
