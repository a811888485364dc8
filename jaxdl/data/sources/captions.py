"""Images with captions: made of their classes, or read from a table. Letters: B batch, L tokens of a caption."""

import dataclasses
import os
import stat
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxdl.data.images import MAX_ENCODED_BYTES
from jaxdl.data.permutation import permute
from jaxdl.data.text.records import Records
from jaxdl.data.text.tokenizer import Tokenizer
from jaxdl.data.within import within
from jaxdl.errors import ConfigError, DataError
from jaxdl.types import Source


def class_captions(*, captions: tuple[str, ...], names: tuple[str, ...]) -> Records:
    """Every caption of every class, as the `text` of records: what a tokenizer can learn from.

    >>> class_captions(captions=("the digit {}",), names=("one", "two")).fields["text"]
    ('the digit one', 'the digit two')

    Args:
      captions: With `{}` where the name of the class goes.
      names: Of the classes.

    Raises:
      ConfigError: there is no caption or no name, or a caption has no place for the name.
    """
    if not captions or not names:
        raise ConfigError(f"There must be captions and names of classes, not {captions} and {names}.")
    for caption in captions:
        if caption.count("{}") != 1:
            raise ConfigError(f"A caption must have {{}} once, where the name of the class goes, not {caption!r}.")
    texts = {f"{name}: {caption}": caption.replace("{}", name) for name in names for caption in captions}
    return Records(fields={"text": tuple(texts.values())}, places=tuple(texts))


