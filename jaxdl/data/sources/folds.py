"""Cross-validation: the same examples split into parts, by class where the classes are known."""

import dataclasses
from typing import Any, Literal

import numpy as np

from jaxdl.errors import DataError
from jaxdl.types import Source


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Fold:
    """One part of a source for training, the other for testing; `folds` of them test every example once.

    Each example has a fold by chance, the same for the same `seed` whatever `fold` and `part` are. A source that
    knows its `label_ids` (N,) has every class spread evenly over the folds.

    Attributes:
      source: What is split. Labels, descriptions and `gather` are its own.
      part: "test" is the fold, "train" all others.
      folds: Number of folds; 5 holds out a fifth.
      fold: Which fold is the test, from 0.
      seed: Of the chance.
      rows: The indices of the part in the source, in rising order.

    Raises:
      DataError: there are fewer examples than folds.
      ValueError: there is no such fold or part.
    """

    source: Source
    part: Literal["train", "test"]
    folds: int = 5
    fold: int = 0
    seed: int = 0
    rows: np.ndarray = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.folds < 2 or not 0 <= self.fold < self.folds:
            raise ValueError(f"fold must be in [0, folds) and folds at least 2, not {self.fold} of {self.folds}.")
        if self.part not in ("train", "test"):
            raise ValueError(f"part must be 'train' or 'test', not {self.part!r}.")
        count = len(self.source)
        if count < self.folds:
            raise DataError(f"{count} examples cannot be split into {self.folds} folds.")
        order = np.random.default_rng(self.seed).permutation(count)
        if hasattr(self.source, "label_ids"):
            order = order[np.argsort(np.asarray(self.source.label_ids)[order], kind="stable")]
        fold_of = np.empty(count, np.int64)
        fold_of[order] = np.arange(count) % self.folds
        object.__setattr__(self, "rows", np.flatnonzero((fold_of == self.fold) == (self.part == "test")))
        # Only where the source has it: `gather` is how the pipeline knows that examples come without work each.
        if hasattr(self.source, "gather"):
            object.__setattr__(self, "gather", lambda indices: self.source.gather(self.rows[indices]))

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names of the source."""
        return tuple(getattr(self.source, "labels", ()))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.source[int(self.rows[index])])

    def describe(self, index: int) -> str:
        """As the source says it."""
        row = int(self.rows[index])
        return self.source.describe(row) if hasattr(self.source, "describe") else f"example {row}"
