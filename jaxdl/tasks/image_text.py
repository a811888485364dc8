"""Images and texts that belong together.

Letters: B batch, h w spatial, D channels, T tokens, E features, C classes, P captions of all classes.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.errors import ConfigError, DataError
from jaxdl.losses import info_nce
from jaxdl.metrics.mean import Mean
from jaxdl.tasks.classification import Classification
from jaxdl.types import Batch, Metric, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageText:
    """Images `image` (B, h, w, D) with their texts, `tokens` and `token_mask` (B, T), for a model such as `CLIP`.

    The loss is symmetric InfoNCE (Radford et al. 2021, section 2.3): each image looks for its text among those of the
    batch, and each text for its image. Texts with the same tokens belong to each other's images, and so do rows of one
    `match` (B,), ids that a batch may have. The other rows are what a pair is told from, so that the loss depends on
    the batch: a larger one makes it larger. Each microbatch, and under `mapping="pmap"` each device, has its own rows
    only, and the loss of an evaluation depends on its batch size and order. What `measure` gives depends on none of
    these, nor do the results of a `RetrievalReport`. The bootstrap interval of the loss is too low: the rows that a
    replicate leaves out are no candidates in it.

    With `prompts`, predictions are classes too: those whose captions an image is nearest to (section 3.1.2). The vector
    of a class is the mean of those of its captions (section 3.1.4). No example of a class is needed.

    Attributes:
      mean: Subtracted from the image after scaling to [0, 1]: one number, or one per channel.
      std: Divides the image after that: one number, or one per channel.
      largest_scale: The scale of the logits counts as this where the model's is larger; it no longer learns there.
      prompts: The captions of each class, and of each the token ids, as `jaxdl.data.sources.class_prompts` makes them.
    """

    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    largest_scale: float = 100.0
    prompts: tuple[tuple[tuple[int, ...], ...], ...] = ()

    def __post_init__(self) -> None:
        assert self._images is not None
        if self.largest_scale <= 0:
            raise ValueError(f"largest_scale must be positive, not {self.largest_scale}.")
        if len(self.prompts) == 1:
            raise ValueError("prompts must have the captions of two classes or more, or none.")
        for number, captions in enumerate(self.prompts):
            if not captions or not all(captions):
                raise ValueError(f"The class {number} in prompts has no caption, or one without a token: {captions}.")

    @property
    def num_classes(self) -> int:
        """C, 0 without prompts."""
        return len(self.prompts)

    @property
    def _images(self) -> Classification:
        return Classification(num_classes=max(2, self.num_classes), mean=self.mean, std=self.std)

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`image` (B, h, w, D) as normalized float32, `tokens` and `token_mask` (B, T)."""
        return self._images.inputs(batch) | {name: jnp.asarray(batch[name]) for name in ("tokens", "token_mask")}

    def score(self, outputs: PyTree, batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss of vectors `image` and `text` (B, E) and a `scale` (), and the measures."""
        if not isinstance(outputs, Mapping) or not {"image", "text", "scale"} <= set(outputs):
            raise ConfigError(
                "The model must give vectors 'image' and 'text' and a 'scale', as jaxdl.models.clip.CLIP does."
            )
        loss_B = info_nce(
            outputs["image"], outputs["text"], scale=self._scale(outputs), mask=batch["mask"], same=_same(batch)
        )
        return Mean.of(loss_B, batch["mask"]), self.measure(outputs, batch)

    def measure(self, outputs: PyTree, batch: Batch) -> dict[str, Metric]:
        """`similarity`, the mean cosine of an image and its own text, and the `scale` of the logits."""
        cosine_B = jnp.sum(outputs["image"] * outputs["text"], axis=-1)
        scale_B = jnp.broadcast_to(self._scale(outputs), cosine_B.shape)
        return {"similarity": Mean.of(cosine_B, batch["mask"]), "scale": Mean.of(scale_B, batch["mask"])}

    def predict(self, model: Any, variables: PyTree, batch: Batch) -> dict[str, jax.Array]:
        """Vectors `image` and, with `tokens`, `text` (B, E); with prompts, `logits` (B, C) of the classes.

        The images alone are enough where there are prompts. With both, the model needs `encode_text`, as `CLIP` has it.

        Raises:
          ConfigError: there are neither tokens nor prompts.
        """
        image = self._images.inputs(batch)["image"]
        texts = {name: jnp.asarray(batch[name]) for name in ("tokens", "token_mask") if name in batch}
        if not (texts or self.prompts):
            raise ConfigError("Images alone have no predictions: give the task `prompts`, the captions of the classes.")
        if not self.prompts:
            found = model.apply(variables, image=image, **texts, train=False)
            return {name: found[name] for name in ("image", "text")}
        found = model.apply(variables, image=image, **self._captions(), train=False)
        classes_CE = _means(found["text"], [len(captions) for captions in self.prompts])
        outputs = {"image": found["image"], "logits": self._scale(found) * (found["image"] @ classes_CE.T)}
        if texts:
            outputs["text"] = model.apply(variables, **texts, train=False, method="encode_text")
        return outputs

    def decode(self, outputs: PyTree) -> dict[str, jax.Array]:
        """Of what `predict` gives: `image` and `text` (B, E); `probabilities` (B, C) and `label` (B,) int32.

        Text and classes are there where `predict` had them.
        """
        decoded = {name: outputs[name] for name in ("image", "text") if name in outputs}
        return decoded | (self._images.decode(outputs["logits"]) if "logits" in outputs else {})

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every row without a token, with a float image outside [0, 1], or with a bad label.

        Labels are looked at where there are prompts.

        Raises:
          DataError: a key, type or shape that makes the whole batch unusable.
        """
        for name in ("image", "tokens", "token_mask"):
            if name not in batch:
                raise DataError(f"ImageText needs {name!r} in a batch; there is {', '.join(sorted(batch))}.")
        if batch["tokens"].ndim != 2 or batch["tokens"].dtype.kind not in "iu":
            what = f"{batch['tokens'].dtype} {batch['tokens'].shape}"
            raise DataError(f"tokens must be integers (B, T), not {what}.")
        labelled = self.prompts and "label" in batch
        label = batch["label"] if labelled else np.zeros(len(batch["tokens"]), np.int32)
        problems = dict(self._images.check({**batch, "label": label}))
        real = np.ones(len(label), bool) if "mask" not in batch else np.asarray(batch["mask"]) != 0
        for row in np.flatnonzero((np.asarray(batch["token_mask"]).sum(axis=1) == 0) & real):
            problems.setdefault(int(row), "there is no token in it")
        return sorted(problems.items())

    def _scale(self, outputs: PyTree) -> jax.Array:
        return jnp.minimum(jnp.asarray(outputs["scale"], jnp.float32), self.largest_scale)

    def _captions(self) -> dict[str, jax.Array]:
        """`tokens` and `token_mask` (P, T) of the captions of all classes, one class after the other."""
        rows = [ids for captions in self.prompts for ids in captions]
        lengths = np.asarray([len(ids) for ids in rows])
        width = lengths.max()
        tokens = np.asarray([(*ids, *(0,) * (width - len(ids))) for ids in rows], np.int32)
        mask = (np.arange(width) < lengths[:, None]).astype(np.float32)
        return {"tokens": jnp.asarray(tokens), "token_mask": jnp.asarray(mask)}


def _same(batch: Batch) -> jax.Array:
    """Which rows belong together (B, B)."""
    tokens_BT = jnp.where(jnp.asarray(batch["token_mask"]) != 0, jnp.asarray(batch["tokens"]), -1)
    same_BB = jnp.all(tokens_BT[:, None] == tokens_BT[None], axis=-1)
    if "match" not in batch:
        return same_BB
    match_B = jnp.asarray(batch["match"])
    return same_BB | (match_B[:, None] == match_B[None])


def _means(text_PE: jax.Array, counts: list[int]) -> jax.Array:
    """The mean of each class's captions, of length 1 (C, E)."""
    classes = np.repeat(np.arange(len(counts)), counts)
    # No division: the length is made 1 below.
    sums_CE = jax.ops.segment_sum(text_PE.astype(jnp.float32), classes, num_segments=len(counts))
    return sums_CE / jnp.linalg.norm(sums_CE, axis=-1, keepdims=True)