def class_prompts(
    *, tokenizer: Tokenizer, captions: tuple[str, ...], names: tuple[str, ...]
) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """The token ids of every caption of each class, as the `prompts` of `jaxdl.tasks.ImageText`.

    Args:
      tokenizer: Needs an end token, which each caption ends with.
      captions: With `{}` where the name of the class goes.
      names: Of the classes, in the order of their ids.
    """
    texts = class_captions(captions=captions, names=names).fields["text"]
    rows = [tuple(ids.tolist()) for ids in _encoded(tokenizer, texts)]
    return tuple(tuple(rows[first : first + len(captions)]) for first in range(0, len(rows), len(captions)))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Captioned:
    """A source with `label`s, each example with a caption of its class: `tokens` (L,) int32 and `token_mask` (L,).

    `match` int32 is the label, so that all captions of a class belong to all of its examples. Which caption an example
    has depends on its index alone; each is as frequent as the others.

    Attributes:
      source: Descriptions and `gather` are its own.
      captions: With `{}` where the name of the class goes.
      tokenizer: Needs an end token, which each caption ends with.
      length: L.
      names: Of the classes, in the order of their ids; None for the source's `labels`.
      seed: Of which example has which caption.

    Raises:
      ConfigError: a caption does not fit into `length`, or the classes have no names.
    """

    source: Source
    captions: tuple[str, ...]
    tokenizer: Tokenizer
    length: int
    names: tuple[str, ...] | None = None
    seed: int = 0
    _tokens: np.ndarray = dataclasses.field(init=False, repr=False)
    _mask: np.ndarray = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = self.labels if self.names is None else self.names
        prompts = class_prompts(tokenizer=self.tokenizer, captions=tuple(self.captions), names=tuple(names))
        rows = [np.asarray(ids, np.int32) for one in prompts for ids in one]
        longest = max(map(len, rows))
        if longest > self.length:
            raise ConfigError(f"A caption has {longest} tokens, the end included; length={self.length} is too short.")
        tokens, mask = _padded(rows, self.length, self.tokenizer)
        shape = (len(names), len(self.captions), self.length)
        object.__setattr__(self, "_tokens", tokens.reshape(shape))
        object.__setattr__(self, "_mask", mask.reshape(shape))
        # Only where the source has it: `gather` is how the pipeline knows that examples come without work each.
        if hasattr(self.source, "gather"):
            object.__setattr__(self, "gather", self._gather)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names of the source, or else `names`."""
        return tuple(getattr(self.source, "labels", ()) or self.names or ())

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = dict(self.source[index])
        added = self._captions(np.asarray([example["label"]]), np.asarray([index]))
        return example | {name: rows[0] for name, rows in added.items()}

    def _gather(self, indices: np.ndarray) -> dict[str, Any]:
        batch = dict(self.source.gather(indices))  # type: ignore[attr-defined]
        return batch | self._captions(batch["label"], np.asarray(indices))

    def _captions(self, label: np.ndarray, indices: np.ndarray) -> dict[str, np.ndarray]:
        for index in indices[(label < 0) | (label >= len(self._tokens))]:
            raise DataError(f"{self.describe(int(index))}: its label is none of the {len(self._tokens)} named classes.")
        choice = permute(indices, len(self), (self.seed,)) % len(self.captions)
        return {
            "tokens": self._tokens[label, choice],
            "token_mask": self._mask[label, choice],
            "match": label.astype(np.int32),
        }

    def describe(self, index: int) -> str:
        """As the source says it."""
        return self.source.describe(index) if hasattr(self.source, "describe") else f"example {index}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedFiles:
    """Image files and their captions from a table: `image` is the encoded file (bytes), which `Decode` makes pixels of.

    `tokens` (L,) int32 and `token_mask` (L,) are the caption, and `match` int32 is equal for captions of one image: an
    image with several has as many rows. Read the table by `jaxdl.data.text.read_table` or `read_jsonl`.

    Attributes:
      records: The table.
      folder: What the paths of the images are relative to. Those that lead out of it are not read: each is a bad
        example. With "/" a table may name any file.
      tokenizer: Needs an end token, which each caption ends with.
      length: L; longer captions are cut before their end token, and `truncated` counts them.
      image_field: The field that is the path.
      text_field: The field that is the caption.

    Raises:
      ConfigError: the records have no such field.
    """

    records: Records
    folder: str
    tokenizer: Tokenizer
    length: int
    image_field: str = "image"
    text_field: str = "text"
    truncated: int = dataclasses.field(init=False, repr=False)
    _tokens: np.ndarray = dataclasses.field(init=False, repr=False)
    _mask: np.ndarray = dataclasses.field(init=False, repr=False)
    _match: np.ndarray = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length must be at least 2, a token and the end, not {self.length}.")
        for field in (self.image_field, self.text_field):
            if field not in self.records.fields:
                raise ConfigError(f"The records have no field {field!r}; they have {', '.join(self.records.fields)}.")
        rows = _encoded(self.tokenizer, self.records.fields[self.text_field])
        tokens, mask = _padded(rows, self.length, self.tokenizer)
        number: dict[str, int] = {}
        match = [number.setdefault(path, len(number)) for path in self.records.fields[self.image_field]]
        values = {
            "truncated": sum(len(ids) > self.length for ids in rows),
            "_tokens": tokens,
            "_mask": mask,
            "_match": np.asarray(match, np.int32),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def notes(self) -> tuple[str, ...]:
        """How many captions were cut, for the start of a run."""
        many = f"{self.truncated:,} of {len(self.records):,} captions are longer than {self.length} tokens"
        return (f"{many} and were cut.",) if self.truncated else ()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        path = within(self.folder, self.records.fields[self.image_field][index])
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_ENCODED_BYTES:
                raise DataError(f"{path} is no file of at most {MAX_ENCODED_BYTES:,} bytes")
            image = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from error
        text = {"tokens": self._tokens[index], "token_mask": self._mask[index], "match": self._match[index]}
        return {"image": image, **text}

    def describe(self, index: int) -> str:
        """The line of the table."""
        return self.records.places[index]


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[np.ndarray]:
    """Token ids of texts with an end token behind them, whether the tokenizer's template has one or not."""
    end = tokenizer.special("end")
    rows = tokenizer.encode_all(texts, special=True)
    return [ids if len(ids) and ids[-1] == end else np.append(ids, np.int32(end)) for ids in rows]


def _padded(rows: Sequence[np.ndarray], length: int, tokenizer: Tokenizer) -> tuple[np.ndarray, np.ndarray]:
    """Rows as one array (B, L) and its mask, longer ones cut before their last token."""
    tokens = np.full((len(rows), length), tokenizer.find("pad") or 0, np.int32)
    for filled, ids in zip(tokens, rows):
        kept = ids if len(ids) <= length else np.append(ids[: length - 1], ids[-1])
        filled[: len(kept)] = kept
    lengths = np.asarray([len(ids) for ids in rows])
    return tokens, (np.arange(length) < lengths[:, None]).astype(np.float32)
