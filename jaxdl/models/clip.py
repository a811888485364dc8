"""CLIP. Letters: B batch, T tokens, D features, E features of the shared space, V vocabulary."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.models.vit import ViT
from jaxdl.nn import Attention, Dense, FeedForward, Layers, TransformerLayer, activation, token_attention_mask

INIT = initializers.normal(0.02)


class ClipText(nn.Module):
    """The text tower of CLIP: a causal Transformer whose state at the end of the text stands for it.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 2.4. The
    defaults are those beside ViT-B/32 and ViT-B/16.

    Attributes:
      vocab_size: V.
      max_length: Longest input, in tokens.
      features: D.
      num_layers: Number of layers.
      num_heads: Attention heads of a layer.
      hidden: Hidden features of the feed-forward layers.
      activation: Name in `jaxdl.nn.activation`, or a function.
      end_token: Id that ends a text, its first occurrence where there are several; None for the highest id of each
        text, as in the published code.
      norm_epsilon: Added to the variance by the normalizations.
      dropout_rate: Probability that a feature of a branch is dropped in training.
      attention_dropout_rate: Probability that an attention weight is dropped in training.
      scan: Run the layers as one loop, compiled once.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int = 49_408
    max_length: int = 77
    features: int = 512
    num_layers: int = 12
    num_heads: int = 8
    hidden: int = 2048
    activation: str = "quick_gelu"
    end_token: int | None = None
    norm_epsilon: float = 1e-5
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide features={self.features}.")
        activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: jax.Array, *, token_mask: jax.Array | None = None, train: bool) -> dict[str, jax.Array]:
        """Gives "hidden" (B, T, D) of tokens (B, T), and "pooled" (B, D) at the end of each text."""
        if tokens.shape[1] > self.max_length:
            raise ValueError(f"{tokens.shape[1]} tokens are more than max_length={self.max_length}.")
        embed = partial(nn.Embed, features=self.features, dtype=self.dtype)
        norm = partial(nn.LayerNorm, epsilon=self.norm_epsilon, dtype=self.dtype)
        x_BTD = embed(self.vocab_size, embedding_init=INIT, name="token_embedding")(tokens)
        position = embed(self.max_length, embedding_init=initializers.normal(0.01), name="position_embedding")
        x_BTD = x_BTD + position(jnp.arange(tokens.shape[1])[None])
        layers = Layers(self._layer(norm), self.num_layers, scan=self.scan, remat=self.remat, name="layers")
        x_BTD, _ = layers(x_BTD, mask=token_attention_mask(token_mask), train=train)
        hidden_BTD = norm(name="final_norm")(x_BTD)
        ends_BT = tokens if self.end_token is None else tokens == self.end_token
        last_B = jnp.argmax(ends_BT, axis=1)
        return {"hidden": hidden_BTD, "pooled": jnp.take_along_axis(hidden_BTD, last_B[:, None, None], axis=1)[:, 0]}

    def _layer(self, norm: partial) -> partial:
        options: dict[str, Any] = {"dtype": self.dtype, "kernel_init": initializers.normal(self.features**-0.5)}
        attention = partial(
            Attention,
            self.features,
            self.num_heads,
            causal=True,
            dropout_rate=self.attention_dropout_rate,
            **options,
        )
        feedforward = partial(FeedForward, self.features, self.hidden, activation=self.activation, **options)
        return partial(TransformerLayer, attention, feedforward, norm, dropout_rate=self.dropout_rate)


class CLIP(nn.Module):
    """An image and a text tower whose vectors agree where image and text belong together.

    Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision". ViT-B/32 has
    151,277,313 parameters: `CLIP(image_encoder=clip_vit(patch_size=32), text_encoder=ClipText())`.

    Attributes:
      image_encoder: Gives features (B, D) of an image, such as a `ViT` with `num_classes=None`.
      text_encoder: Gives "pooled" (B, D) of tokens, such as a `ClipText`, or a `Bert` with a pooler.
      features: E.
      temperature: Its initial value; the logits are the products of the vectors over it.
      dtype: Type of the computation in the projections; the towers have their own.
    """

    image_encoder: nn.Module
    text_encoder: nn.Module
    features: int = 512
    temperature: float = 0.07
    dtype: str | None = None

    def setup(self) -> None:
        """Makes the projections."""
        project = partial(Dense, self.features, use_bias=False, dtype=self.dtype)
        self.image_projection, self.text_projection = project(kernel_init=INIT), project(kernel_init=INIT)
        self.log_scale = self.param("log_scale", initializers.constant(-math.log(self.temperature)), (), jnp.float32)

    def __call__(
        self, image: jax.Array, tokens: jax.Array, *, token_mask: jax.Array | None = None, train: bool
    ) -> dict[str, jax.Array]:
        """Gives vectors of length 1 "image" (B, E) and "text" (B, E), float32, and "scale" (), 1 / temperature.

        The logits of a batch are `scale * image @ text.T`. There may be more or fewer texts than images. In training
        the paper keeps the scale below 100.
        """
        return {
            "image": self.encode_image(image, train=train),
            "text": self.encode_text(tokens, token_mask=token_mask, train=train),
            "scale": jnp.exp(self.log_scale),
        }

    def encode_image(self, image: jax.Array, *, train: bool) -> jax.Array:
        """Maps `image` (B, h, w, channels) to vectors (B, E)."""
        return _unit(self.image_projection(self.image_encoder(image, train=train)))

    def encode_text(self, tokens: jax.Array, *, token_mask: jax.Array | None = None, train: bool) -> jax.Array:
        """Maps `tokens` (B, T) to vectors (B, E)."""
        outputs = self.text_encoder(tokens, token_mask=token_mask, train=train)
        return _unit(self.text_projection(outputs["pooled"]))


def clip_vit(
    *,
    patch_size: int = 32,
    features: int = 768,
    num_layers: int = 12,
    num_heads: int = 12,
    hidden: int = 3072,
    activation: str = "quick_gelu",
    norm_epsilon: float = 1e-5,
    dropout_rate: float = 0.0,
    attention_dropout_rate: float = 0.0,
    scan: bool = False,
    remat: bool = False,
    dtype: str | None = None,
) -> ViT:
    """The image tower of CLIP: a `ViT` that normalizes its embeddings and whose patches have no bias.

    Arguments as in `ViT`. The defaults are those of ViT-B/32.
    """
    return ViT(
        num_classes=None,
        patch_size=patch_size,
        features=features,
        num_layers=num_layers,
        num_heads=num_heads,
        hidden=hidden,
        activation=activation,
        patch_bias=False,
        embedding_norm=True,
        norm_epsilon=norm_epsilon,
        dropout_rate=dropout_rate,
        attention_dropout_rate=attention_dropout_rate,
        scan=scan,
        remat=remat,
        dtype=dtype,
    )


def _unit(x_BE: jax.Array) -> jax.Array:
    x_BE = x_BE.astype(jnp.float32)
    return x_BE * jax.lax.rsqrt(jnp.sum(x_BE**2, axis=-1, keepdims=True))
