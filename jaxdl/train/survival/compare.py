"""The first difference between an uninterrupted run and one that was killed."""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdl import trees
from jaxdl.checkpoint import restore_part
from jaxdl.checkpoint.commit import Corrupt, verify
from jaxdl.checkpoint.lock import LOCK_NAME
from jaxdl.checkpoint.restore import committed_steps, step_folder
from jaxdl.errors import CheckpointError
from jaxdl.train.rollback import RollBack, batch_number
from jaxdl.train.survival.order import Order, rows_apart

Rows = Sequence[Mapping[str, Any]]
_TEMPORARY = ("tmp-*", "trash-*", "replaced-*", "corrupt-*", ".*.tmp", LOCK_NAME)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not as in the uninterrupted run.

    Attributes:
      text: What, in a line.
      leaf: The leaf of the state that differs, where one does.
      step: The number of the step, as in the log, where it is known.
      batch: The number of that step's batch, where it is known.
      rows: The rows of that batch that differ; None where only the step is known.
    """

    text: str
    leaf: str | None = None
    step: int | None = None
    batch: int | None = None
    rows: tuple[int, ...] | None = None


def orders(
    reference: Order, found: Order, rollbacks: Sequence[RollBack] = (), *, whole: bool = True
) -> Difference | None:
    """The first step whose batch is another one; with `whole`, also the first that no run took.

    Args:
      reference: What the uninterrupted run took.
      found: What the other run took.
      rollbacks: The returns of the uninterrupted run. What was read ahead of one differs from run to run.
      whole: Whether the other run has ended.
    """
    for key in sorted(found):
        step, number, first = key
        if key in reference:
            apart = rows_apart(reference[key], found[key])
            if apart:
                rows = tuple(first + row for row in apart)
                text = f"the batch of step {step} differs in {len(rows)} of {len(reference[key]) // 4} rows"
                return Difference(text=text, step=step, batch=number, rows=rows)
        elif all(batch_number(step - 1, rollbacks[:count]) != number for count in range(len(rollbacks))):
            text = f"step {step} took a batch that the uninterrupted run has not"
            return Difference(text=text, step=step, batch=number)
    last = {key for key in reference if batch_number(key[0] - 1, rollbacks) == key[1]}
    missing = sorted(last - found.keys())
    if whole and missing:
        step, number, _ = missing[0]
        return Difference(text=f"the batch of step {step} was never taken", step=step, batch=number)
    return None


def logs(reference: Rows, found: Rows, rollbacks: Sequence[RollBack] = (), *, whole: bool = True) -> Difference | None:
    """The first step whose rows of the metrics log are not the same but for times; with `whole`, also what is missing.

    Args:
      reference: As `jaxdl.train.writers.read_rows` gives them.
      found: Of the other run.
      rollbacks: The returns of the uninterrupted run. Before its end, the other has rows that it may yet take back.
      whole: Whether the other run has ended.
    """
    if rollbacks and not whole:
        found = [row for row in found if row["step"] <= min(back.step for back in rollbacks)]
    known = {_key(row): _timeless(row) for row in reference}
    for key, number in sorted(Counter(map(_key, found)).items()):
        if number > 1:
            return Difference(text=f"the log has step {key[0]}, kind {key[1]!r}, {number} times", step=key[0])
    for row in sorted(found, key=_key):
        step, kind = key = _key(row)
        if key not in known:
            return Difference(text=f"the log has step {step}, kind {kind!r}, which must not be there", step=step)
        if apart := _apart(known[key], _timeless(row)):
            return Difference(text=f"the log at step {step}, kind {kind!r}: {apart}", step=step)
    if not whole:
        return None
    places = [_key(row) for row in found]
    for step, kind in sorted(known.keys() - set(places)):
        return Difference(text=f"the log lacks step {step}, kind {kind!r}", step=step)
    for (step, kind), place in zip(map(_key, reference), places, strict=True):
        if (step, kind) != place:
            return Difference(text=f"the log has step {place[0]}, kind {place[1]!r}, before its turn", step=step)
    return None


def states(reference: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> Difference | None:
    """The first leaf that is not bit for bit the same."""
    for name in [*reference, *(name for name in found if name not in reference)]:
        if name not in reference or name not in found:
            return Difference(text=f"only one run has the leaf {name}", leaf=name)
        one, other = np.asarray(reference[name]), np.asarray(found[name])
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            return Difference(text=f"{name}: {one.dtype}{one.shape} and {other.dtype}{other.shape}", leaf=name)
        apart = np.argwhere((_bits(one) != _bits(other)).any(-1))
        if len(apart):
            at = tuple(apart[0].tolist())
            where = f"{len(apart)} of {one.size} numbers differ, first at {list(at)}: {one[at]} and {other[at]}"
            return Difference(text=f"{name}: {where}", leaf=name)
    return None


def folders(reference: Path, found: Path) -> Difference | None:
    """The first difference between two finished run folders, but for their logs.

    The last state in all its parts, what the hooks remember, the summary, that every checkpoint verifies, and that
    nothing temporary is left.
    """
    left = leftovers(found)
    if left:
        return Difference(text=f"left behind: {', '.join(left)}")
    checkpoints = found / "checkpoints"
    for step in committed_steps(checkpoints):
        try:
            verify(step_folder(checkpoints, step))
        except Corrupt as problem:
            return Difference(text=f"the checkpoint of step {step} does not verify: {problem}")
    try:
        one, other = _last(reference / "checkpoints"), _last(checkpoints)
    except CheckpointError as error:
        return Difference(text=str(error))
    if one.step != other.step:
        return Difference(text=f"the last checkpoints are of steps {one.step} and {other.step}", step=other.step)
    difference = states(trees.flatten(one.state), trees.flatten(other.state))
    if difference is not None:
        return difference
    for what, pair in (
        ("saved beside the state", (one.info, other.info)),
        ("summary.json", tuple(json.loads((folder / "summary.json").read_text()) for folder in (reference, found))),
    ):
        if apart := _apart(*pair):
            return Difference(text=f"{what}: {apart}")
    return None


def leftovers(folder: Path) -> list[str]:
    """What is temporary in a run folder, by its name there."""
    return sorted(str(path.relative_to(folder)) for pattern in _TEMPORARY for path in folder.rglob(pattern))


def _last(checkpoints: Path) -> Any:
    steps = committed_steps(checkpoints)
    return restore_part(checkpoints, ".*", step=steps[-1] if steps else None)


def _key(row: Mapping[str, Any]) -> tuple[int, str]:
    return row["step"], row["kind"]


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "time" and not name.startswith("time/")}


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first name under which two records differ, with both values."""
    for name in [*one, *(name for name in other if name not in one)]:
        before, after = (repr(values[name]) if name in values else "nothing" for values in (one, other))
        if before != after:
            return f"{name} is {_short(after)} instead of {_short(before)}"
    return None


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}..."


def _bits(array: np.ndarray) -> np.ndarray:
    """The bytes of each number, (..., bytes)."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(*array.shape, array.itemsize)
