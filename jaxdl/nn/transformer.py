"""Transformer layers and stacks of them. Letters: B batch, T tokens, S tokens of the context, D features."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxdl.nn.attention import KeyValue
from jaxdl.nn.masks import both, segment_attention_mask, token_attention_mask
from jaxdl.nn.moe import Routing
from jaxdl.nn.pipeline import pipelined, stages
from jaxdl.nn.regularization import drop_examples


class LayerCache(flax.struct.PyTreeNode):
    """What a layer keeps between calls that decode one piece of a sequence after another.

    Attributes:
      tokens: Keys and values of the tokens so far.
      context: Keys and values of the context, in a layer with cross attention.
    """

    tokens: KeyValue
    context: KeyValue | None = None


class Cache(flax.struct.PyTreeNode):
    """What a decoder keeps between calls; a model takes one and gives one.

    Rows may be of unequal length: those that a prompt leaves over are padded behind, and the tokens that follow take
    the place of the padding. No query sees a key behind itself, hence none sees padding.

    Attributes:
      layers: One entry a layer.
      length: Tokens so far of each row, int32 (B,).
    """

    layers: tuple[LayerCache, ...]
    length: jax.Array

    @classmethod
    def zeros(
        cls, layers: int, batch: int, length: int, heads: int, head_dim: int, dtype: Any = jnp.float32
    ) -> "Cache":
        """An empty cache with room for `length` tokens a row."""
        make = KeyValue.zeros
        empty = tuple(LayerCache(make(batch, length, heads, head_dim, dtype)) for _ in range(layers))
        return cls(empty, jnp.zeros(batch, jnp.int32))

    @property
    def own(self) -> tuple[dict[str, Any], ...]:
        """The `own` of `Layers`: each layer's entry."""
        return tuple({"cache": entry} for entry in self.layers)

    @property
    def room(self) -> int:
        """How many tokens a row may hold."""
        return self.layers[0].tokens.key.shape[1]

    def positions(self, tokens_BT: jax.Array) -> jax.Array:
        """Positions (B, T) of tokens that follow those so far."""
        return self.length[:, None] + jnp.arange(tokens_BT.shape[1])[None]

    def after(self, layers: Sequence[LayerCache], token_mask_BT: jax.Array | None, count: int) -> "Cache":
        """The cache with `count` more tokens in each row, or as many as its mask has."""
        added = count if token_mask_BT is None else jnp.sum(token_mask_BT != 0, axis=1, dtype=jnp.int32)
        return Cache(tuple(layers), self.length + added)


def decoder_places(
    tokens_BT: jax.Array,
    *,
    token_mask: jax.Array | None = None,
    positions: jax.Array | None = None,
    segments: jax.Array | None = None,
    cache: Cache | None = None,
) -> tuple[jax.Array, jax.Array | None]:
    """Positions (B, T) or (1, T) of a decoder's tokens, and what hides keys from them beside causality.

    Without a cache the positions are those given, or the places in the row, and padding and other documents are hidden.
    With one the tokens follow those that it holds, and nothing is hidden: padding is behind them and overwritten.

    Raises:
      ValueError: positions or segments are given with a cache, or the tokens are more than it has room for.
    """
    count = tokens_BT.shape[1]
    if cache is None:
        places = jnp.arange(count)[None] if positions is None else positions
        return places, both(token_attention_mask(token_mask), segment_attention_mask(segments))
    if positions is not None or segments is not None:
        raise ValueError("A cache says the positions, and holds one document a row: give no positions and no segments.")
    if count > cache.room:
        raise ValueError(f"{count} tokens are more than the cache has room for: {cache.room}.")
    return cache.positions(tokens_BT), None


