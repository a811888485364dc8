"""Labels of text records: from scores, from folders; and parts of records that keep the share of every label."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from jaxdl.data.sources.folds import Fold
from jaxdl.data.text.records import LEAVE_OUT, OnBad, Records, read_lines
from jaxdl.errors import ConfigError, DataError


def by_score(
    *,
    records: Records,
    field: str = "score",
    thresholds: tuple[float, ...] = (0.0,),
    labels: tuple[str, ...] = ("negative", "positive"),
    margin: float = 0.0,
    label_field: str = "label",
    on_bad: OnBad = "raise",
) -> Records:
    """Records with a label made of a score, such as "positive" above zero.

    Args:
      records: With a field of numbers.
      field: That field.
      thresholds: Rising; the i-th label is for scores above the i-1-th and not above the i-th of them.
      labels: One more than thresholds.
      margin: Records whose score is nearer than this to a threshold are left out, and counted as `"too near"`.
      label_field: What the label is called.
      on_bad: What to do about a score that is no finite number.

    Raises:
      ConfigError: there is no such field, or labels and thresholds do not fit each other.
      DataError: a score is no number, by file and line; or no record is left.
    """
    if len(labels) != len(thresholds) + 1 or list(thresholds) != sorted(set(thresholds)):
        raise ConfigError(f"{len(labels)} labels need one rising threshold fewer, not {thresholds}.")
    if field not in records.fields:
        raise ConfigError(f"The records have no field {field!r}; they have {', '.join(records.fields)}.")
    records, scores = _scored(records, field, on_bad)
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
    return Records(
        fields={
            field: tuple(text for part in parts for text in part.fields[field]),
            label_field: tuple(folder.name for folder, part in zip(folders, parts) for _ in range(len(part))),
        },
        places=tuple(place for part in parts for place in part.places),
        skipped=_sum(parts),
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
        skipped=_sum(parts),
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


def _sum(parts: Sequence[Records]) -> dict[str, int]:
    """How many records of all parts were left out, by the reason."""
    skipped: collections.Counter[str] = collections.Counter()
    for part in parts:
        skipped.update(part.skipped)
    return dict(skipped)


def _scored(records: Records, field: str, on_bad: OnBad) -> tuple[Records, np.ndarray]:
    """The records that have a finite score, and the scores; counts the others or raises about them."""
    scores = np.asarray([_number(value) for value in records.fields[field]], np.float64)
    bad = np.flatnonzero(~np.isfinite(scores))
    if not len(bad):
        return records, scores
    if on_bad == "raise":
        place, value = records.places[bad[0]], records.fields[field][bad[0]]
        raise DataError(
            f"{place}: the score {value!r} is no finite number. Repair or remove it, or leave such records out by "
            f"{LEAVE_OUT}."
        )
    good = np.flatnonzero(np.isfinite(scores))
    if not len(good):
        raise DataError(f"None of the {len(scores)} records has a score that is a finite number.")
    skipped = {**records.skipped, "no finite score": len(bad)}
    return dataclasses.replace(records.take(good.tolist()), skipped=skipped), scores[good]


def _number(value: str) -> float:
    """The number that is written there, or NaN."""
    try:
        return float(value)
    except ValueError:
        return math.nan
