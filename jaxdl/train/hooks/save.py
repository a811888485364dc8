"""Checkpoints while training."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxdl.checkpoint import Checkpoints
from jaxdl.errors import CheckpointError
from jaxdl.learners import TrainState
from jaxdl.train.hooks.nonfinite import NON_FINITE
from jaxdl.train.hooks.preemption import INTERRUPTED
from jaxdl.train.loop import Moment


class Save:
    """Saves every `every` steps, at every evaluation that gives the metric of the best, and where training stops.

    Args:
      checkpoints: Where to.
      every: Steps between checkpoints.
      last: The number of steps of the whole training.
      best: The result that the best checkpoints are kept by.
      info: Makes what to save beside the state of a moment.
      sound: Whether a state may be saved; one that may not be ends the training.

    The checkpoint of an unfinished moment is replaced by that of the same moment, once it is finished.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        every: int,
        last: int,
        best: str | None,
        info: Callable[[Moment], Mapping[str, Any]],
        sound: Callable[[TrainState], bool] = lambda state: True,
    ) -> None:
        self._checkpoints, self._every, self._last, self._best, self._info = checkpoints, every, last, best, info
        self._sound = sound

    def __call__(self, moment: Moment) -> Moment | None:
        """Saves where it is due."""
        due = moment.step % self._every == 0 or moment.step == self._last or moment.stop is not None
        if not due and self._best not in moment.results:
            return None
        if not self._sound(moment.state):
            # What a signal cuts short is looked at again when it goes on, at the step where a save is due.
            return moment if moment.stop == INTERRUPTED else moment._replace(stop=NON_FINITE)
        self._checkpoints.save(moment.step, moment.state, self._info(moment), metrics=dict(moment.results), again=True)
        return None


def remembered(hooks: Sequence[Any]) -> dict[str, Any]:
    """What the hooks want saved with a checkpoint, by their place and class."""
    return {_name(i, hook): hook.state() for i, hook in enumerate(hooks) if _remembers(hook)}


def recall(hooks: Sequence[Any], memory: Mapping[str, Any]) -> None:
    """Gives hooks back what `remembered` collected; hooks that were not there then start afresh.

    Raises:
      CheckpointError: that is not what it is, or a hook cannot read its own.
    """
    if not isinstance(memory, Mapping):
        raise CheckpointError(f"What the checkpoint remembers of hooks is damaged: {str(memory)[:60]!r}.")
    for i, hook in enumerate(hooks):
        if not _remembers(hook) or _name(i, hook) not in memory:
            continue
        try:
            hook.restore(memory[_name(i, hook)])
        except (LookupError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The hook {_name(i, hook)} cannot go on from what the checkpoint remembers of it: {error!r}."
            ) from error


def _remembers(hook: Any) -> bool:
    return all(callable(getattr(hook, name, None)) for name in ("state", "restore"))


def _name(place: int, hook: Any) -> str:
    return f"{place}-{type(hook).__name__}"