class TransformerLayer(nn.Module):
    """Self-attention, attention to a context where there is one, and a feed-forward layer, each on a residual branch.

    Parameters are those of `attention`, `cross_attention` and `feedforward` and of the normalization of each
    (`attention_norm`, ...), which is before the branch ("pre"; Xiong et al. 2020) or after the sum ("post"; Vaswani et
    al. 2017). Dropout and stochastic depth act on what a branch gives. Fields that make a module take its `name`.

    Attributes:
      attention: Makes the self-attention, such as `partial(Attention, ...)`.
      feedforward: Makes the feed-forward layer, such as `partial(FeedForward, ...)`.
      norm: Makes a normalization, such as `partial(nn.LayerNorm, ...)`.
      cross_attention: Makes the attention to the context, or None.
      routed: Whether `feedforward` makes a `MixtureOfExperts`. Its parameters are then those of `experts`, and a call
        without a cache gives its `Routing`.
      order: Where the normalization is.
      dropout_rate: Probability that a feature of a branch is dropped in training.
      scale_init: Initial value of a learned factor on each branch (Touvron et al. 2021), or None for no such factor.
    """

    attention: Callable[..., nn.Module]
    feedforward: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    cross_attention: Callable[..., nn.Module] | None = None
    routed: bool = False
    order: Literal["pre", "post"] = "pre"
    dropout_rate: float = 0.0
    scale_init: float | None = None

    @nn.compact
    def __call__(
        self,
        x_BTD: jax.Array,
        *,
        mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        positions_BT: jax.Array | None = None,
        token_mask_BT: jax.Array | None = None,
        context_BSD: jax.Array | None = None,
        context_mask: jax.Array | None = None,
        cache: LayerCache | None = None,
        drop_rate: jax.Array | float = 0.0,
        train: bool,
    ) -> tuple[jax.Array, LayerCache | Routing | None]:
        """Maps (B, T, D) to (B, T, D), and the cache to itself with these tokens; `drop_rate` is stochastic depth's.

        `token_mask_BT`, 0 for padding, is for experts, which leave padding out.
        """
        tokens = context = routing = None

        def attention(x: jax.Array) -> jax.Array:
            nonlocal tokens
            y, tokens = self.attention(name="attention", parent=self)(
                x,
                mask=mask,
                bias=bias,
                positions_BT=positions_BT,
                cache=None if cache is None else cache.tokens,
                train=train,
            )
            return y

        def cross_attention(x: jax.Array) -> jax.Array:
            nonlocal context
            assert self.cross_attention is not None
            kept = None if cache is None else cache.context
            y, context = self.cross_attention(name="cross_attention", parent=self)(
                x, context_BSD=context_BSD, mask=context_mask, cache=kept, train=train
            )
            return y

        def feedforward(x: jax.Array) -> jax.Array:
            nonlocal routing
            if not self.routed:
                return self.feedforward(name="feedforward", parent=self)(x, train=train)
            y, routing = self.feedforward(name="experts", parent=self)(x, token_mask=token_mask_BT, train=train)
            return y

        x_BTD = self._add(x_BTD, attention, "attention", drop_rate, train)
        if self.cross_attention is not None:
            x_BTD = self._add(x_BTD, cross_attention, "cross_attention", drop_rate, train)
        x_BTD = self._add(x_BTD, feedforward, "feedforward", drop_rate, train)
        return x_BTD, routing if cache is None or tokens is None else LayerCache(tokens, context)

    def _add(
        self,
        x_BTD: jax.Array,
        branch: Callable[[jax.Array], jax.Array],
        name: str,
        drop_rate: jax.Array | float,
        train: bool,
    ) -> jax.Array:
        norm = self.norm(name=f"{name}_norm", parent=self)
        y = branch(norm(x_BTD) if self.order == "pre" else x_BTD)
        if self.scale_init is not None:
            scale_D = self.param(f"{name}_scale", nn.initializers.constant(self.scale_init), y.shape[-1:], jnp.float32)
            y = y * scale_D.astype(y.dtype)[None, None]
        y = nn.Dropout(self.dropout_rate, deterministic=not train, name=f"{name}_dropout", parent=self)(y)
        if train and not (isinstance(drop_rate, float) and drop_rate == 0):
            y = drop_examples(self.make_rng("dropout"), y, drop_rate)
        return x_BTD + y if self.order == "pre" else norm(x_BTD + y)


