"""Recordings and what is said in them, as records with the fields `path` and `text`."""

import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from jaxdl.data.text import Records, read_jsonl, read_table
from jaxdl.data.text.records import MAX_CHARACTERS
from jaxdl.data.within import within
from jaxdl.errors import DataError

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPOKEN_DIGIT = re.compile(r"([0-9])_(\w+)_([0-9]+)\.wav")
_TEST_TAKES = 5


def recordings(
    *,
    path: str,
    path_field: str = "path",
    text_field: str = "text",
    on_bad: Literal["raise", "skip"] = "raise",
    folder: str | None = None,
) -> Records:
    """The recordings of a manifest, or of a folder.

    Args:
      path: A table with a header (`.tsv`, `.csv`) or JSON lines (`.jsonl`, `.json`), one recording each; or a folder
        with `*.wav`, each beside a `*.txt` of the same name, in folders or not.
      path_field: The manifest's field that names the file, relative to the manifest.
      text_field: The manifest's field that says what is said.
      on_bad: What to do about a line or recording that lacks one of them, has an empty one, or names a file that is
        not in `folder`.
      folder: What the files of a manifest are in, deep or not; None for the folder of the manifest. With "/" it may
        name any file.

    Raises:
      DataError: the manifest or folder cannot be read, or a line is bad, by file and line. Whether a recording is
        there shows when it is read.
    """
    root = Path(path).expanduser()
    if root.is_dir():
        if folder is not None:
            raise ValueError(f"folder={folder!r} is for manifests, and {root} is itself the folder of its recordings.")
        return _beside(root, on_bad)
    read = read_jsonl if Path(path.removesuffix(".gz")).suffix in (".jsonl", ".json") else read_table
    found = read(path=path, fields={"path": path_field, "text": text_field}, on_bad=on_bad)
    return _placed(found, root.parent, root.parent if folder is None else Path(folder), on_bad)


def _placed(found: Records, base: Path, folder: Path, on_bad: Literal["raise", "skip"]) -> Records:
    """The same records with paths that are relative to `base` no longer, all of them in `folder`."""
    rows, files = [], []
    for row, name in enumerate(found.fields["path"]):
        try:
            files.append(str(within(folder, name, base)))
            rows.append(row)
        except DataError as error:
            if on_bad == "raise":
                raise DataError(
                    f"{found.places[row]}: {error}. Give the `folder` that holds the recordings, or leave such lines "
                    "out by on_bad='skip'."
                ) from error
    if not rows:
        raise DataError(f"None of the {len(found)} files of the manifest is in {folder}.")
    kept, bad = found.take(rows), len(found) - len(rows)
    skipped = {**found.skipped, **({"a file elsewhere": bad} if bad else {})}
    return Records(fields={**kept.fields, "path": tuple(files)}, places=kept.places, skipped=skipped)


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
        status = file.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_CHARACTERS:
            raise DataError(f"The transcript {file} is no file of at most {MAX_CHARACTERS:,} bytes.")
        return " ".join(file.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The transcript {file} cannot be read: {error}.") from error
