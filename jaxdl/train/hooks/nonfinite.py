"""Stops a training that has gone NaN or infinite, or that is left out for spikes step after step."""

from collections import deque
from pathlib import Path

import jax
import jax.numpy as jnp

from jaxdl.learners import TrainState
from jaxdl.train.loop import Moment
from jaxdl.train.rollback import Failure


class StopNonFinite:
    """Stops once `limit` steps in a row were left out by `guarded`, looking `lag` calls back so as not to wait.

    With several steps a call and a guard without a limit, the run that counts is the one that a call ended with.

    Args:
      limit: Steps in a row.
      lag: Calls of the learner's step whose outcome may still be on its way.
    """

    def __init__(self, limit: int, *, lag: int = 2) -> None:
        self.limit, self.lag = limit, lag
        self._waiting: deque[jax.Array] = deque()

    def __call__(self, moment: Moment) -> Moment | None:
        """Looks whether steps were left out a few calls ago, and then at the count."""
        if "skipped" not in moment.metrics:
            return None
        self._waiting.append(moment.metrics["skipped"].total)
        if len(self._waiting) <= self.lag or not float(self._waiting.popleft()):
            return None
        # The state of this moment may still be on its way, so it is waited for only where steps were left out.
        return moment._replace(stop=NON_FINITE) if has_failed(moment.state, self.limit) else None


NON_FINITE = "the loss, the gradient or the parameters are not finite, or the loss or the gradient far too large"


def has_failed(state: TrainState, limit: int) -> bool:
    """Whether a state comes at the end of at least `limit` steps in a row that were left out."""
    return "nonfinite" in state.extras and int(state.extras["nonfinite"]["run"]) >= limit


def is_sound(state: TrainState, limit: int) -> bool:
    """Whether a state is worth saving: training has not failed, and the model is finite."""
    return not has_failed(state, limit) and bool(_finite(state.params, state.model_state, state.opt_state))


def failure(moment: Moment, limit: int) -> Failure | None:
    """What went wrong up to a moment, if training must not go on from it. It is the same however late it is seen."""
    if not has_failed(moment.state, limit) and moment.stop != NON_FINITE:
        return None
    count = moment.state.extras["nonfinite"] if "nonfinite" in moment.state.extras else {"run": 0, "first": 0}
    run, first = int(count["run"]), int(count["first"])
    kinds = "NaN, infinite or a spike" if "spikes" in moment.state.extras else "NaN or infinite"
    if run >= limit:
        reason = f"The loss or gradient has been {kinds} in {run} steps in a row, from step {first} on."
        return Failure(first=first, last=first + run - 1, reason=reason)
    loss = f"and the loss or gradient {kinds} from step {first} on" if run else "though its loss and gradient are not"
    reason = f"The parameters or statistics are NaN or infinite after step {moment.step}, {loss}."
    return Failure(first=first if run else moment.step, last=moment.step, reason=reason)


def explain(failed: Failure, workdir: Path | None, rollbacks: int) -> str:
    """What a user should know of a failure that ends the training."""
    command = f"jaxdl replay --workdir {workdir} --step {failed.first}"
    look = "" if workdir is None else f"`{command}` shows where it began. "
    tried = f" Training went back {rollbacks} times before." if rollbacks else ""
    other = "" if rollbacks else ", or let training go back by itself (rollbacks=3)"
    return (
        f"{failed.reason}{tried} No checkpoint holds it, and steps left out changed no parameter; a checkpoint "
        f"of well before may be the better start. {look}Lower the learning rate, clip the gradient "
        f"(optimizer.clip_norm), look at the data of that step{other}."
    )


@jax.jit
def _finite(params: object, model_state: object, opt_state: object) -> jax.Array:
    """Whether a model is finite and its optimizer, which may mean an infinity, free of NaN."""
    good = [jnp.isfinite(x).all() for x in jax.tree.leaves((params, model_state)) if _is_float(x)]
    good += [~jnp.isnan(x).any() for x in jax.tree.leaves(opt_state) if _is_float(x)]
    return jnp.all(jnp.asarray(good))


def _is_float(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.floating)