class Layers(nn.Module):
    """A stack of equal layers `block_0`, `block_1`, ..., each a function of the one before.

    Scanned, the layers run as one loop whose body is traced and compiled once. Their parameters keep their names and
    shapes and are stacked inside the call, which costs one more copy of them while it runs: a checkpoint, a sharding
    rule or a pretrained weight fits either way. Of 24 small layers on CPU the initialisation compiles in half the time,
    the gradient in the same time (the stacking has a gradient too), and a step takes some 1.4 times as long.
    Convolutions run slowly in a loop on CPU, and layers with running statistics cannot be scanned.

    On a mesh with an axis `stage` the layers are a pipeline (see `jaxdl.nn.pipeline`), except where they keep a cache.
    Between steps their parameters are split over that axis like others; in a step each goes to the stage of its layer.

    Attributes:
      make: Makes a layer `(x, **shared, **own) -> (x, out)`; takes its `name` (and `parent`).
      count: Number of layers.
      scan: Whether to run them as a loop.
      remat: Whether to recompute each layer in the backward pass instead of keeping its activations.
    """

    make: Callable[..., nn.Module]
    count: int
    scan: bool = False
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, own: Sequence[dict[str, Any]] = (), **shared: Any) -> tuple[jax.Array, tuple]:
        """Runs the layers on `x`, the i-th with the keywords `own[i]`; gives the result and each layer's `out`."""
        own = own or ({},) * self.count
        staged = stages() > 1 and not self.is_initializing() and not any("cache" in entry for entry in own)
        if (self.scan or staged) and self.count > 1:
            return self._scanned(x, own, shared, staged)

        def call(layer: nn.Module, x: jax.Array, own: dict[str, Any]) -> tuple[jax.Array, Any]:
            return layer(x, **own, **shared)

        run = nn.remat(call) if self.remat else call
        outs = []
        for index in range(self.count):
            x, out = run(self.make(name=f"block_{index}", parent=self), x, own[index])
            outs.append(out)
        return x, tuple(outs)

    def _scanned(
        self, x: jax.Array, own: Sequence[dict[str, Any]], shared: dict[str, Any], staged: bool
    ) -> tuple[jax.Array, tuple]:
        layer = self.make(name=None, parent=None)
        names = [f"block_{index}" for index in range(self.count)]
        if self.is_initializing():
            keys = jax.random.split(self.make_rng("params"), self.count)
            made = jax.vmap(lambda key: layer.init({"params": key, "dropout": key}, x, **own[0], **shared))(keys)
            _check_scannable(made)
            for index, name in enumerate(names if "params" in made else ()):
                self.put_variable("params", name, jax.tree.map(lambda leaf, i=index: leaf[i], made["params"]))
        _check_scannable([kind for kind, variables in self.variables.items() if names[0] in variables])
        params: list[Any] = [self.get_variable("params", name, {}) for name in names]
        rngs = jax.random.split(self.make_rng("dropout"), self.count) if self.has_rng("dropout") else None

        arrays: dict[str, Any] = {name: value for name, value in shared.items() if isinstance(value, jax.Array)}
        plain: dict[str, Any] = {name: value for name, value in shared.items() if name not in arrays}

        def body(each: Any, x: jax.Array, shared: dict[str, Any], part: jax.Array | int) -> tuple[jax.Array, Any]:
            params, key, own = each
            keys = {} if key is None else {"dropout": jax.random.fold_in(key, part) if staged else key}
            return layer.apply({"params": params}, x, **own, **shared, **plain, rngs=keys)

        run = jax.checkpoint(body, prevent_cse=False) if self.remat else body
        each = (_stack(params), rngs, _stack(own))
        if staged:
            x, outs = pipelined(run, each, x, arrays)
        else:
            x, outs = jax.lax.scan(lambda x, each: run(each, x, arrays, 0), x, each)
        return x, tuple(jax.tree.map(lambda leaf, i=index: leaf[i], outs) for index in range(self.count))


def rising(rate: float, count: int) -> tuple[dict[str, float], ...]:
    """The `own` of layers whose stochastic depth rises from 0 to `rate` (Huang et al. 2016, equation 4).

    >>> rising(0.2, 3)
    ({'drop_rate': 0.0}, {'drop_rate': 0.1}, {'drop_rate': 0.2})
    """
    return tuple({"drop_rate": rate * index / max(count - 1, 1)} for index in range(count)) if rate else ()


def _check_scannable(collections: Iterable[str]) -> None:
    if others := sorted(set(collections) - {"params"}):
        raise ValueError(f"Layers with {others} cannot be scanned: set scan=False.")


def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
