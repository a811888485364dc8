"""Text classification. Letters: B batch, T tokens, C classes."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import DataError
from jaxdl.metrics.classification import MatthewsCorrelation
from jaxdl.metrics.mean import Mean
from jaxdl.tasks.classification import Classification, bad_labels
from jaxdl.types import Batch, Metric


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextClassification:
    """Texts `tokens` and `token_mask` (B, T) with `label`: class ids (B,) or probabilities (B, C).

    Loss, measures and predictions are those of `Classification`, with Matthews' correlation beside them.

    Attributes:
      num_classes: C.
      label_smoothing: Share of the target that is spread over all classes.
      class_weights: Weight of each class in the loss.
    """

    num_classes: int
    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        assert self._classes is not None

    @property
    def _classes(self) -> Classification:
        return Classification(
            num_classes=self.num_classes, label_smoothing=self.label_smoothing, class_weights=self.class_weights
        )

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`tokens` and `token_mask`, (B, T)."""
        return {name: jnp.asarray(batch[name]) for name in ("tokens", "token_mask")}

    def score(self, outputs: jax.Array, batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss, and "accuracy"."""
        return self._classes.score(outputs, batch)

    def measure(self, outputs: jax.Array, batch: Batch) -> dict[str, Metric]:
        """What `Classification` measures, and "matthews"."""
        metrics = self._classes.measure(outputs, batch)
        return metrics | {"matthews": MatthewsCorrelation(counts=metrics["confusion"].compute())}

    def decode(self, outputs: jax.Array) -> dict[str, jax.Array]:
        """`probabilities` (B, C) float32 and `label` (B,) int32, the likeliest class."""
        return self._classes.decode(outputs)

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every row with a bad label or without a token.

        Raises:
          DataError: a key, type or shape that makes the whole batch unusable.
        """
        for name in ("tokens", "token_mask", "label"):
            if name not in batch:
                raise DataError(f"Text classification needs {name!r}; there is {', '.join(batch)}.")
        problems = dict(bad_labels(np.asarray(batch["label"]), self.num_classes))
        for row in np.flatnonzero(np.asarray(batch["token_mask"]).sum(axis=1) == 0):
            problems.setdefault(int(row), "there is no token in it")
        real = np.ones(len(batch["label"]), bool) if "mask" not in batch else np.asarray(batch["mask"]) != 0
        return [(row, reason) for row, reason in sorted(problems.items()) if real[row]]
