"""Sources that give rows of token ids, gathered batch by batch. Letters: B batch, L row length, T tokens."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxdl.data.text.records import Records
from jaxdl.data.text.streams import TokenStream
from jaxdl.data.text.tokenizer import Tokenizer
from jaxdl.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PackedRows:
    """Rows of `length` tokens cut out of a stream, documents following one another, for next-token prediction.

    `tokens` and `targets` (B, L) int32, the token that follows each; `token_mask` (B, L), 0 where that one belongs to
    the next document or to padding; `segments` (B, L), the number of the document within the row, from 1; `positions`
    (B, L), the place within the document's part of the row; `target_bytes` (B, L), bytes of text that the target
    stands for. A row is a slice of the stream, so that rows are the same whatever reads them.

    Attributes:
      stream: The documents.
      length: L.
      stride: Tokens from the start of one row to that of the next: `length` reads every token once an epoch, 1 makes
        a row of every place.
    """

    stream: TokenStream
    length: int
    stride: int | None = None

    def __post_init__(self) -> None:
        if self.length < 1 or self._stride < 1:
            raise ValueError(f"length and stride must be at least 1, not {self.length} and {self.stride}.")
        if len(self.stream) < 2:
            raise DataError(f"{self.stream.name} holds {len(self.stream)} tokens: too few to predict one from another.")

    @property
    def _stride(self) -> int:
        return self.length if self.stride is None else self.stride

    def __len__(self) -> int:
        targets = len(self.stream) - 1
        # With overlapping rows no row is padded; with rows end to end the last one may be.
        whole = (targets - self.length) // self._stride + 1
        return max(1, -(-targets // self._stride) if self._stride >= self.length else whole)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: rows[0] for name, rows in self.gather(np.asarray([index])).items()}

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The rows at `indices` (B,)."""
        stream = self.stream
        places = (np.asarray(indices) * self._stride)[:, None] + np.arange(self.length + 1)
        real = places < len(stream)
        places = np.minimum(places, len(stream) - 1)
        tokens = stream.tokens[places].astype(np.int32)
        spans = stream.spans[places[:, 1:]].astype(np.int32)
        if len(stream.starts) == 1:
            documents, begins = np.zeros_like(places), np.zeros_like(places)
        else:
            documents = np.searchsorted(stream.starts, places, side="right") - 1
            begins = stream.starts[documents]
        same = (documents[:, 1:] == documents[:, :-1]) & real[:, 1:]
        return {
            "tokens": tokens[:, :-1],
            "targets": tokens[:, 1:],
            "token_mask": same.astype(np.float32),
            "segments": (documents[:, :-1] - documents[:, :1] + 1).astype(np.int32) * real[:, :-1],
            "positions": (places - np.maximum(begins, places[:, :1]))[:, :-1].astype(np.int32),
            "target_bytes": spans * same,
        }

    def describe(self, index: int) -> str:
        """Such as `corpus.txt, tokens 512 to 768`."""
        start = index * self._stride
        return f"{self.stream.name}, tokens {start} to {min(start + self.length, len(self.stream))}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TextRows:
    """Texts as padded rows of token ids: `tokens` (B, L) int32, `token_mask` (B, L) and, with labels, `label` (B,).

    Attributes:
      records: The texts.
      tokenizer: Makes the tokens.
      length: L; longer texts are cut, and `truncated` counts them.
      field: The record's field that is the text.
      label_field: The field that names the class, or None for texts without.
      labels: Class names in the order of their ids; by default those that occur, sorted.
      special: Whether to add the tokens that the tokenizer's template puts around a text, such as [CLS] and [SEP].
    """

    records: Records
    tokenizer: Tokenizer
    length: int
    field: str = "text"
    label_field: str | None = "label"
    labels: tuple[str, ...] | None = None
    special: bool = True
    truncated: int = dataclasses.field(init=False, repr=False)
    label_ids: np.ndarray = dataclasses.field(init=False, repr=False)
    _tokens: np.ndarray = dataclasses.field(init=False, repr=False)
    _lengths: np.ndarray = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"length must be at least 1, not {self.length}.")
        for field in (self.field, self.label_field):
            if field is not None and field not in self.records.fields:
                raise ConfigError(f"The records have no field {field!r}; they have {', '.join(self.records.fields)}.")
        texts = self.tokenizer.encode_all(self.records.fields[self.field], special=self.special)
        lengths = np.asarray([len(text) for text in texts])
        tokens = padded([text[: self.length] for text in texts], self.length, self.tokenizer.find("pad") or 0)
        labels, ids = _label_ids(self.records, self.label_field, self.labels)
        values = {
            "truncated": int((lengths > self.length).sum()),
            "labels": labels,
            "label_ids": ids,
            "_tokens": tokens,
            "_lengths": np.minimum(lengths, self.length).astype(np.int32),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: rows[0] for name, rows in self.gather(np.asarray([index])).items()}

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The rows at `indices` (B,)."""
        mask = np.arange(self.length)[None] < self._lengths[indices][:, None]
        rows = {"tokens": self._tokens[indices], "token_mask": mask.astype(np.float32)}
        return rows if self.label_field is None else rows | {"label": self.label_ids[indices]}

    def describe(self, index: int) -> str:
        """The file and line."""
        return self.records.places[index]

    @property
    def notes(self) -> tuple[str, ...]:
        """How many texts were cut, for the start of a run."""
        many = f"{self.truncated:,} of {len(self.records):,} texts are longer than {self.length} tokens and were cut."
        return (many,) if self.truncated else ()


def padded(rows: Sequence[np.ndarray], length: int, pad: int) -> np.ndarray:
    """Rows of unequal length as one array (B, length) int32, filled up behind.

    >>> padded([np.array([5, 6]), np.array([7])], 3, 0)
    array([[5, 6, 0],
           [7, 0, 0]], dtype=int32)
    """
    filled = np.full((len(rows), length), pad, np.int32)
    for row, ids in zip(filled, rows):
        row[: len(ids)] = ids
    return filled


def _label_ids(
    records: Records, field: str | None, labels: tuple[str, ...] | None
) -> tuple[tuple[str, ...], np.ndarray]:
    if field is None:
        return (), np.zeros(len(records), np.int32)
    values = records.fields[field]
    labels = tuple(sorted(set(values))) if labels is None else tuple(labels)
    number = {label: index for index, label in enumerate(labels)}
    for value, place in zip(values, records.places):
        if value not in number:
            raise DataError(f"{place}: the label {value!r} is none of {', '.join(labels)}.")
    return labels, np.asarray([number[value] for value in values], np.int32)
