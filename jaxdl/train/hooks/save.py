"""Checkpoints while training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxdl.checkpoint import Checkpoints
from jaxdl.train.loop import Moment


class Save:
    """Saves every `every` steps, at every evaluation that gives the metric of the best, and where training stops.

    Args:
      checkpoints: Where to.
      every: Steps between checkpoints.
      last: The number of steps of the whole training.
      best: The result that the best checkpoints are kept by.
      info: Makes what to save beside the state of a moment.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        every: int,
        last: int,
        best: str | None,
        info: Callable[[Moment], Mapping[str, Any]],
    ) -> None:
        self._checkpoints, self._every, self._last, self._best, self._info = checkpoints, every, last, best, info

    def __call__(self, moment: Moment) -> None:
        """Saves where it is due."""
        due = moment.step % self._every == 0 or moment.step == self._last or moment.stop is not None
        if due or self._best in moment.results:
            self._checkpoints.save(moment.step, moment.state, self._info(moment), metrics=dict(moment.results))


def remembered(hooks: Sequence[Any]) -> dict[str, Any]:
    """What the hooks want saved with a checkpoint, by their place and class."""
    return {_name(i, hook): hook.state() for i, hook in enumerate(hooks) if _remembers(hook)}


def recall(hooks: Sequence[Any], memory: Mapping[str, Any]) -> None:
    """Gives hooks back what `remembered` collected; hooks that were not there then start afresh."""
    for i, hook in enumerate(hooks):
        if _remembers(hook) and _name(i, hook) in memory:
            hook.restore(memory[_name(i, hook)])


def _remembers(hook: Any) -> bool:
    return all(callable(getattr(hook, name, None)) for name in ("state", "restore"))


def _name(place: int, hook: Any) -> str:
    return f"{place}-{type(hook).__name__}"
