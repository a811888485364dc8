"""Recordings and what is said in them, as records with the fields `path` and `text`."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from jaxdl.data.text import Records, read_jsonl, read_table
from jaxdl.errors import DataError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPOKEN_DIGIT = re.compile(r"([0-9])_(\w+)_([0-9]+)\.wav")
_TEST_TAKES = 5


def recordings(
    *, path: str, path_field: str = "path", text_field: str = "text", on_bad: Literal["raise", "skip"] = "raise"
) -> Records:
    """The recordings of a manifest, or of a folder.

    Args:
      path: A table with a header (`.tsv`, `.csv`) or JSON lines (`.jsonl`, `.json`), one recording each; or a folder
        with `*.wav`, each beside a `*.txt` of the same name, in folders or not.
      path_field: The manifest's field that names the file, relative to the manifest.
      text_field: The manifest's field that says what is said.
      on_bad: What to do about a line or recording that lacks one of them, or has an empty one.

    Raises:
      DataError: the manifest or folder cannot be read, or a line is bad, by file and line. Whether a recording is
        there shows when it is read.
    """
    root = Path(path).expanduser()
    if root.is_dir():
        return _beside(root, on_bad)
    read = read_jsonl if root.suffix in (".jsonl", ".json") else read_table
    found = read(path=path, fields={"path": path_field, "text": text_field}, on_bad=on_bad)
    files = tuple(str(root.parent / name) for name in found.fields["path"])
    return Records(fields={**found.fields, "path": files}, places=found.places, skipped=found.skipped)


def spoken_digits(*, path: str, part: Literal["train", "test", "all"], speaker: str | None = None) -> Records:
    """The Free Spoken Digit Dataset (Jackson et al. 2018), or recordings that are named as its are.

    Fields: `path`, `text` ("zero" to "nine"), `label` (the digit) and `speaker`.

    Args:
      path: The folder of files `DIGIT_SPEAKER_NUMBER.wav`.
      part: "train" or "test"; or "all".
      speaker: Whose recordings are the test; None for those numbered 0 to 4 of each digit and speaker, as the data set
        itself is split.

    Raises:
      DataError: there is no such folder or no recording in the part, a `.wav` has another name, or nobody is called
        like the speaker.
    """
    if part not in ("train", "test", "all"):
        raise ValueError(f"part must be 'train', 'test' or 'all', not {part!r}.")
    root = Path(path).expanduser()
    rows = [_spoken_digit(file) for file in sorted(root.glob("*.wav"))]
    speakers = sorted({name for _, _, name, _ in rows})
    if speaker is not None and speaker not in speakers:
        raise DataError(f"Nobody is called {speaker!r} in {root}; there are {', '.join(speakers) or 'no recordings'}.")
    for_test = [name == speaker if speaker is not None else number < _TEST_TAKES for _, _, name, number in rows]
    rows = [row for row, held_out in zip(rows, for_test) if part == "all" or held_out == (part == "test")]
    if not rows:
        raise DataError(f"{root} holds no recording DIGIT_SPEAKER_NUMBER.wav for part={part!r}.")
    return Records(
        fields={
            "path": tuple(str(file) for file, _, _, _ in rows),
            "text": tuple(DIGITS[digit] for _, digit, _, _ in rows),
            "label": tuple(str(digit) for _, digit, _, _ in rows),
            "speaker": tuple(name for _, _, name, _ in rows),
        },
        places=tuple(str(file) for file, _, _, _ in rows),
    )


def _spoken_digit(file: Path) -> tuple[Path, int, str, int]:
    found = _SPOKEN_DIGIT.fullmatch(file.name)
    if found is None:
        raise DataError(f"{file} is not named DIGIT_SPEAKER_NUMBER.wav: take it out of the folder.")
    return file, int(found[1]), found[2], int(found[3])


def _beside(root: Path, on_bad: Literal["raise", "skip"]) -> Records:
    """The recordings of a folder with their transcripts beside them."""
    files, texts, bad = [], [], 0
    for file in _wav_files(root):
        text = _transcript(file.with_suffix(".txt"))
        if text:
            files.append(str(file))
            texts.append(text)
        elif on_bad == "raise":
            raise DataError(
                f"{file} has no transcript: write what is said to {file.with_suffix('.txt').name} beside it, or leave "
                "such recordings out by on_bad='skip'."
            )
        else:
            bad += 1
    if not files:
        raise DataError(f"{root} holds no *.wav with a *.txt beside it.")
    skipped = {"no transcript": bad} if bad else {}
    return Records(fields={"path": tuple(files), "text": tuple(texts)}, places=tuple(files), skipped=skipped)


def _wav_files(root: Path) -> Iterable[Path]:
    return sorted(file for file in root.rglob("*") if file.suffix.lower() == ".wav" and not file.name.startswith("."))


def _transcript(file: Path) -> str:
    try:
        return " ".join(file.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The transcript {file} cannot be read: {error}.") from error
