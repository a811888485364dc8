"""Regression of one or more numbers. Letters: B batch, K targets."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import DataError
from jaxdl.losses import huber, l1, l2
from jaxdl.metrics.mean import Mean
from jaxdl.types import Batch, Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regression:
    """Numbers `target` (B,) or (B, K) from `features` (B, ...), or from images (B, h, w, D) under `image`.

    The model's outputs (B, K), or (B, 1) for targets (B,), are in units of (target - mean) / std.

    Attributes:
      loss: "l2" squared, "l1" absolute, or "huber" error of the standardized target.
      feature: Which entry of a batch the model sees; uint8 images are scaled to [0, 1].
      delta: Where "huber" turns from square to line.
      mean: Of the targets: one number, or K.
      std: Of the targets: one number, or K.
    """

    loss: Literal["l2", "l1", "huber"] = "l2"
    feature: Literal["features", "image"] = "features"
    delta: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.loss not in ("l2", "l1", "huber"):
            raise ValueError(f"loss must be 'l2', 'l1' or 'huber', not {self.loss!r}.")
        if self.feature not in ("features", "image"):
            raise ValueError(f"feature must be 'features' or 'image', not {self.feature!r}.")
        if self.delta <= 0 or min(self.std) <= 0:
            raise ValueError(f"delta and std must be positive, not {self.delta} and {self.std}.")

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`image`, the name by which every model takes its input, as float32."""
        values = jnp.asarray(batch[self.feature])
        return {"image": values.astype(jnp.float32) / (255.0 if values.dtype == jnp.uint8 else 1.0)}

    def score(self, outputs: jax.Array, batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss, the mean over the K targets of each example, and the metrics of `measure`."""
        target_BK = _columns(batch["target"])
        standard_BK = (target_BK - _row(self.mean)) / _row(self.std)
        match self.loss:
            case "l2":
                loss_BK = l2(outputs, standard_BK)
            case "l1":
                loss_BK = l1(outputs, standard_BK)
            case _:
                loss_BK = huber(outputs, standard_BK, delta=self.delta)
        return Mean.of(jnp.mean(loss_BK, axis=-1), batch["mask"]), self.measure(outputs, batch)

    def measure(self, outputs: jax.Array, batch: Batch) -> dict[str, Metric]:
        """The squared error "mse" and the absolute error "mae", in the units of the target."""
        predictions_BK, target_BK = self._predictions(outputs), _columns(batch["target"])
        return {
            "mse": Mean.of(l2(predictions_BK, target_BK), batch["mask"]),
            "mae": Mean.of(l1(predictions_BK, target_BK), batch["mask"]),
        }

    def decode(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """`target` (B, K) float32, in the units of the data."""
        return {"target": self._predictions(outputs)}

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every real row with a number that is not finite.

        Raises:
          DataError: an entry is missing, or the targets have the wrong type or shape.
        """
        missing = [name for name in (self.feature, "target") if name not in batch]
        if missing:
            raise DataError(f"Regression needs {missing} in a batch; there is {', '.join(sorted(batch))}.")
        values, target = np.asarray(batch[self.feature]), np.asarray(batch["target"])
        if target.ndim not in (1, 2) or len(target) != len(values) or not np.issubdtype(target.dtype, np.number):
            raise DataError(
                f"target must be numbers ({len(values)},) or ({len(values)}, K), not {target.dtype} {target.shape}."
            )
        real = np.ones(len(target), bool) if "mask" not in batch else np.asarray(batch["mask"]) != 0
        reasons: dict[int, str] = {}
        for name, array in ((self.feature, values), ("target", target)):
            finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
            reasons |= {int(row): f"{name} is not finite" for row in np.flatnonzero(~finite & real)}
        return sorted(reasons.items())

    def _predictions(self, outputs: jax.Array) -> jax.Array:
        return jnp.asarray(outputs, jnp.float32) * _row(self.std) + _row(self.mean)


def _columns(target: object) -> jax.Array:
    target = jnp.asarray(target, jnp.float32)
    return target[:, None] if target.ndim == 1 else target


def _row(values: tuple[float, ...]) -> jax.Array:
    return jnp.asarray(values, jnp.float32)[None]
