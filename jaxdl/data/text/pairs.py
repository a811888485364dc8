"""Pairs of texts, source and target, as rows of token ids. Letters: B batch, S source tokens, T target tokens."""

import dataclasses
from typing import Literal

import numpy as np

from jaxdl.data.text.records import Records
from jaxdl.data.text.tokenizer import Tokenizer
from jaxdl.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PairRows:
    """Sources and targets for encoder-decoders.

    `tokens` (B, S) int32, the source and its end token, with `token_mask` (B, S); `targets` (B, T), the target and its
    end token, with `target_mask` (B, T); `targets_in` (B, T), the same after a begin token, without the last; `record`
    (B,), the record that a row is made of. S and T are the same: the last of `widths`, or the smallest that holds a
    whole batch where a `Pipeline` with a `window` asks.

    Attributes:
      records: The texts.
      tokenizer: Makes the tokens; it needs a begin and an end token.
      target_tokenizer: Makes those of the target, or None for the same.
      widths: What rows are padded to, rising; the last one is the longest source and target, end token included.
      source_field: The record's field that is the source.
      target_field: The record's field that is the target.
      too_long: What becomes of pairs longer than that: "drop" leaves them out, and `dropped` counts them; "cut" keeps
        what fits, and `cut` counts them. An evaluation should drop none.

    Raises:
      ConfigError: a field is not there, or a tokenizer lacks a token.
      DataError: no pair is left.
    """

    records: Records
    tokenizer: Tokenizer
    target_tokenizer: Tokenizer | None = None
    widths: tuple[int, ...] = (64,)
    source_field: str = "source"
    target_field: str = "target"
    too_long: Literal["drop", "cut"] = "drop"
    dropped: int = dataclasses.field(init=False, repr=False)
    cut: int = dataclasses.field(init=False, repr=False)
    lengths: np.ndarray = dataclasses.field(init=False, repr=False)
    _rows: np.ndarray = dataclasses.field(init=False, repr=False)
    _sides: tuple["_Side", "_Side"] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.widths or list(self.widths) != sorted(set(self.widths)) or self.widths[0] < 2:
            raise ValueError(f"widths must rise from at least 2, not {self.widths}.")
        if self.too_long not in ("drop", "cut"):
            raise ValueError(f"too_long must be 'drop' or 'cut', not {self.too_long!r}.")
        sides = (
            self._side(self.source_field, self.tokenizer),
            self._side(self.target_field, self.target_tokenizer or self.tokenizer),
        )
        lengths = np.maximum(sides[0].lengths, sides[1].lengths)
        long = lengths > self.widths[-1]
        rows = np.flatnonzero(~long) if self.too_long == "drop" else np.arange(len(self.records))
        if not len(rows):
            raise DataError(f"All {len(long)} pairs are longer than {self.widths[-1]} tokens: give larger widths.")
        values = {
            "dropped": len(long) - len(rows),
            "cut": int(long.sum()) if self.too_long == "cut" else 0,
            "lengths": np.minimum(lengths[rows], self.widths[-1]),
            "_rows": rows,
            "_sides": sides,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _side(self, field: str, tokenizer: Tokenizer) -> "_Side":
        if field not in self.records.fields:
            raise ConfigError(f"The records have no field {field!r}; they have {', '.join(self.records.fields)}.")
        begin, end = tokenizer.special("begin"), tokenizer.special("end")
        texts = tokenizer.encode_all(self.records.fields[field])
        ids = np.concatenate([np.append(text, np.int32(end)) for text in texts]).astype(np.int32)
        lengths = np.asarray([len(text) + 1 for text in texts])
        pad = tokenizer.find("pad")
        return _Side(ids, np.cumsum(lengths) - lengths, lengths, begin, end, end if pad is None else pad)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: rows[0] for name, rows in self.gather(np.asarray([index])).items()}

    def gather(self, indices: np.ndarray, within: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The rows at `indices` (B,), padded to the smallest width that holds all of `within`, or to the largest."""
        width = self.widths[-1]
        if within is not None:
            width = next(width for width in self.widths if width >= self.lengths[within].max())
        numbers = self._rows[np.asarray(indices)]
        tokens, token_mask = self._sides[0].take(numbers, width)
        targets, target_mask = self._sides[1].take(numbers, width)
        begin = np.full((len(targets), 1), self._sides[1].begin, np.int32)
        return {
            "tokens": tokens,
            "token_mask": token_mask,
            "targets_in": np.concatenate([begin, targets[:, :-1]], axis=1),
            "targets": targets,
            "target_mask": target_mask,
            "record": numbers.astype(np.int32),
        }

    def describe(self, index: int) -> str:
        """The file and line."""
        return self.records.places[self._rows[index]]

    @property
    def notes(self) -> tuple[str, ...]:
        """What became of pairs that are too long, for the start of a run."""
        many = f"{self.dropped + self.cut:,} of {len(self.records):,} pairs are longer than {self.widths[-1]} tokens"
        if self.dropped:
            return (f"{many} and were left out: give larger widths, or too_long='cut'.",)
        return (f"{many} and were cut.",) if self.cut else ()


@dataclasses.dataclass(frozen=True, eq=False)
class _Side:
    """The tokens of all texts in one line, each text with its end token."""

    ids: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    begin: int
    end: int
    pad: int

    def take(self, rows: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (B, width) and their mask; a text that is cut keeps its end token."""
        lengths, places = np.minimum(self.lengths[rows], width)[:, None], np.arange(width)[None]
        inside = places < lengths
        found = self.ids[np.where(inside, self.starts[rows][:, None] + places, 0)]
        found = np.where(places == lengths - 1, self.end, found)
        return np.where(inside, found, self.pad).astype(np.int32), inside.astype(np.float32)
