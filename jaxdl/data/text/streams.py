"""Documents as one long stream of token ids, in memory or memory-mapped. Letters: N tokens, M documents."""

import collections
import dataclasses
import json
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxdl.data.text.records import LEAVE_OUT, OnBad, Records
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
        """A share of the stream, such as `part(0.9, 1.0)`: whole documents; the last one alone is cut itself.

        A border is where the next document begins; behind the beginning of the last one, within it. It is the same
        for the part before it and the part behind, so that parts in a row hold every token once.

        Raises:
          DataError: the part is empty.
        """
        first, last = self._border(begin), self._border(end)
        if last <= first:
            raise DataError(
                f"{self.name}: the part from {begin} to {end} of {len(self.tokens)} tokens in {len(self.starts)} "
                "documents is empty: no document begins in it. Choose other shares, or give more text, or shorter "
                "documents."
            )
        inside = self.starts[(self.starts > first) & (self.starts < last)] - first
        return dataclasses.replace(
            self,
            tokens=self.tokens[first:last],
            spans=self.spans[first:last],
            starts=np.concatenate(([0], inside)).astype(np.int64),
        )

    def _border(self, share: float) -> int:
        """The token at which a part begins or ends; not the first or last of the stream but for the shares 0 and 1."""
        count = len(self.tokens)
        if share <= 0 or share >= 1:
            return 0 if share <= 0 else count
        at = min(max(int(share * count), 1), count - 1)
        following = int(np.searchsorted(self.starts, at))
        return int(self.starts[following]) if following < len(self.starts) else at


def tokenized(*, records: Records, tokenizer: Tokenizer, field: str = "text", on_bad: OnBad = "raise") -> TokenStream:
    """Every record's text as one document of a stream in memory.

    Args:
      records: The texts.
      tokenizer: Makes the tokens.
      field: The record's field that is the text.
      on_bad: What to do about a text that gives no tokens, or one of more bytes than are counted: raise, or leave it
        out and count it.

    Raises:
      DataError: a text is bad, by file and line, or none is left.
    """
    ids, spans, starts, at = [], [], [], 0
    skipped = collections.Counter(records.skipped)
    for document, widths in _documents(records.fields[field], tokenizer, records.places, on_bad, skipped):
        ids.append(document)
        spans.append(widths)
        starts.append(at)
        at += len(document)
    name = _name(records.places)
    if not ids:
        raise DataError(f"{name} holds no text that gives tokens ({dict(skipped)} left out).")
    kind = np.uint16 if tokenizer.vocabulary_size <= 2**16 else np.uint32
    return TokenStream(
        tokens=np.concatenate(ids).astype(kind),
        spans=np.concatenate(spans),
        starts=np.asarray(starts, np.int64),
        vocabulary_size=tokenizer.vocabulary_size,
        name=name,
        skipped=dict(skipped),
    )


def write_stream(
    *,
    texts: Iterable[str],
    tokenizer: Tokenizer,
    folder: str | Path,
    places: Sequence[str] | None = None,
    on_bad: OnBad = "raise",
) -> None:
    """Tokenizes a corpus of any size into `folder`, one document after another, for `read_stream`.

    Args:
      texts: The documents.
      tokenizer: Makes the tokens.
      folder: Where they are written.
      places: Where each document was read, for error messages; else they say its number, from 1.
      on_bad: What to do about a text that gives no tokens, such as an empty one, or one of more bytes than are
        counted: raise, or leave it out and count it.

    Raises:
      DataError: a text is bad, or none is left.
    """
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    kind = np.dtype(np.uint16 if tokenizer.vocabulary_size <= 2**16 else np.uint32)
    starts, at = [], 0
    skipped: collections.Counter[str] = collections.Counter()
    with open(path / "tokens.bin", "wb") as ids, open(path / "spans.bin", "wb") as spans:
        for document, widths in _documents(texts, tokenizer, places, on_bad, skipped):
            ids.write(document.astype(kind).tobytes())
            spans.write(widths.tobytes())
            starts.append(at)
            at += len(document)
    if not starts:
        raise DataError(f"No text is there to write to {path}{f' ({dict(skipped)} left out)' if skipped else ''}.")
    np.save(path / "starts.npy", np.asarray(starts, np.int64), allow_pickle=False)
    tokenizer.save(path / "tokenizer.json")
    facts = {
        "format": _FORMAT,
        "dtype": kind.name,
        "tokens": at,
        "vocabulary_size": tokenizer.vocabulary_size,
        "skipped": skipped,
    }
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
        skipped = facts["skipped"] if "skipped" in facts else {}  # Older streams do not say.
        if not isinstance(skipped, dict) or any(type(number) is not int for number in skipped.values()):
            raise DataError(f"{path}/stream.json says that {skipped!r} were left out: it is damaged.")
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
    return TokenStream(tokens=tokens, spans=spans, starts=starts, vocabulary_size=size, name=str(path), skipped=skipped)


def _name(places: Sequence[str]) -> str:
    """The file that the records are from, or the first of several."""
    first, *others = dict.fromkeys(place.rpartition(":")[0] or place for place in places)
    return f"{first} and {len(others):,} more" if others else first


def _documents(
    texts: Iterable[str],
    tokenizer: Tokenizer,
    places: Sequence[str] | None,
    on_bad: OnBad,
    skipped: collections.Counter[str],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Token ids and spans of each text, with the end token, which stands for no byte; counts those left out."""
    end, number = tokenizer.find("end"), 0
    for chunk in _chunks(texts):
        for text, (ids, offsets) in zip(chunk, tokenizer.offsets_all(chunk)):
            number += 1
            spans = _spans(text, offsets) if len(ids) else np.zeros(0, np.int64)
            if (bad := _bad(text, spans)) is not None:
                if on_bad == "raise":
                    place = f"document {number:,}" if places is None else places[number - 1]
                    raise DataError(f"{place}: {bad[1]}. Repair or remove it, or leave such texts out by {LEAVE_OUT}.")
                skipped[bad[0]] += 1
                continue
            spans = spans.astype(np.uint16)
            if end is not None:
                ids, spans = np.append(ids, np.int32(end)), np.append(spans, np.uint16(0))
            yield ids, spans


def _bad(text: str, spans: np.ndarray) -> tuple[str, str] | None:
    """A word for what is wrong with a document, and the reason in full."""
    if not len(spans):
        return "no token", f"the tokenizer makes no token of {text[:40]!r}"
    if spans.max() > np.iinfo(np.uint16).max:
        return "an unknown text", f"a token stands for {spans.max():,} bytes: the tokenizer does not know this text"
    return None


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
