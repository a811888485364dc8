"""Documents as one long stream of token ids, in memory or memory-mapped. Letters: N tokens, M documents."""

import dataclasses
import json
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdl.data.text.records import Records
from jaxdl.data.text.tokenizer import Tokenizer
from jaxdl.errors import DataError

_FORMAT = 1
_CHUNK = 1024
_DTYPES = ("uint16", "uint32")
# What NumPy raises about a file that is not one of its own.
_DAMAGED = (EOFError, KeyError, OSError, SyntaxError, TypeError, UserWarning, ValueError, tokenize.TokenError)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TokenStream:
    """Documents one after another, each ended by the tokenizer's end token where it has one.

    Attributes:
      tokens: Token ids (N,), uint16 or uint32; may be a memory map.
      spans: How many bytes of UTF-8 each token stands for (N,), uint16, so that a loss per byte needs no tokenizer.
      starts: Where each document begins (M,), int64, rising from 0.
      vocabulary_size: Every token is below it.
      name: What error messages call it.
      skipped: How many bad records were left out, by the reason.
    """

    tokens: np.ndarray
    spans: np.ndarray
    starts: np.ndarray
    vocabulary_size: int
    name: str = "tokens"
    skipped: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.spans) or not len(self.starts) or self.starts[0] != 0:
            raise DataError(
                f"{self.name}: {len(self.tokens)} tokens, {len(self.spans)} spans and {len(self.starts)} starts of "
                "documents do not belong together."
            )

    def __len__(self) -> int:
        return len(self.tokens)

    def part(self, begin: float, end: float) -> "TokenStream":
        """The documents of a share of the stream, such as `part(0.9, 1.0)`; one document alone is cut itself.

        Raises:
          DataError: the part is empty.
        """
        first, last = int(begin * len(self.tokens)), int(end * len(self.tokens))
        if len(self.starts) > 1:
            edges = np.append(self.starts, len(self.tokens))
            first, last = (int(edges[np.searchsorted(edges, at)]) for at in (first, last))
        if last <= first:
            raise DataError(f"{self.name}: the part from {begin} to {end} of {len(self.tokens)} tokens is empty.")
        inside = self.starts[(self.starts > first) & (self.starts < last)] - first
        return dataclasses.replace(
            self,
            tokens=self.tokens[first:last],
            spans=self.spans[first:last],
            starts=np.concatenate(([0], inside)).astype(np.int64),
        )


def tokenized(*, records: Records, tokenizer: Tokenizer, field: str = "text") -> TokenStream:
    """Every record's text as one document of a stream in memory.

    Raises:
      DataError: a text gives no tokens.
    """
    ids, spans, starts, at = [], [], [], 0
    end = tokenizer.find("end")
    for document, widths in _documents(records.fields[field], tokenizer, end, records.places):
        ids.append(document)
        spans.append(widths)
        starts.append(at)
        at += len(document)
    kind = np.uint16 if tokenizer.vocabulary_size <= 2**16 else np.uint32
    return TokenStream(
        tokens=np.concatenate(ids).astype(kind),
        spans=np.concatenate(spans),
        starts=np.asarray(starts, np.int64),
        vocabulary_size=tokenizer.vocabulary_size,
        name=records.places[0].rpartition(":")[0] or records.places[0],
        skipped=records.skipped,
    )


def write_stream(*, texts: Iterable[str], tokenizer: Tokenizer, folder: str | Path) -> None:
    """Tokenizes a corpus of any size into `folder`, one document after another, for `read_stream`."""
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    kind = np.dtype(np.uint16 if tokenizer.vocabulary_size <= 2**16 else np.uint32)
    starts, at = [], 0
    with open(path / "tokens.bin", "wb") as ids, open(path / "spans.bin", "wb") as spans:
        for document, widths in _documents(texts, tokenizer, tokenizer.find("end"), None):
            ids.write(document.astype(kind).tobytes())
            spans.write(widths.tobytes())
            starts.append(at)
            at += len(document)
    np.save(path / "starts.npy", np.asarray(starts, np.int64), allow_pickle=False)
    tokenizer.save(path / "tokenizer.json")
    facts = {"format": _FORMAT, "dtype": kind.name, "tokens": at, "vocabulary_size": tokenizer.vocabulary_size}
    (path / "stream.json").write_text(json.dumps(facts))


def read_stream(*, folder: str) -> TokenStream:
    """Memory-maps what `write_stream` wrote.

    Raises:
      DataError: it is not there, or not whole.
    """
    path = Path(folder).expanduser()
    try:
        facts = json.loads((path / "stream.json").read_text())
        if facts["format"] != _FORMAT:
            raise DataError(f"{path} was written by another version of jaxdl: tokenize the corpus again.")
        count, size, dtype = facts["tokens"], facts["vocabulary_size"], facts["dtype"]
        if type(count) is not int or type(size) is not int or dtype not in _DTYPES:
            raise DataError(f"{path}/stream.json says {count!r} tokens of {dtype!r}, below {size!r}: it is damaged.")
        tokens = np.memmap(path / "tokens.bin", dtype, "r")
        spans = np.memmap(path / "spans.bin", np.uint16, "r")
        # Mapped, since a header alone may claim any size; copied, since it is small.
        starts = np.array(np.load(path / "starts.npy", mmap_mode="r", allow_pickle=False))
    except (*_DAMAGED, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} holds no token stream: {error}.") from error
    if len(tokens) != count:
        raise DataError(f"{path}/tokens.bin holds {len(tokens)} tokens, not {count}: it was cut short.")
    if starts.dtype != np.int64 or starts.ndim != 1 or (np.diff(starts, append=count) < 1).any():
        raise DataError(f"{path}/starts.npy does not hold where documents start: it is damaged.")
    return TokenStream(tokens=tokens, spans=spans, starts=starts, vocabulary_size=size, name=str(path))


def _documents(
    texts: Iterable[str], tokenizer: Tokenizer, end: int | None, places: Sequence[str] | None
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Token ids and spans of each text, with the end token, which stands for no byte."""
    number = 0
    for chunk in _chunks(texts):
        for text, (ids, offsets) in zip(chunk, tokenizer.offsets_all(chunk)):
            place = places[number] if places else f"document {number}"
            if not len(ids):
                raise DataError(f"{place}: the tokenizer makes no token of {text[:40]!r}.")
            spans = _spans(text, offsets)
            if spans.max() > np.iinfo(np.uint16).max:
                raise DataError(
                    f"{place}: a token stands for {spans.max():,} bytes: the tokenizer does not know this text."
                )
            spans = spans.astype(np.uint16)
            if end is not None:
                ids, spans = np.append(ids, np.int32(end)), np.append(spans, np.uint16(0))
            yield ids, spans
            number += 1


def _spans(text: str, offsets: np.ndarray) -> np.ndarray:
    """Bytes of each token: what lies between tokens counts to the next one, what follows the last to the last."""
    widths = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    sizes = 1 + (widths > 0x7F).astype(np.int64) + (widths > 0x7FF) + (widths > 0xFFFF)
    before = np.concatenate(([0], np.cumsum(sizes)))
    ends = np.maximum.accumulate(offsets[:, 1])
    ends[-1] = len(text)
    return np.diff(before[ends], prepend=0)


def _chunks(texts: Iterable[str]) -> Iterable[list[str]]:
    chunk: list[str] = []
    for text in texts:
        chunk.append(text)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
