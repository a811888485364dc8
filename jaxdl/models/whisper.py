"""Whisper. Letters: B batch, S frames of the context, T tokens, D features, V vocabulary."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.nn import initializers

from jaxdl.nn import (
    Attention,
    Cache,
    FeedForward,
    Layers,
    TransformerLayer,
    sinusoids,
    tied_logits,
    token_attention_mask,
)
from jaxdl.nn.convolution_1d import Conv1D

INIT = initializers.normal(0.02)


class Whisper(nn.Module):
    """A Transformer that writes what is said in 30 seconds of audio.

    Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision". Sizes (layers of each side, D,
    heads) and parameters: tiny (4, 384, 6; the defaults) 37,760,640; base (6, 512, 8) 72,593,920; small (12, 768, 12)
    241,734,912; medium (24, 1024, 16) 763,857,920; large (32, 1280, 20) 1,543,304,960, and large-v3, with
    `num_mels=128` and `vocab_size=51_866`, 1,543,490,560. They count the encoder's positions, which are fixed sinusoids
    that no gradient reaches, kept as a parameter because published weights hold them rounded.

    Attributes:
      vocab_size: V; 51,864 where only English is known.
      num_mels: Mel bands of the input.
      max_frames: Longest input after the convolutions, which halve its length.
      max_length: Longest output, in tokens.
      features: D.
      num_layers: Layers of the encoder.
      num_decoder_layers: Layers of the decoder; None for as many.
      num_heads: Attention heads of a layer.
      hidden: Hidden features of the feed-forward layers; None for 4 D.
      activation: Name in `jaxdl.nn.activation`, of the feed-forward layers.
      dropout_rate: Probability that a feature of an embedding or branch is dropped in training.
      attention_dropout_rate: Probability that an attention weight is dropped in training.
      scan: Run the layers as one loop, compiled once; not with a cache.
      remat: Recompute each layer in the backward pass instead of keeping its activations.
      dtype: Type of the computation, such as "bfloat16"; None promotes the types of input and parameters.
    """

    vocab_size: int = 51_865
    num_mels: int = 80
    max_frames: int = 1500
    max_length: int = 448
    features: int = 384
    num_layers: int = 4
    num_decoder_layers: int | None = None
    num_heads: int = 6
    hidden: int | None = None
    activation: str = "gelu_exact"
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    scan: bool = False
    remat: bool = False
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads} does not divide features={self.features}.")
        super().__post_init__()

    def setup(self) -> None:
        """Makes the two sides."""
        options: dict[str, Any] = {"dtype": self.dtype, "kernel_init": INIT}
        attention = partial(
            Attention,
            self.features,
            self.num_heads,
            key_bias=False,
            dropout_rate=self.attention_dropout_rate,
            **options,
        )
        hidden = self.hidden or 4 * self.features
        norm = partial(nn.LayerNorm, epsilon=1e-5, dtype=self.dtype)
        layer = partial(
            TransformerLayer,
            feedforward=partial(FeedForward, self.features, hidden, activation=self.activation, **options),
            norm=norm,
            dropout_rate=self.dropout_rate,
        )
        self.encoder = WhisperEncoder(
            layers=partial(Layers, partial(layer, attention), self.num_layers, scan=self.scan, remat=self.remat),
            features=self.features,
            max_frames=self.max_frames,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
        )
        crossing = partial(layer, partial(attention, causal=True), cross_attention=partial(attention, cross=True))
        self.decoder = WhisperDecoder(
            layers=partial(Layers, crossing, self._decoder_layers, remat=self.remat),
            scan=self.scan,
            vocab_size=self.vocab_size,
            features=self.features,
            max_length=self.max_length,
            dropout_rate=self.dropout_rate,
            dtype=self.dtype,
        )

    def __call__(
        self, features: jax.Array, targets: jax.Array, *, target_mask: jax.Array | None = None, train: bool
    ) -> jax.Array:
        """Gives the logits (B, T, V) of the token after each target.

        Args:
          features: Log-mel spectra, (B, frames, num_mels). All frames are seen: shorter audio is padded with silence.
          targets: Ids of the tokens so far, int (B, T).
          target_mask: (B, T), 1 for a token and 0 for padding; None where there is none.
          train: Whether to drop features.
        """
        return self.decode(targets, self.encode(features, train=train), target_mask=target_mask, train=train)

    def encode(self, features: jax.Array, *, train: bool = False) -> jax.Array:
        """Maps log-mel spectra (B, frames, num_mels) to the context (B, ceil(frames / 2), D)."""
        if features.ndim != 3 or features.shape[-1] != self.num_mels:
            raise ValueError(f"Whisper needs log-mel spectra (B, frames, {self.num_mels}), not {features.shape}.")
        return self.encoder(features, train=train)

    def decode(
        self,
        targets: jax.Array,
        context: jax.Array | None = None,
        *,
        target_mask: jax.Array | None = None,
        cache: Cache | None = None,
        train: bool = False,
    ) -> Any:
        """Gives logits (B, T, V), and with a cache also the cache after these tokens.

        Args:
          targets: Ids, int (B, T).
          context: (B, S, D) of `encode`; with a cache, in the first call only.
          target_mask: (B, T), 1 for a token and 0 for padding, which with a cache is behind the tokens.
          cache: Of `empty_cache`, or of the call before.
          train: Whether to drop features.
        """
        return self.decoder(targets, context, target_mask=target_mask, cache=cache, train=train)

    def empty_cache(self, batch_size: int, length: int) -> Cache:
        """A cache with room for `length` tokens a row."""
        width = self.features // self.num_heads
        return Cache.zeros(self._decoder_layers, batch_size, length, self.num_heads, width, self.dtype or jnp.float32)

    @property
    def _decoder_layers(self) -> int:
        return self.num_layers if self.num_decoder_layers is None else self.num_decoder_layers


class WhisperEncoder(nn.Module):
    """Two convolutions, fixed positions and layers that see everything.

    Attributes:
      layers: Makes the layers.
      features: D.
      max_frames: Longest result.
      dropout_rate: Probability that a feature of the embeddings is dropped in training.
      dtype: Type of the computation.
    """

    layers: Any
    features: int
    max_frames: int
    dropout_rate: float
    dtype: str | None

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> jax.Array:
        """Maps log-mel spectra (B, frames, bands) to (B, ceil(frames / 2), D)."""
        conv = partial(Conv1D, self.features, 3, dtype=self.dtype, kernel_init=INIT)
        x_BSD = nn.gelu(conv(name="conv_0")(features), approximate=False)
        x_BSD = nn.gelu(conv(stride=2, name="conv_1")(x_BSD), approximate=False)
        if x_BSD.shape[1] > self.max_frames:
            raise ValueError(f"{x_BSD.shape[1]} frames after the convolutions are more than {self.max_frames}.")
        table = self.param("position_embedding", _positions, (self.max_frames, self.features), jnp.float32)
        places_SD = jax.lax.stop_gradient(table[: x_BSD.shape[1]])
        x_BSD = x_BSD + places_SD.astype(x_BSD.dtype)[None]
        x_BSD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(x_BSD)
        x_BSD, _ = self.layers(name="layers")(x_BSD, train=train)
        return nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="final_norm")(x_BSD)


class WhisperDecoder(nn.Module):
    """Token and position embeddings, layers that see the tokens before and the context, and the same embeddings again.

    Attributes:
      layers: Makes the layers.
      scan: Whether to run them as one loop where there is no cache.
      vocab_size: V.
      features: D.
      max_length: Longest input.
      dropout_rate: Probability that a feature of the embeddings is dropped in training.
      dtype: Type of the computation.
    """

    layers: Any
    scan: bool
    vocab_size: int
    features: int
    max_length: int
    dropout_rate: float
    dtype: str | None

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        context_BSD: jax.Array | None,
        *,
        target_mask: jax.Array | None,
        cache: Cache | None,
        train: bool,
    ) -> Any:
        """Gives logits (B, T, V), and the cache where there is one."""
        count = tokens.shape[1]
        if count > self.max_length:
            raise ValueError(f"{count} tokens are more than max_length={self.max_length}.")
        embed = partial(nn.Embed, features=self.features, dtype=self.dtype, embedding_init=INIT)
        token_embedding = embed(self.vocab_size, name="token_embedding")
        positions = jnp.arange(count)[None] if cache is None else cache.positions(tokens)
        x_BTD = token_embedding(tokens) + embed(self.max_length, name="position_embedding")(positions)
        x_BTD = nn.Dropout(self.dropout_rate, deterministic=not train, name="dropout")(x_BTD)
        own = () if cache is None else tuple({"cache": entry} for entry in cache.layers)
        x_BTD, entries = self.layers(scan=self.scan and cache is None, name="layers")(
            x_BTD,
            own=own,
            mask=token_attention_mask(target_mask) if cache is None else None,
            positions_BT=positions,
            context_BSD=context_BSD,
            train=train,
        )
        x_BTD = nn.LayerNorm(epsilon=1e-5, dtype=self.dtype, name="final_norm")(x_BTD)
        logits = tied_logits(token_embedding, x_BTD)
        return logits if cache is None else (logits, cache.after(entries, target_mask, count))


def _positions(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jnp.asarray(sinusoids(*shape, interleaved=False), dtype)
