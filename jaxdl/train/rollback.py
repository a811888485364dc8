"""Going back: which batch a step trains on, once steps that went wrong were undone and their data left out."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxdl.errors import CheckpointError

MOST = 10**12
"""A step or batch that no run comes to: from there on, the numbers of examples leave 64 bits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failure:
    """Steps that went wrong.

    Attributes:
      first: The first of them, counted from 1.
      last: The one that made it a failure.
      reason: What a user should know.
    """

    first: int
    last: int
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RollBack:
    """One return to an earlier state. With the seed, all of them together decide every later step.

    Attributes:
      step: The number of steps that were kept.
      batch: The number of the batch that training goes on with; those from before the return to here are left out.
      first: The first of the steps that went wrong.
      last: The last of them, which made it a failure.
      reason: What went wrong.
    """

    step: int
    batch: int
    first: int
    last: int
    reason: str

    def json(self) -> dict[str, Any]:
        """As a checkpoint and `rollbacks.json` keep it."""
        return dataclasses.asdict(self)


def answer(failure: Failure, every: int, rollbacks: Sequence[RollBack]) -> RollBack:
    """Where to go back to: the last multiple of `every` steps before the failure began. The data goes on behind it.

    It depends on the failure alone, not on which checkpoints happen to be there nor on when the failure was seen.

    >>> failure = Failure(first=27, last=29, reason="NaN")
    >>> back = answer(failure, 10, ())
    >>> back.step, back.batch
    (20, 29)
    """
    step = (failure.first - 1) // every * every
    return RollBack(step=step, batch=batch_number(failure.last, rollbacks), **dataclasses.asdict(failure))


def batch_number(step: int, rollbacks: Sequence[RollBack]) -> int:
    """The number of the batch that is trained on after `step` steps."""
    for back in reversed(rollbacks):
        if back.step <= step:
            return back.batch + step - back.step
    return step


def spans(start: int, stop: int, rollbacks: Sequence[RollBack]) -> Iterator[tuple[int, int, int]]:
    """`(first step, last step + 1, first batch)` of steps whose batches follow one another."""
    cuts = sorted({start, stop, *(back.step for back in rollbacks if start < back.step < stop)})
    for first, end in itertools.pairwise(cuts):
        yield first, end, batch_number(first, rollbacks)


def recorded(info: Mapping[str, Any]) -> tuple[RollBack, ...]:
    """Those that a checkpoint knows of; checkpoints of earlier versions know of none.

    Raises:
      CheckpointError: what it says of them is damaged.
    """
    try:
        return read(info["rollbacks"]) if "rollbacks" in info else ()
    except ValueError as error:
        raise CheckpointError(f"What the checkpoint says of roll-backs is damaged: {error}.") from error


def read(values: Any) -> tuple[RollBack, ...]:
    """Roll-backs from a list of what `RollBack.json` gives.

    >>> read([RollBack(step=20, batch=29, first=27, last=29, reason="NaN").json()])[0].batch
    29

    Raises:
      ValueError: that is not what it is.
    """
    if not isinstance(values, list):
        raise ValueError(f"there should be a list of roll-backs, not {_short(values)}")
    return tuple(map(_roll_back, values))


def _roll_back(value: Any) -> RollBack:
    names = [field.name for field in dataclasses.fields(RollBack)]
    if not isinstance(value, dict) or value.keys() != set(names):
        raise ValueError(f"a roll-back should be an object of {', '.join(names)}, not {_short(value)}")
    numbers = [value[name] for name in names if name != "reason"]
    if any(type(number) is not int or not 0 <= number <= MOST for number in numbers):
        raise ValueError(f"the numbers of a roll-back should be from 0 to {MOST}, not {_short(value)}")
    back = RollBack(**value)
    if not back.step < back.first <= back.last or back.batch < back.step or not isinstance(back.reason, str):
        raise ValueError(f"a roll-back should go back from a failure to a step before it, not {_short(value)}")
    return back


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}..."
