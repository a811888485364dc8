"""Image classification. Letters: B batch, h w spatial, D channels, C classes."""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import ConfigError, DataError
from jaxdl.losses import binary_cross_entropy, class_weight_of, cross_entropy
from jaxdl.metrics.classification import F1, CalibrationError, ConfusionMatrix, class_of, top_k_accuracy
from jaxdl.metrics.mean import Mean
from jaxdl.types import Batch, Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification:
    """Images `image` (B, h, w, D), uint8 or float in [0, 1], with `label`: class ids (B,) or probabilities (B, C).

    Attributes:
      num_classes: C.
      label_smoothing: Share of the target that is spread over all classes.
      class_weights: Weight of each class in the loss; the loss is divided by the weights of the examples' classes.
      mean: Subtracted from the image after scaling to [0, 1]: one number, or one per channel.
      std: Divides the image after that: one number, or one per channel.
      loss: "softmax" cross-entropy, or "sigmoid" cross-entropy averaged over the classes (Wightman et al. 2021).
      top_k: Which accuracies `measure` reports: 1 as "accuracy", 5 as "top5"; those of C or more are left out.
      num_bins: Bins of the calibration error.
    """

    num_classes: int
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    loss: Literal["softmax", "sigmoid"] = "softmax"
    top_k: tuple[int, ...] = (1, 5)
    num_bins: int = 15

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, not {self.num_classes}.")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}.")
        if self.class_weights is not None and len(self.class_weights) != self.num_classes:
            raise ValueError(f"There are {len(self.class_weights)} class_weights for {self.num_classes} classes.")
        if self.loss not in ("softmax", "sigmoid"):
            raise ValueError(f"loss must be 'softmax' or 'sigmoid', not {self.loss!r}.")
        if 0 in self.std:
            raise ValueError(f"std must not hold zero: {self.std}.")
        if min(self.top_k, default=1) < 1:
            raise ValueError(f"top_k must hold positive numbers, not {self.top_k}.")

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`image` (B, h, w, D) as normalized float32."""
        image = jnp.asarray(batch["image"])
        scale = 255.0 if image.dtype == jnp.uint8 else 1.0
        mean, std = (_per_channel(name, getattr(self, name), image.shape) for name in ("mean", "std"))
        return {"image": (image.astype(jnp.float32) / scale - mean) / std}

    def score(self, outputs: jax.Array, batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss, and "accuracy" against the likeliest class of the label."""
        label, mask_B = jnp.asarray(batch["label"]), batch["mask"]
        if outputs.shape[-1] != self.num_classes:
            raise ConfigError(
                f"The model gives {outputs.shape[-1]} numbers for an example, but the task has {self.num_classes} "
                "classes: model.num_classes and task.num_classes must be equal."
            )
        loss = Mean.of(self._loss(outputs, label), mask_B)
        if self.class_weights is not None:
            loss = loss.replace(weight=Mean.of(class_weight_of(label, self.class_weights), mask_B).total)
        return loss, {"accuracy": top_k_accuracy(outputs, label, mask_B)}

    def measure(self, outputs: jax.Array, batch: Batch) -> dict[str, Metric]:
        """Accuracies, "nll", "calibration_error", "macro_f1" and the "confusion" matrix.

        "nll" is the loss without smoothing and weights: the negative log-likelihood under softmax.
        """
        label_B, mask_B = class_of(batch["label"]), batch["mask"]
        predictions = self.decode(outputs)
        confusion = ConfusionMatrix.of(predictions["label"], label_B, mask_B, num_classes=self.num_classes)
        plain = dataclasses.replace(self, label_smoothing=0.0, class_weights=None)
        metrics: dict[str, Metric] = {
            "accuracy" if k == 1 else f"top{k}": top_k_accuracy(outputs, label_B, mask_B, k)
            for k in self.top_k
            if k < self.num_classes
        }
        return metrics | {
            "nll": Mean.of(plain._loss(outputs, jnp.asarray(batch["label"])), mask_B),
            "calibration_error": CalibrationError.of(
                predictions["probabilities"], label_B, mask_B, num_bins=self.num_bins
            ),
            "macro_f1": F1(counts=confusion.counts),
            "confusion": confusion,
        }

    def decode(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """`probabilities` (B, C) float32 and `label` (B,) int32, the likeliest class."""
        outputs = jnp.asarray(outputs, jnp.float32)
        probabilities_BC = jax.nn.softmax(outputs) if self.loss == "softmax" else jax.nn.sigmoid(outputs)
        return {"probabilities": probabilities_BC, "label": jnp.argmax(outputs, axis=-1).astype(jnp.int32)}

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every real row that cannot be learned from: a bad label, or a float image outside [0, 1].

        Raises:
          DataError: a key, type or shape that makes the whole batch unusable.
        """
        image, label = (_required(batch, name) for name in ("image", "label"))
        _check_arrays(image, label, self.num_classes)
        real = np.ones(len(label), bool) if "mask" not in batch else np.asarray(batch["mask"]) != 0
        problems = bad_labels(label, self.num_classes) | _bad_images(image)
        return [(row, reason) for row, reason in sorted(problems.items()) if real[row]]

    def _loss(self, logits_BC: jax.Array, label: jax.Array) -> jax.Array:
        if self.loss == "softmax":
            return cross_entropy(
                logits_BC, label, label_smoothing=self.label_smoothing, class_weights=self.class_weights
            )
        target_BC = label if label.ndim == 2 else jax.nn.one_hot(label, self.num_classes)
        target_BC = (1 - self.label_smoothing) * target_BC + self.label_smoothing / self.num_classes
        loss_B = jnp.mean(binary_cross_entropy(logits_BC, target_BC), axis=-1)
        weight_B = class_weight_of(label, self.class_weights or (1.0,) * self.num_classes)
        # The weight of a class that does not exist is NaN; multiplied, it would spoil the gradients of padding too.
        valid_B = jnp.isfinite(weight_B)
        return jnp.where(valid_B, loss_B * jnp.where(valid_B, weight_B, 0), jnp.nan)


def _per_channel(name: str, values: tuple[float, ...], shape: tuple[int, ...]) -> jax.Array:
    if len(values) not in (1, shape[-1]):
        raise ValueError(f"{name} holds {len(values)} numbers, but the images {shape} have {shape[-1]} channels.")
    return jnp.asarray(values, jnp.float32).reshape((1,) * (len(shape) - 1) + (-1,))


def _required(batch: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in batch:
        raise DataError(f"Classification needs {name!r} in a batch; there is {', '.join(sorted(batch))}.")
    return np.asarray(batch[name])


def _check_arrays(image: np.ndarray, label: np.ndarray, num_classes: int) -> None:
    if image.ndim != 4 or not (image.dtype == np.uint8 or np.issubdtype(image.dtype, np.floating)):
        raise DataError(
            f"image must be (B, height, width, channels), uint8 or float in [0, 1], not {image.dtype} {image.shape}."
        )
    hard = np.issubdtype(label.dtype, np.integer) and label.shape == image.shape[:1]
    soft = np.issubdtype(label.dtype, np.floating) and label.shape == (len(image), num_classes)
    if not (hard or soft):
        raise DataError(
            f"label must be class ids ({len(image)},) of an integer type or probabilities "
            f"({len(image)}, {num_classes}) of a floating type, not {label.dtype} {label.shape}."
        )


def bad_labels(label: np.ndarray, num_classes: int) -> dict[int, str]:
    """The reason of every row of class ids (B,) or probabilities (B, C) that is none, by row."""
    if label.ndim == 1:
        rows = np.flatnonzero((label < 0) | (label >= num_classes))
        return {int(row): f"label {label[row]} is outside [0, {num_classes})" for row in rows}
    with np.errstate(invalid="ignore"):
        good = np.all((label >= 0) & (label <= 1), axis=1)
    return {int(row): f"soft label {label[row]} is not within [0, 1]" for row in np.flatnonzero(~good)}


def _bad_images(image: np.ndarray) -> dict[int, str]:
    if image.dtype == np.uint8:
        return {}
    low, high = (reduce(image, axis=(1, 2, 3)) for reduce in (np.min, np.max))
    good = (low >= 0) & (high <= 1)
    return {
        int(row): f"image spans [{low[row]:g}, {high[row]:g}]; a float image must be within [0, 1]"
        for row in np.flatnonzero(~good)
    }
