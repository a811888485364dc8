"""Activation functions by name."""

import difflib
from collections.abc import Callable
from types import MappingProxyType

import jax


def gelu_exact(x: jax.Array) -> jax.Array:
    """The Gaussian error linear unit by the error function itself (Hendrycks and Gimpel 2016), not its tanh form."""
    return jax.nn.gelu(x, approximate=False)


def quick_gelu(x: jax.Array) -> jax.Array:
    """The product of x and the sigmoid of 1.702 x (Hendrycks and Gimpel 2016): CLIP's form of `gelu_exact`."""
    return x * jax.nn.sigmoid(1.702 * x)


Activation = Callable[[jax.Array], jax.Array]
"""An elementwise function, or one over the last axis such as softmax."""

NAMED = MappingProxyType(
    {
        fn.__name__: fn
        for fn in (
            jax.nn.celu,
            jax.nn.elu,
            jax.nn.gelu,
            jax.nn.glu,
            jax.nn.hard_sigmoid,
            jax.nn.hard_silu,
            jax.nn.hard_tanh,
            jax.nn.identity,
            jax.nn.leaky_relu,
            jax.nn.log_sigmoid,
            jax.nn.log_softmax,
            jax.nn.mish,
            jax.nn.relu,
            jax.nn.relu6,
            jax.nn.selu,
            jax.nn.sigmoid,
            jax.nn.silu,
            jax.nn.soft_sign,
            jax.nn.softmax,
            jax.nn.softplus,
            jax.nn.sparse_plus,
            jax.nn.sparse_sigmoid,
            jax.nn.squareplus,
            gelu_exact,
            quick_gelu,
        )
    }
    | {"hard_swish": jax.nn.hard_swish, "swish": jax.nn.swish, "tanh": jax.numpy.tanh}
)
"""Every activation that a config may name. `gelu` is the tanh approximation, as in `jax.nn`; `gelu_exact` is not."""


def activation(name_or_fn: str | Activation) -> Activation:
    """The activation of a name; a function is returned as it is.

    >>> activation("relu")(-2.0).item()
    0.0

    Raises:
      ValueError: no activation has this name.
    """
    if callable(name_or_fn):
        return name_or_fn
    if name_or_fn in NAMED:
        return NAMED[name_or_fn]
    near = difflib.get_close_matches(str(name_or_fn), NAMED, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"Unknown activation {name_or_fn!r}.{hint} Choose one of {', '.join(sorted(NAMED))}, or a function."
    )
