"""Two-way layouts: which of our tensors is which of theirs, declared once and read in both directions.

A layout is a tuple of `Rule`, `Ignored`, `Tied` and `Prefix`. Names are patterns: `{i}`, `{j}` stand for numbers, the
same on both sides; `{i+1}` for a number one higher. Ours are the names of `jaxdl.trees`, joined by `/`, without a
collection for parameters (`head/kernel`) and with it for anything else (`batch_stats/stem_norm/mean`).

A placeholder that only one side has gathers all its values, in order: with `STACK`, `experts.{e}.weight` are the rows
of one `experts/kernel`.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from jaxdl.interop.patterns import placeholders

Array = np.ndarray[Any, Any]
Arrays = tuple[Array, ...]


@dataclasses.dataclass(frozen=True)
class How:
    """How tensors of theirs become tensors of ours, and back.

    Attributes:
      word: For the report, such as "transposed".
      to_ours: From the tensors of the rule's `theirs`, in its order, to those of its `ours`.
      to_theirs: The exact inverse.
    """

    word: str
    to_ours: Callable[[Arrays], Arrays]
    to_theirs: Callable[[Arrays], Arrays]

    def then(self, following: "How") -> "How":
        """Does this, then `following`, on the way to ours; the other way round on the way back."""
        words = [word for word in (self.word, following.word) if word != "copied"]
        return How(
            " and ".join(words) or "copied",
            lambda arrays: following.to_ours(self.to_ours(arrays)),
            lambda arrays: self.to_theirs(following.to_theirs(arrays)),
        )


def permuted(*axes: int, word: str = "transposed") -> How:
    """Each tensor with its axes in another order: axis `k` of ours is axis `axes[k]` of theirs."""
    back = tuple(int(axis) for axis in np.argsort(axes))

    def permute(order: tuple[int, ...]) -> Callable[[Arrays], Arrays]:
        return lambda arrays: tuple(np.transpose(array, order) for array in arrays)

    return How(word, permute(axes), permute(back))


COPY = How("copied", lambda arrays: arrays, lambda arrays: arrays)
"""The same tensors in the same order."""

TRANSPOSE = permuted(1, 0)
"""Dense kernels: theirs (out, in), ours (in, out)."""

CONV2D = permuted(2, 3, 1, 0)
"""Kernels of 2-D convolutions, depthwise and grouped too: theirs (out, in, h, w), ours (h, w, in, out)."""

CONV1D = permuted(2, 1, 0)
"""Kernels of 1-D convolutions: theirs (out, in, w), ours (w, in, out)."""


def SPLIT(axis: int, parts: int | tuple[int, ...]) -> How:
    """One tensor of theirs is several of ours, side by side along `axis`.

    `TRANSPOSE.then(SPLIT(1, 3))` takes PyTorch's `in_proj_weight` (3 D, D) to three kernels (D, D).

    Args:
      axis: Of the tensor as it reaches this step.
      parts: How many equal parts; or the size of each.
    """

    def split(arrays: Arrays) -> Arrays:
        (array,) = arrays
        cuts = parts if isinstance(parts, int) else np.cumsum(parts)[:-1].tolist()
        return tuple(np.split(array, cuts, axis=axis))

    return How("split", split, lambda arrays: (np.concatenate(arrays, axis=axis),))


def MERGE(axis: int, parts: int | tuple[int, ...]) -> How:
    """Several tensors of theirs, side by side along `axis`, are one of ours; the inverse of `SPLIT`."""
    split = SPLIT(axis, parts)
    return How("merged", split.to_theirs, split.to_ours)


def STACK(axis: int = 0) -> How:
    """Several tensors of theirs of one shape are one of ours with a new axis."""

    def unstack(arrays: Arrays) -> Arrays:
        (array,) = arrays
        return tuple(np.take(array, index, axis=axis) for index in range(array.shape[axis]))

    return How("stacked", lambda arrays: (np.stack(arrays, axis=axis),), unstack)


def EXPAND(*axes: int) -> How:
    """Ours has axes of size 1 that theirs lacks, such as a class token (D,) that is (1, 1, D) here."""
    return How(
        "reshaped",
        lambda arrays: tuple(np.expand_dims(array, axes) for array in arrays),
        lambda arrays: tuple(np.squeeze(array, axes) for array in arrays),
    )


def SQUEEZE(*axes: int) -> How:
    """Theirs has axes of size 1 that ours lacks; the inverse of `EXPAND`."""
    expand = EXPAND(*axes)
    return How("reshaped", expand.to_theirs, expand.to_ours)


@dataclasses.dataclass(frozen=True)
class Rule:
    """These tensors of ours are those tensors of theirs.

    Attributes:
      ours: A pattern, or several in the order that `how` gives them.
      theirs: A pattern, or several in the order that `how` takes them.
      how: What happens to the values.
      optional: Whether either side may lack the tensors without anything being wrong: ours then keeps its
        initialisation, theirs is left out; the report says so. For a head or a pooler that some files have.
    """

    ours: str | tuple[str, ...]
    theirs: str | tuple[str, ...]
    how: How = COPY
    optional: bool = False

    def __post_init__(self) -> None:
        ours, theirs = ({key for name in side for key in placeholders(name)} for side in self._sides())
        for free in (ours - theirs, theirs - ours):
            if len(free) > 1:
                raise ValueError(f"Only one placeholder of a rule may be on one side alone, not {sorted(free)}: {self}")

    def _sides(self) -> Iterator[tuple[str, ...]]:
        for side in (self.ours, self.theirs):
            yield (side,) if isinstance(side, str) else side


@dataclasses.dataclass(frozen=True)
class Ignored:
    """Tensors of theirs that hold no parameter, such as buffers.

    Attributes:
      theirs: A pattern.
      reason: Why it may be ignored, for the report.
      beside: A pattern of tensors that are written back, with the same placeholders; for each one found ...
      write: ... this is called with the tensor and gives the value to write under `theirs`. None writes nothing.
    """

    theirs: str
    reason: str
    beside: str | None = None
    write: Callable[[Array], Array] | None = None


@dataclasses.dataclass(frozen=True)
class Tied:
    """A tensor of theirs that repeats another one; a file may have it or not.

    Where a file has both, they must be equal: otherwise its model was trained untied, which is another model.

    Attributes:
      theirs: The name that repeats; a pattern.
      to: The name that it repeats; a pattern with the same placeholders.
      write: Whether to write it back.
    """

    theirs: str
    to: str
    write: bool = False


@dataclasses.dataclass(frozen=True)
class Prefix:
    """What `{prefix}` stands for in the names of theirs: one text in the whole file.

    Attributes:
      options: Reading takes the one that explains most names of the file; writing the first unless told otherwise.
    """

    options: tuple[str, ...]


Layout = tuple[Rule | Ignored | Tied | Prefix, ...]


def num_batches_tracked(theirs: str, running_mean: str) -> Ignored:
    """The step counter of PyTorch's batch normalisation, which nothing here reads; it is written back as 0.

    Args:
      theirs: Its pattern, such as `"bn{i}.num_batches_tracked"`.
      running_mean: The pattern of the running mean beside it.
    """
    reason = "the step counter of PyTorch's batch normalisation"
    return Ignored(theirs, reason, beside=running_mean, write=lambda _: np.zeros((), np.int64))
