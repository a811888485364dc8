"""Floating-point operations of a function, counted from its jaxpr: nothing is computed or compiled."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

Path = tuple[str, ...]


def flops(fn: Callable[..., Any], *args: Any) -> int:
    """The floating-point operations of the matrix products and convolutions of `fn(*args)`.

    A multiplication and an addition count as two; whatever is done element by element counts as nothing. Every
    position of a convolution's kernel counts, also where it lies on padding, as published numbers have it; zeros
    between the elements of a dilated input do not. What compilers remove or recompute is not seen, but
    rematerialisation is. The body of a loop whose length is not known before it runs counts once (`open_loops`); of
    the branches of a conditional the costliest counts, hence also of code that differs by platform.

    >>> flops(lambda x, y: x @ y, jax.ShapeDtypeStruct((2, 3), float), jax.ShapeDtypeStruct((3, 5), float))
    60

    Args:
      fn: Any function that JAX can trace, a gradient or a training step too.
      *args: Its arguments: arrays, or their shapes.
    """
    return sum(flops_by_layer(fn, *args).values())


def flops_by_layer(fn: Callable[..., Any], *args: Any) -> dict[str, int]:
    """`flops` by the module that they are made in, such as `ResNet/stage_0_block_0/conv_1`, in the order of the code.

    The names are those of Flax modules (the class of the outermost, then the names of its parts) and of
    `jax.named_scope`. What is made outside all of them is under the empty name. A name holds its own operations only,
    not those of its parts.
    """
    return {"/".join(path): number for path, number in count(jax.make_jaxpr(fn)(*args).jaxpr).items()}


def open_loops(fn: Callable[..., Any], *args: Any) -> tuple[str, ...]:
    """The modules with a loop of unknown length that makes products, whose body counts once."""
    paths = loops(jax.make_jaxpr(fn)(*args).jaxpr)
    return tuple(dict.fromkeys("/".join(path) for path in paths))


def count(jaxpr: Jaxpr) -> dict[Path, int]:
    """The FLOPs of a traced function by the names around them, the outermost first."""
    return dict(_walk(jaxpr, ()))


def loops(jaxpr: Jaxpr) -> tuple[Path, ...]:
    """The names around each loop of unknown length that makes products."""
    return tuple(_open_loops(jaxpr, ()))


def _walk(jaxpr: Jaxpr, outer: Path) -> "Counter[Path]":
    total: Counter[Path] = Counter()
    for equation in jaxpr.eqns:
        path = _path(equation, outer)
        rule = _RULES.get(equation.primitive.name)
        if rule is not None:
            total[path] += rule(equation)
        elif equation.primitive.name == "cond":
            branches = [_walk(branch.jaxpr, path) for branch in equation.params["branches"]]
            total.update(max(branches, key=lambda branch: sum(branch.values())))
        else:
            times = _times(equation)
            for inner in _inner(equation):
                for name, number in _walk(inner, path).items():
                    total[name] += times * number
    return total


def _open_loops(jaxpr: Jaxpr, outer: Path) -> Iterator[Path]:
    for equation in jaxpr.eqns:
        path = _path(equation, outer)
        for inner in _inner(equation):
            if equation.primitive.name == "while" and any(_walk(inner, path).values()):
                yield path
            yield from _open_loops(inner, path)


def _inner(equation: JaxprEqn) -> Iterator[Jaxpr]:
    """The jaxprs that an equation runs."""
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr):
                yield part.jaxpr
            elif isinstance(part, Jaxpr):
                yield part


def _times(equation: JaxprEqn) -> int:
    """How often an equation runs what is inside it."""
    params = equation.params
    match equation.primitive.name:
        case "scan":
            return params["length"]
        case "shard_map":
            axes = next(value for key, value in params.items() if key.endswith("manual_axes"))  # By JAX's version.
            return math.prod(params["mesh"].shape[axis] for axis in axes)
        case "xla_pmap":
            return params["axis_size"]
        case "pallas_call":
            return math.prod(size for size in params["grid_mapping"].grid if isinstance(size, int))
    return 1


def _path(equation: JaxprEqn, outer: Path) -> Path:
    """The names of the modules around an equation, the outermost first."""
    path: list[str] = []
    run: list[str] = []
    for part in (*equation.source_info.name_stack.stack, None):
        if part is not None and type(part).__name__ == "Scope":
            run.append(part.name)
            continue
        # A transformation such as `jvp`. The names behind it begin again where rematerialisation repeats them.
        path = run if run[: len(path)] == path else path + run
        run = []
    return (*outer, *_modules(path))


def _modules(scopes: list[str]) -> Iterator[str]:
    """Flax names a call `block`, and that of another method `block.method`, which is still the same module."""
    previous, method = "", False
    for scope in scopes:
        name, dot, _ = scope.partition(".")
        if not (name == previous and (dot or method)):
            yield name
        previous, method = name, bool(dot)


def _dot_general(equation: JaxprEqn) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = _shape(equation.invars[0])
    return 2 * math.prod(_shape(equation.outvars[0])) * math.prod(left[axis] for axis in contracted)


def _ragged_dot(equation: JaxprEqn) -> int:
    """Rows in groups, each with a matrix of its own, or, where the rows are contracted, each making one."""
    numbers = equation.params["ragged_dot_dimension_numbers"]
    (contracted, _), _ = numbers.dot_dimension_numbers
    left, out = _shape(equation.invars[0]), _shape(equation.outvars[0])
    groups = out[0] if numbers.lhs_ragged_dimensions[0] in contracted else 1
    return 2 * math.prod(out) // groups * math.prod(left[axis] for axis in contracted)


def _convolution(equation: JaxprEqn) -> int:
    kernel = _shape(equation.invars[1])
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    per_output = math.prod(kernel) // features  # Positions of the kernel times input channels of a group.
    zeros = math.prod(equation.params["lhs_dilation"])
    return 2 * math.prod(_shape(equation.outvars[0])) * per_output // zeros


def _fused_attention(equation: JaxprEqn) -> int:
    """Two products of queries (B, T, H, K) and keys (B, S, G, K)."""
    query, key = map(_shape, equation.invars[:2])
    return 2 * 2 * math.prod(query) * key[1]


def _fused_attention_gradient(equation: JaxprEqn) -> int:
    """The products of three gradients, of that of the weights, and of the weights once more."""
    return 5 * _fused_attention(equation) // 2


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


_RULES: Mapping[str, Callable[[JaxprEqn], int]] = {
    "dot_general": _dot_general,
    "ragged_dot_general": _ragged_dot,
    "conv_general_dilated": _convolution,
    "dot_product_attention_fwd_wrapper": _fused_attention,
    "dot_product_attention_bwd_wrapper": _fused_attention_gradient,
}
