"""Recordings and their transcripts as rows. Letters: B batch, F frames, M mel bands, T target tokens."""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from jaxdl.data.audio.log_mel import LogMel
from jaxdl.data.audio.resampling import resample
from jaxdl.data.audio.wav import read_wav, wav_length
from jaxdl.data.examples import num_processors
from jaxdl.data.text.records import Records
from jaxdl.data.text.rows import padded
from jaxdl.data.text.tokenizer import Tokenizer
from jaxdl.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SpeechRows:
    """What is heard and what is said, for models that transcribe.

    `mel` (B, F, M) float32, log-mel spectra with silence behind them; `lengths` (B,) int32, the frames that hear the
    recording, and `frame_mask` (B, F), 1 for those; `targets` (B, T) int32, the text and its end token, with
    `target_mask` (B, T); `targets_in` (B, T), the same after a begin token, without the last; `record` (B,), the record
    that a row is made of. F is the last of `widths`, or the smallest that holds a whole batch where a `Pipeline` with a
    `window` asks.

    Attributes:
      records: With the files and what is said in them, as `recordings` gives them.
      tokenizer: Makes the targets; it needs a begin and an end token.
      features: Makes the spectra; recordings of another rate are resampled to its own.
      widths: F that rows are padded to, rising; the last one is the most frames. None for those of the longest.
      target_width: T; None for that of the longest text, end token included.
      too_long: What becomes of recordings or texts longer than that: "drop" leaves them out, and `dropped` counts them;
        "cut" keeps what fits, and `cut` counts them. An evaluation should drop none.
      keep: The type in which all spectra stay in memory, read once; None to read the files again for each batch.
      path_field: The record's field that names the file.
      text_field: The record's field that is said.
      on_bad: What to do about a file that cannot be read: "skip" leaves it out, and `skipped` counts them. Where
        nothing is kept only its header is looked at, and a batch that needs more of a bad file raises.

    Raises:
      ConfigError: a field is not there, or the tokenizer lacks a token.
      DataError: a file is bad, by its name, or no recording is left.
    """

    records: Records
    tokenizer: Tokenizer
    features: LogMel = LogMel()
    widths: tuple[int, ...] | None = None
    target_width: int | None = None
    too_long: Literal["drop", "cut"] = "drop"
    keep: Literal["float32", "float16"] | None = "float16"
    path_field: str = "path"
    text_field: str = "text"
    on_bad: Literal["raise", "skip"] = "raise"
    dropped: int = dataclasses.field(init=False, repr=False)
    cut: int = dataclasses.field(init=False, repr=False)
    skipped: int = dataclasses.field(init=False, repr=False)
    lengths: np.ndarray = dataclasses.field(init=False, repr=False)
    _rows: np.ndarray = dataclasses.field(init=False, repr=False)
    _targets: np.ndarray = dataclasses.field(init=False, repr=False)
    _target_lengths: np.ndarray = dataclasses.field(init=False, repr=False)
    _widths: tuple[int, ...] = dataclasses.field(init=False, repr=False)
    _spectra: Sequence[np.ndarray] | None = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._check()
        spectra, lengths = self._read()
        texts = self.tokenizer.encode_all(self.records.fields[self.text_field])
        target_lengths = np.asarray([len(text) + 1 for text in texts])
        there = lengths > 0
        if not there.any():
            raise DataError(f"None of the {len(lengths)} recordings can be read.")
        widths = (int(lengths.max()),) if self.widths is None else tuple(self.widths)
        most = int(target_lengths[there].max()) if self.target_width is None else self.target_width
        long = there & ((lengths > widths[-1]) | (target_lengths > most))
        rows = np.flatnonzero(there & ~long if self.too_long == "drop" else there)
        if not len(rows):
            raise DataError(
                f"All {int(there.sum())} recordings have more than {widths[-1]} frames or {most} tokens: give larger "
                "widths."
            )
        end, pad = self.tokenizer.special("end"), self.tokenizer.find("pad")
        ended = [np.append(texts[row][: most - 1], np.int32(end)) for row in rows]
        values = {
            "dropped": int(there.sum()) - len(rows),
            "cut": int(long.sum()) if self.too_long == "cut" else 0,
            "skipped": int((~there).sum()),
            "lengths": np.minimum(lengths[rows], widths[-1]).astype(np.int32),
            "_rows": rows.astype(np.int32),
            "_targets": padded(ended, most, end if pad is None else pad),
            "_target_lengths": np.minimum(target_lengths[rows], most),
            "_widths": widths,
            "_spectra": None if spectra is None else [spectra[row] for row in rows],
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def _check(self) -> None:
        if self.widths is not None and (
            not self.widths or list(self.widths) != sorted(set(self.widths)) or self.widths[0] < 1
        ):
            raise ValueError(f"widths must rise from at least 1, not {self.widths}.")
        if self.target_width is not None and self.target_width < 2:
            raise ValueError(f"target_width must be at least 2, not {self.target_width}.")
        for name, known in (
            ("too_long", ("drop", "cut")),
            ("keep", ("float32", "float16", None)),
            ("on_bad", ("raise", "skip")),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}, not {getattr(self, name)!r}.")
        for field in (self.path_field, self.text_field):
            if field not in self.records.fields:
                raise ConfigError(f"The records have no field {field!r}; they have {', '.join(self.records.fields)}.")
        self.tokenizer.special("begin")

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """What became of recordings that are too long or bad, for the start of a run."""
        long, of = self.dropped + self.cut, f"of {len(self.records):,} recordings"
        what = f"longer than {self._widths[-1]} frames, or their texts than {self._targets.shape[1]} tokens,"
        fate = "left out: give larger widths, or too_long='cut'" if self.dropped else "cut"
        return (
            *((f"{long:,} {of} are {what} and were {fate}.",) if long else ()),
            *((f"{self.skipped:,} {of} cannot be read and were left out.",) if self.skipped else ()),
        )

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: rows[0] for name, rows in self.gather(np.asarray([index])).items()}

    def gather(self, indices: np.ndarray, within: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The rows at `indices` (B,), padded to the smallest width that holds all of `within`, or to the largest."""
        indices = np.asarray(indices)
        width = self._widths[-1]
        if within is not None:
            width = next(width for width in self._widths if width >= self.lengths[within].max())
        targets, lengths = self._targets[indices], self.lengths[indices]
        begin = np.full((len(targets), 1), self.tokenizer.special("begin"), np.int32)
        places = np.arange(targets.shape[1])[None]
        return {
            "mel": self._mel(indices, width),
            "lengths": lengths,
            "frame_mask": (np.arange(width)[None] < lengths[:, None]).astype(np.float32),
            "targets_in": np.concatenate([begin, targets[:, :-1]], axis=1),
            "targets": targets,
            "target_mask": (places < self._target_lengths[indices][:, None]).astype(np.float32),
            "record": self._rows[indices],
        }

    def describe(self, index: int) -> str:
        """The file."""
        return self._path(int(self._rows[index]))

    def _path(self, record: int) -> str:
        return self.records.fields[self.path_field][record]

    def _read(self) -> tuple[list[np.ndarray] | None, np.ndarray]:
        """The spectra of all recordings, if they are kept, and their lengths; nothing and 0 of a bad one."""
        if self.keep is None:
            lengths = _all(lambda record: np.asarray(self._length(record)), len(self.records), self.on_bad)
            return None, np.asarray([0 if one is None else int(one) for one in lengths])
        kept = _all(lambda record: self._spectrum(record).astype(self.keep), len(self.records), self.on_bad)
        spectra = [np.zeros((0, self.features.num_mels), self.keep) if one is None else one for one in kept]
        return spectra, np.asarray([len(one) for one in spectra])

    def _length(self, record: int) -> int:
        count, rate = wav_length(self._path(record))
        return self.features.frames(-(-count * self.features.rate // rate))

    def _spectrum(self, record: int) -> np.ndarray:
        """The frames (F, M) of a recording that hear it, at most as many as the last width."""
        sound = read_wav(self._path(record))
        samples = resample(sound.samples, rate=sound.rate, to=self.features.rate)
        frames = self.features.frames(len(samples))
        # One frame too many where it is too long, so that its length still says so.
        most = frames if self.widths is None else min(frames, self.widths[-1] + 1)
        return self.features(samples, frames=most)

    def _mel(self, indices: np.ndarray, width: int) -> np.ndarray:
        if self._spectra is not None:
            parts = [self._spectra[index] for index in indices]
        else:
            records = self._rows[indices]
            parts = _all(lambda row: self._spectrum(int(records[row])), len(records), "raise")
        mel = np.empty((len(parts), width, self.features.num_mels), np.float32)
        for row, part in zip(mel, parts):
            row[: len(part)] = part[:width]
            row[len(part) :] = self.features.silence(part) if len(part) < width else 0
        return mel


def _all(make: Callable[[int], np.ndarray], count: int, on_bad: Literal["raise", "skip"]) -> list[np.ndarray | None]:
    """What is made of each number below `count`, by threads; None of those that are bad."""

    def one(number: int) -> np.ndarray | None:
        try:
            return make(number)
        except DataError:
            if on_bad == "raise":
                raise
            return None

    with ThreadPoolExecutor(num_processors(), thread_name_prefix="recordings") as pool:
        return list(pool.map(one, range(count)))
