"""Labels of text records: from scores, from folders; and parts of records that keep the share of every label."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from jaxdl.data.sources.folds import Fold
from jaxdl.data.text.records import OnBad, Records, read_lines
from jaxdl.errors import ConfigError, DataError


def by_score(
    *,
    records: Records,
    field: str = "score",
    thresholds: tuple[float, ...] = (0.0,),
    labels: tuple[str, ...] = ("negative", "positive"),
    margin: float = 0.0,
    label_field: str = "label",
) -> Records:
    """Records with a label made of a score, such as "positive" above zero.

    Args:
      records: With a field of numbers.
      field: That field.
      thresholds: Rising; the i-th label is for scores above the i-1-th and not above the i-th of them.
      labels: One more than thresholds.
      margin: Records whose score is nearer than this to a threshold are left out, and counted as `"too near"`.
      label_field: What the label is called.

    Raises:
      ConfigError: there is no such field, or labels and thresholds do not fit each other.
      DataError: a score is no number, by file and line; or no record is left.
    """
    if len(labels) != len(thresholds) + 1 or list(thresholds) != sorted(set(thresholds)):
        raise ConfigError(f"{len(labels)} labels need one rising threshold fewer, not {thresholds}.")
    if field not in records.fields:
        raise ConfigError(f"The records have no field {field!r}; they have {', '.join(records.fields)}.")
    scores = _numbers(records.fields[field], records.places)
    edges = np.asarray(thresholds, np.float64)
    near = np.min(np.abs(scores[:, None] - edges[None]), axis=1) < margin
    kept = records.take(np.flatnonzero(~near).tolist())
    if not len(kept):
        raise DataError(f"No record is {margin} away from {thresholds}: choose a smaller margin.")
    names = tuple(labels[index] for index in np.searchsorted(edges, scores[~near], side="left"))
    skipped = {**records.skipped, "too near": int(near.sum())} if near.any() else records.skipped
    return dataclasses.replace(kept, fields={**kept.fields, label_field: names}, skipped=skipped)


def read_classes(
    *, path: str, field: str = "text", label_field: str = "label", encoding: str = "utf-8", on_bad: OnBad = "raise"
) -> Records:
    """A folder with a folder for each class, in which every `*.txt` file is one text.

    Raises:
      DataError: there is no such folder, or no class in it, or a file cannot be read.
    """
    root = Path(path).expanduser()
    folders = sorted(entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    if not folders:
        raise DataError(f"{root} holds no folder for a class.")
    parts = [read_lines(path=str(one), field=field, encoding=encoding, unit="file", on_bad=on_bad) for one in folders]
    skipped: dict[str, int] = {}
    for part in parts:
        for reason, count in part.skipped.items():
            skipped[reason] = skipped[reason] + count if reason in skipped else count
    return Records(
        fields={
            field: tuple(text for part in parts for text in part.fields[field]),
            label_field: tuple(folder.name for folder, part in zip(folders, parts) for _ in range(len(part))),
        },
        places=tuple(place for part in parts for place in part.places),
        skipped=skipped,
    )


def fold_of(
    *,
    records: Records,
    part: Literal["train", "test"],
    folds: int = 5,
    fold: int = 0,
    seed: int = 0,
    label_field: str | None = "label",
) -> Records:
    """One part of the records for training, the other for testing, as `jaxdl.data.sources.Fold` splits a source.

    Splitting records rather than rows keeps the test's text out of a vocabulary that is learned from the training's.
    """
    source = _Labelled(records=records, label_ids=_ids(records, label_field))
    return records.take(Fold(source=source, part=part, folds=folds, fold=fold, seed=seed).rows.tolist())


def few_of(*, records: Records, count: int, seed: int = 0, label_field: str | None = "label") -> Records:
    """A sample of `count` records in which labels have the shares that they have in all, in their order.

    Raises:
      DataError: there are fewer.
    """
    if not 1 <= count <= len(records):
        raise DataError(f"count must be in [1, {len(records)}], the number of records, not {count}.")
    order = np.random.default_rng(seed).permutation(len(records))
    order = order[np.argsort(_ids(records, label_field)[order], kind="stable")]
    places = np.floor((np.arange(count) + 0.5) * len(records) / count).astype(np.int64)
    return records.take(np.sort(order[places]).tolist())


def joined(*, parts: tuple[Records, ...], field: str = "text") -> Records:
    """The texts of several records, one after another."""
    return Records(
        fields={field: tuple(text for part in parts for text in part.fields[field])},
        places=tuple(place for part in parts for place in part.places),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Labelled:
    """What `Fold` needs to know of records."""

    records: Records
    label_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict[str, str]:
        return dict(self.records[index])


def _ids(records: Records, field: str | None) -> np.ndarray:
    if field is None:
        return np.zeros(len(records), np.int64)
    if field not in records.fields:
        raise ConfigError(f"The records have no field {field!r}; they have {', '.join(records.fields)}.")
    return np.unique(np.asarray(records.fields[field]), return_inverse=True)[1]


def _numbers(values: Sequence[str], places: Sequence[str]) -> np.ndarray:
    found = np.empty(len(values))
    for row, (value, place) in enumerate(zip(values, places)):
        try:
            found[row] = float(value)
        except ValueError as error:
            raise DataError(f"{place}: the score {value!r} is no number.") from error
        if not math.isfinite(found[row]):
            raise DataError(f"{place}: the score {value!r} is not finite.")
    return found
