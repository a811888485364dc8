"""Reduce on plateau: tells the optimizer what an evaluation gave."""

import jax

from jaxdl.optim import observe
from jaxdl.train.loop import Moment


class Plateau:
    """Passes a result on to the optimizer's `reduce_on_plateau`.

    Args:
      metric: The result to watch, such as `"test/loss"`.
    """

    def __init__(self, metric: str) -> None:
        self.metric = metric

    def __call__(self, moment: Moment) -> Moment | None:
        """Updates the optimizer's state after an evaluation that gave the metric."""
        if self.metric not in moment.results:
            return None
        before = moment.state.opt_state
        after = observe(before, moment.results[self.metric])
        opt_state = jax.tree.map(lambda new, old: jax.device_put(new, old.sharding), after, before)
        return moment._replace(state=moment.state.replace(opt_state=opt_state))
