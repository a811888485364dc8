"""jaxdl as a user runs it: the whole trainer with its guard, metrics, logs and a run folder."""

import math
import statistics
import tempfile
import time
from typing import Any

import jax

from benchmarks.peers.measure import WINDOWS, main, process_age
from benchmarks.peers.workloads import CLASSES, LEARNING_RATE, WEIGHT_DECAY, WORKLOADS, Workload, check_parameters, data
from jaxdl import trees
from jaxdl.cli.environment import keep_freed_memory, use_compile_cache
from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource
from jaxdl.models import MLP, CifarResNet, LeNet
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Experiment, Moment, Saving, train

MODELS = {
    "mlp": MLP(num_classes=CLASSES, widths=(128,)),
    "lenet": LeNet(num_classes=CLASSES, channels=(32, 64), dense_width=128),
    "resnet20": CifarResNet(num_classes=CLASSES, depth=20),
}


class Clock:
    """A hook that times windows of steps and stops training when it has them all."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.first, self.hundredth = seconds, math.nan, math.nan
        self.speeds: list[float] = []
        self.steps_per_call = 0
        self._began = 0.0
        self._last = (0, 0.0)

    def __call__(self, moment: Moment) -> Moment | None:
        """Waits for the device only where a window begins or ends."""
        now = time.perf_counter()
        if not self.steps_per_call:
            jax.block_until_ready(moment.metrics)
            self.first, self.steps_per_call, self._began = process_age(), moment.step, time.perf_counter()
        if math.isnan(self.hundredth):
            if moment.step >= 100 or now - self._began > self.seconds / 3:
                jax.block_until_ready(moment.metrics)
                self.hundredth, self._last = process_age(), (moment.step, time.perf_counter())
            return None
        if now - self._last[1] >= self.seconds * 2 / 3 / WINDOWS:
            jax.block_until_ready(moment.metrics)
            now = time.perf_counter()
            self.speeds.append((moment.step - self._last[0]) / (now - self._last[1]))
            self._last = (moment.step, now)
        return moment._replace(stop="measured") if len(self.speeds) == WINDOWS else None


def run(workload: str, seconds: float) -> dict[str, Any]:
    """Trains a workload and times it."""
    settings, clock = WORKLOADS[workload], Clock(seconds)
    with tempfile.TemporaryDirectory() as folder:
        outcome = train(_experiment(settings, clock), folder, quiet=True)
    check_parameters(settings, trees.count(outcome.state.params))
    speed = statistics.median(clock.speeds)
    reached = min(outcome.step, 100)
    return {
        "steps_per_second": speed,
        "window_steps_per_second": clock.speeds,
        "seconds_to_first_step": clock.first,
        "seconds_to_100th": clock.hundredth + max(0, 100 - reached) / speed,
        "extrapolated": reached < 100,
        "steps_per_call": clock.steps_per_call,
    }


def _experiment(settings: Workload, clock: Clock) -> Experiment:
    images, labels = data(settings)
    return Experiment(
        steps=10_000_000,
        model=MODELS[settings.model],
        task=Classification(num_classes=CLASSES, mean=(0.0,), std=(1.0,)),
        optimizer=optimizer(rule=adam(), learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY),
        train=Pipeline(source=ArraySource(arrays={"image": images, "label": labels}), batch_size=settings.batch_size),
        saving=Saving(every=10_000_000),
        hooks=(clock,),
    )


if __name__ == "__main__":
    keep_freed_memory()
    use_compile_cache()
    main(run)
