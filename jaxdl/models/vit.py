"""Vision Transformers. Letters: B batch, T tokens, D features, C classes."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import Attention, Dense, FeedForward, Layers, TransformerLayer, activation, rising
from jaxdl.nn.patches import PatchEmbedding, grid_sinusoids

INIT = initializers.truncated_normal(0.02)
"""How DeiT begins (Touvron et al. 2021, published code): normal with deviation 0.02."""


class ViT(nn.Module):
    """A Transformer encoder over the patches of an image.

    Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale". With 1,000
    classes, images of 224 pixels and patches of 16, base (the defaults) has 86,567,656 parameters, large
    (`num_layers=24, features=1024, num_heads=16, hidden=4096`) 304,326,632. With `distilled` it is the DeiT of Touvron
    et al. 2021, "Training data-efficient image transformers & distillation through attention": 87,338,192 at base size.

    The table of positions has as many rows as the image at initialization has patches.

    Attributes:
      num_classes: C, or None for the pooled features (B, D).
      patch_size: Height and width of a patch, in pixels.
      features: D.
      num_layers: Number of layers.
      num_heads: Attention heads of a layer.
      hidden: Hidden features of the feed-forward layers.
      activation: Name in `jaxdl.nn.activation`, or a function.
      pooling: "first" adds a class token to the patches and classifies by it; "mean" has none and takes the mean of the
        patches (Beyer et al. 2022, "Better plain ViT baselines for ImageNet-1k").
      positions: "learned" embeddings, or fixed "sinusoidal" ones of row and column; extra tokens then have none.
      distilled: Whether a distillation token with a head of its own follows the class token.
      qkv_bias: Whether queries, keys and values have a bias.
      patch_bias: Whether the patch embedding has a bias.
      embedding_norm: Whether the embeddings are normalized before the first layer, as in CLIP.
      norm_epsilon: Added to the variance by the normalizations.
      dropout_rate: Probability that a feature of an embedding or branch is dropped in training.
      attention_dropout_rate: Probability that an attention weight is dropped in training.
      stochastic_depth_rate: Probability that the last layer's branches are dropped in training; it rises from 0.
      scale_init: Initial value of a learned factor on each branch (Touvron et al. 2021, "Going deeper with Image
        Transformers"), or None for no such factor.
      scan: Run the layers as one loop, compiled once.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    num_classes: int | None
    patch_size: int = 16
    features: int = 768
    num_layers: int = 12
    num_heads: int = 12
    hidden: int = 3072
    activation: str = "gelu_exact"
    pooling: Literal["first", "mean"] = "first"
    positions: Literal["learned", "sinusoidal"] = "learned"
    distilled: bool = False
    qkv_bias: bool = True
    patch_bias: bool = True
    embedding_norm: bool = False
    norm_epsilon: float = 1e-6
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    stochastic_depth_rate: float = 0.0
    scale_init: float | None = None
    scan: bool = False
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide features={self.features}.")
        if self.pooling not in ("first", "mean"):
            raise ValueError(f"pooling must be 'first' or 'mean', not {self.pooling!r}.")
        if self.positions not in ("learned", "sinusoidal"):
            raise ValueError(f"positions must be 'learned' or 'sinusoidal', not {self.positions!r}.")
        if self.distilled and self.pooling != "first":
            raise ValueError(f"A distilled model has a class token: pooling must be 'first', not {self.pooling!r}.")
        activation(self.activation)
        super().__post_init__()

    def __call__(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels), float, to logits (B, C), of the two heads the mean."""
        outputs = self.heads(image, train=train)
        return outputs[0] if len(outputs) == 1 else (outputs[0] + outputs[1]) / 2

    @nn.compact
    def heads(self, image: jax.Array, *, train: bool) -> tuple[jax.Array, ...]:
        """Logits (B, C) of the class head and, if distilled, of the distillation head.

        Training by distillation has a loss for each: `model.apply(variables, image, train=True, method="heads")`.
        """
        norm = partial(nn.LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        x_BTD = self._embed(image)
        if self.embedding_norm:
            x_BTD = norm(name="embedding_norm")(x_BTD)
        x_BTD = nn.Dropout(self.dropout_rate, deterministic=not train, name="embedding_dropout")(x_BTD)
        layers = Layers(self._layer(norm), self.num_layers, scan=self.scan, remat=self.remat, name="layers")
        x_BTD, _ = layers(x_BTD, own=rising(self.stochastic_depth_rate, self.num_layers), train=train)
        final_norm = norm(name="final_norm")
        if self.pooling == "mean":
            pooled = [jnp.mean(final_norm(x_BTD), axis=1)]
        else:
            # Only the tokens that a head looks at need normalizing.
            x_BTD = final_norm(x_BTD[:, : 1 + self.distilled])
            pooled = [x_BTD[:, index] for index in range(1 + self.distilled)]
        if self.num_classes is None:
            return tuple(pooled)
        head = partial(Dense, self.num_classes, dtype=self.dtype, kernel_init=INIT)
        return tuple(head(name=name)(x_BD) for name, x_BD in zip(("head", "distillation_head"), pooled))

    def _embed(self, image: jax.Array) -> jax.Array:
        """The patches behind the extra tokens, with their positions: (B, T, D)."""
        embedding = PatchEmbedding(
            self.features,
            self.patch_size,
            use_bias=self.patch_bias,
            dtype=self.dtype,
            kernel_init=INIT,
            name="patch_embedding",
            parent=self,
        )
        x_BTD = embedding(image)
        names = ["class_token"][: self.pooling == "first"] + ["distillation_token"][: self.distilled]
        extra = [self.param(name, INIT, (self.features,), jnp.float32).astype(x_BTD.dtype) for name in names]
        if extra:
            first_BTD = jnp.broadcast_to(jnp.stack(extra)[None], (len(image), len(extra), self.features))
            x_BTD = jnp.concatenate((first_BTD, x_BTD), axis=1)
        if self.positions == "learned":
            table_TD = self.param("position_embedding", INIT, x_BTD.shape[1:], jnp.float32)
        else:
            grid = grid_sinusoids(image.shape[1] // self.patch_size, image.shape[2] // self.patch_size, self.features)
            table_TD = jnp.pad(jnp.asarray(grid), ((len(extra), 0), (0, 0)))
        return x_BTD + table_TD.astype(x_BTD.dtype)[None]

    def _layer(self, norm: partial) -> partial:
        options: dict[str, Any] = {"dtype": self.dtype, "kernel_init": INIT}
        attention = partial(
            Attention,
            self.features,
            self.num_heads,
            use_bias=self.qkv_bias,
            out_bias=True,
            dropout_rate=self.attention_dropout_rate,
            **options,
        )
        feedforward = partial(FeedForward, self.features, self.hidden, activation=self.activation, **options)
        return partial(
            TransformerLayer,
            attention,
            feedforward,
            norm,
            dropout_rate=self.dropout_rate,
            scale_init=self.scale_init,
        )
