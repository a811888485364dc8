"""A corpus for language modelling: real text that is always there, its tokenizer, and its parts."""

from typing import Literal

from jaxdl.data.text.records import Records
from jaxdl.data.text.streams import TokenStream
from jaxdl.data.text.tokenizer import Kind, Tokenizer, train_tokenizer


def python_reference(*, unit: Literal["file", "paragraph"] = "file") -> Records:
    """The parts of the Python language reference that Python carries for its `help`, 450 kB or more.

    Args:
      unit: What a record is: all of it, or a paragraph, whose lines are joined.
    """
    from pydoc_data.topics import topics

    text = "\n".join(topics[name].strip("\n") + "\n" for name in sorted(topics))
    if unit == "file":
        return Records(fields={"text": (text,)}, places=("pydoc_data.topics",))
    parts = {name: [" ".join(part.split()) for part in topics[name].split("\n\n")] for name in sorted(topics)}
    found = {f"pydoc_data.topics, {name}:{n}": part for name in parts for n, part in enumerate(parts[name], 1) if part}
    return Records(fields={"text": tuple(found.values())}, places=tuple(found))


def tokenizer_of(
    *, records: Records, kind: Kind = "bpe", vocabulary_size: int = 8_000, field: str | tuple[str, ...] = "text"
) -> Tokenizer:
    """A tokenizer trained on one field of records, or on several; see `train_tokenizer`."""
    fields = (field,) if isinstance(field, str) else field
    texts = (text for name in fields for text in records.fields[name])
    return train_tokenizer(texts, kind=kind, vocabulary_size=vocabulary_size)


def part_of(*, stream: TokenStream, begin: float = 0.0, end: float = 1.0) -> TokenStream:
    """A share of a stream, as `stream.part(begin, end)`, for configs."""
    return stream.part(begin, end)
