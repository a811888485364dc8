"""What flows through a training step: statistics of every layer's inputs, outputs and gradients, in order."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import trees
from jaxdl.types import Array, PyTree

What = Literal["input", "output", "loss", "gradient", "parameter", "parameter gradient", "update"]


class Stats(NamedTuple):
    """Of the finite elements of an array.

    Attributes:
      mean: Their mean.
      std: Their standard deviation.
      largest: Their largest absolute value.
      nonfinite: How many elements are NaN or infinite.
      size: How many elements there are.
    """

    mean: float
    std: float
    largest: float
    nonfinite: int
    size: int


def statistics(x: Any) -> Stats:
    """The statistics of an array of numbers, in float64.

    >>> statistics(np.array([1.0, -3.0, np.nan]))
    Stats(mean=-1.0, std=2.0, largest=3.0, nonfinite=1, size=3)
    """
    x = np.asarray(x).astype(np.float64).ravel()
    finite = x[np.isfinite(x)]
    missing = x.size - finite.size
    if not finite.size:
        return Stats(float("nan"), float("nan"), float("nan"), missing, x.size)
    with np.errstate(over="ignore"):
        return Stats(float(finite.mean()), float(finite.std()), float(np.abs(finite).max()), missing, x.size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """One array that a step computed.

    Attributes:
      name: Of the layer, such as `encoder/block_0/conv`, empty for the model itself; or of the parameter.
      what: Which array of it: what goes in or comes out, or the gradient of the loss over what comes out; or of a
        parameter its value, gradient or update.
      kind: The class of the layer.
      stats: Its numbers.
      rows: The rows of the batch with a number that is not finite; None where it has no rows.
    """

    name: str
    what: What
    kind: str
    stats: Stats
    rows: tuple[int, ...] | None


class Recorder:
    """Writes down what a step computes while it runs op by op: an `Event` for every array, in the order of execution.

    Args:
      rows: In a batch.
      parts: Microbatches that it is split into by stride.
    """

    def __init__(self, rows: int, parts: int = 1) -> None:
        self.events: list[Event] = []
        self._rows, self._parts, self._part = rows, parts, -1
        self._scored = False

    def begin_part(self) -> None:
        """Says that the next microbatch goes into the model."""
        self._part += 1
        self._scored = False

    def end_forward(self) -> None:
        """Says that the loss of this microbatch is known: layers computed again from now on are not written down."""
        self._scored = True

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Within it, what goes in and out of the layers of Linen modules is written down."""

        def watch(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
            if context.method_name != "__call__":
                return call(*args, **kwargs)
            name, kind = "/".join(context.module.path), type(context.module).__name__
            args, kwargs = self.seen((args, kwargs), name, "input", kind)
            return self.seen(call(*args, **kwargs), name, "output", kind)

        with nn.intercept_methods(watch):
            yield

    def seen(self, tree: PyTree, name: str, what: What, kind: str = "") -> PyTree:
        """The same arrays; those of real numbers are written down, and of outputs their gradients as they come back."""

        def forward(x: Array) -> Array:
            if isinstance(x, jax.core.Tracer):  # Within a loop or a rematerialised layer, which are compiled.
                jax.debug.callback(lambda value: self._write(value, name, what, kind), x)
            else:
                self._write(x, name, what, kind)
            return x

        def backward(_: None, gradient: Array) -> tuple[Array]:
            if what == "output":
                if isinstance(gradient, jax.core.Tracer):
                    jax.debug.callback(lambda value: self._write(value, name, "gradient", kind), gradient)
                else:
                    self._write(gradient, name, "gradient", kind)
            return (gradient,)

        same = jax.custom_vjp(forward)
        same.defvjp(lambda x: (forward(x), None), backward)
        return jax.tree.map(lambda x: same(x) if _is_real(x) else x, tree)

    def parameters(self, tree: PyTree, what: What) -> None:
        """Writes down the arrays of a tree by their names."""
        for name, leaf in trees.flatten(tree).items():
            if _is_real(leaf):
                self.events.append(Event(name=name, what=what, kind="", stats=statistics(leaf), rows=None))

    def _write(self, x: Any, name: str, what: What, kind: str) -> None:
        if self._scored and what in ("input", "output"):
            return
        x = np.asarray(x)
        rows = None
        if x.ndim and x.shape[0] * self._parts == self._rows:
            bad = ~np.isfinite(x.astype(np.float32)).reshape(len(x), -1).all(axis=1)
            rows = tuple(int(row) * self._parts + max(self._part, 0) for row in np.flatnonzero(bad))
        self.events.append(Event(name=name, what=what, kind=kind, stats=statistics(x), rows=rows))


def first_nonfinite(events: list[Event]) -> Event | None:
    """The first event with a number that is not finite."""
    return next((event for event in events if event.stats.nonfinite), None)


def _is_real(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) and x.size > 0
