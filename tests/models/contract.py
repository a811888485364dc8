"""What every model promises, whatever it is made of."""

import dataclasses
import functools
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import trees

NO_EXEMPTIONS: Mapping[str, str] = MappingProxyType({})


def check_contract(
    model: nn.Module,
    inputs: Mapping[str, Any],
    *,
    vocabulary: int | None = None,
    exempt: Mapping[str, str] = NO_EXEMPTIONS,
    random: bool | None = None,
    half: bool = True,
    half_tolerance: float = 0.05,
    batched: bool = True,
) -> tuple[Any, Any]:
    """Checks a model's promises; returns its variables and what it gives in evaluation.

    1. `init` and `apply` work under jit; parameters and outputs are float32 and finite, each output has a row per row
       of the inputs, and no submodule was named by Flax (`Dense_0`).
    2. Evaluation is deterministic and changes no statistic. Training changes every statistic, and differs from one
       dropout key to the next if and only if some rate is above zero.
    3. In training, the gradient of a random projection of the outputs reaches every parameter.
    4. In evaluation a row's output depends neither on the other rows nor on how many there are.
    5. `dtype="bfloat16"` keeps parameters and statistics float32 and gives outputs close to those of float32.
    6. jit traces training once: for other batches, and for the statistics that it made itself.

    The parameters are those of `init` with a little noise added, so that zeros (of heads, of residual scales) hide
    nothing.

    Args:
      model: Small.
      inputs: By keyword of the model's call, with the batch axis, at least two rows: arrays to use as they are
        (lengths, masks), or shapes to fill with random numbers: `(4, 16, 16, 3)` is float32, `((4, 7), "int32")` is
        of that type.
      vocabulary: Integers are drawn from 0 to below this.
      exempt: Reasons by pattern over parameter names: these get no gradient, and are found to get none.
      random: Whether training draws random numbers; by default, whether an attribute `*_rate` is above zero.
      half: Whether the model has a `dtype`.
      half_tolerance: How far bfloat16 may be from float32, as a share of the largest output.
      batched: Whether the outputs have one row per row of the inputs; False for models that mix rows, such as pairs
        in one loss; then promise 4 is not checked.
    """
    if random is None:
        random = any(getattr(model, f.name) for f in dataclasses.fields(model) if f.name.endswith("_rate"))
    draw = functools.partial(draw_inputs, inputs, vocabulary)
    variables = _check_init(model, draw(1))
    evaluate = jax.jit(lambda variables, inputs: _apply(model, variables, inputs, train=False))
    outputs = _check_evaluation(evaluate, variables, draw(1), batched)
    _check_training(model, variables, draw(1), draw(2), exempt, random)
    if batched:
        _check_rows(evaluate, variables, outputs, draw(1), draw(7))
    if half:
        _check_half(model, variables, outputs, draw(1), half_tolerance)
    return variables, outputs


def draw_inputs(inputs: Mapping[str, Any], vocabulary: int | None, seed: int) -> dict[str, jax.Array]:
    """Random inputs of the given shapes; given arrays have their rows turned by `seed - 1`."""
    drawn = {}
    for index, (name, given) in enumerate(sorted(inputs.items())):
        key = jax.random.fold_in(jax.random.key(seed), index)
        if hasattr(given, "shape") and not isinstance(given, jax.ShapeDtypeStruct):
            drawn[name] = jnp.roll(jnp.asarray(given), seed - 1, axis=0)
            continue
        shape, dtype = _shape(given)
        if jnp.issubdtype(dtype, jnp.integer):
            assert vocabulary is not None, f"{name} is of integers: say below what, with vocabulary=..."
            drawn[name] = jax.random.randint(key, shape, 0, vocabulary, dtype)
        else:
            drawn[name] = jax.random.uniform(key, shape, dtype)
    return drawn


def _shape(given: Any) -> tuple[tuple[int, ...], Any]:
    if isinstance(given, jax.ShapeDtypeStruct):
        return given.shape, given.dtype
    if given and isinstance(given[0], tuple):
        return given[0], jnp.dtype(given[1])
    return tuple(given), jnp.dtype("float32")


def _apply(model: nn.Module, variables: Any, inputs: Any, *, train: bool, seed: Any = None) -> tuple[Any, Any]:
    rngs = {} if seed is None else {"dropout": jax.random.key(seed)}
    mutable = [name for name in variables if name != "params"]
    return model.apply(variables, **inputs, train=train, rngs=rngs, mutable=mutable)


def _rows(inputs: Mapping[str, jax.Array]) -> int:
    return len(next(iter(inputs.values())))


def _floats(tree: Any) -> list[jax.Array]:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _check_init(model: nn.Module, inputs: Any) -> Any:
    variables = jax.jit(lambda key: model.init(key, **inputs, train=False))(jax.random.key(0))
    parts = {part for leaf in trees.names(variables) for part in leaf.split("/")}
    unnamed = sorted(part for part in parts if part[0].isupper())
    assert not unnamed, f"submodules without a name of their own: {unnamed}"
    assert {str(leaf.dtype) for leaf in _floats(variables)} == {"float32"}
    leaves, structure = jax.tree.flatten(variables["params"])
    keys = jax.random.split(jax.random.key(3), len(leaves))
    noisy = [leaf + 0.02 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys)]
    return {**variables, "params": jax.tree.unflatten(structure, noisy)}


def _check_evaluation(evaluate: Any, variables: Any, inputs: Any, batched: bool) -> Any:
    outputs, state = evaluate(variables, inputs)
    for name, leaf in trees.flatten(outputs).items():
        assert jnp.isfinite(leaf).all(), f"output {name} is not finite"
        if batched and leaf.ndim:
            assert len(leaf) == _rows(inputs), f"output {name} {leaf.shape} has not a row per row of the inputs"
    assert {str(leaf.dtype) for leaf in _floats(outputs)} == {"float32"}
    for name, leaf in trees.flatten(dict(state)).items():
        np.testing.assert_array_equal(leaf, trees.flatten(variables)[name], f"evaluation changed {name}")
    for first, again in zip(jax.tree.leaves(outputs), jax.tree.leaves(evaluate(variables, inputs)[0])):
        np.testing.assert_array_equal(first, again, "evaluation is not deterministic")
    return outputs


def _check_training(
    model: nn.Module, variables: Any, inputs: Any, others: Any, exempt: Mapping[str, str], random: bool
) -> None:
    params, rest = variables["params"], {name: value for name, value in variables.items() if name != "params"}
    traces = []

    @jax.jit
    def gradient(params: Any, rest: Any, inputs: Any, seed: Any) -> Any:
        traces.append(seed)

        def loss(params: Any) -> Any:
            outputs, state = _apply(model, {**rest, "params": params}, inputs, train=True, seed=seed)
            keys = jax.random.split(jax.random.key(5), len(_floats(outputs)))
            parts = [(x * jax.random.normal(key, x.shape)).sum() for x, key in zip(_floats(outputs), keys)]
            return sum(parts), (outputs, dict(state))

        grads, aux = jax.grad(loss, has_aux=True)(params)
        return grads, *aux

    grads, outputs, state = gradient(params, rest, inputs, 0)
    for name, leaf in trees.flatten(state).items():
        assert (leaf != trees.flatten(rest)[name]).any(), f"training did not change {name}"
    seeds = range(1, 17 if random else 3)
    again = [gradient(params, rest, inputs, seed)[1] for seed in seeds]
    differs = any((a != b).any() for other in again for a, b in zip(jax.tree.leaves(outputs), jax.tree.leaves(other)))
    assert differs == random, f"training {'depends' if differs else 'does not depend'} on the dropout key"
    _check_gradients(trees.flatten(grads), exempt)
    gradient(params, state, others, 1)
    assert len(traces) == 1, "jit traced training again for a batch of the same shape"


def _check_gradients(grads: Mapping[str, jax.Array], exempt: Mapping[str, str]) -> None:
    unused = [pattern for pattern in exempt if not any(re.fullmatch(pattern, name) for name in grads)]
    assert not unused, f"exemptions that match no parameter: {unused}"
    largest = max(float(jnp.abs(leaf).max()) for leaf in grads.values())
    for name, leaf in grads.items():
        assert jnp.isfinite(leaf).all(), f"the gradient of {name} is not finite"
        if any(re.fullmatch(pattern, name) for pattern in exempt):
            assert float(jnp.abs(leaf).max()) <= 1e-4 * largest, f"{name} is exempt but does get a gradient"
        else:
            assert (leaf != 0).any(), f"no gradient reaches {name}"


def _check_rows(evaluate: Any, variables: Any, outputs: Any, inputs: Any, others: Any) -> None:
    mixed = {name: others[name].at[:1].set(x[:1]) for name, x in inputs.items()}
    alone = {name: x[:1] for name, x in inputs.items()}
    for case, changed in (("what the other rows are", mixed), ("how many rows there are", alone)):
        for found, expected in zip(jax.tree.leaves(evaluate(variables, changed)[0]), jax.tree.leaves(outputs)):
            if expected.ndim:
                scale = max(1.0, float(jnp.abs(expected[0]).max()))
                np.testing.assert_allclose(
                    found[0], expected[0], rtol=0, atol=2e-5 * scale, err_msg=f"row 0 depends on {case}"
                )


def _check_half(model: nn.Module, variables: Any, single: Any, inputs: Any, tolerance: float) -> None:
    half = model.clone(dtype="bfloat16")
    made = jax.eval_shape(lambda key: half.init(key, **inputs, train=False), jax.random.key(0))
    types = {name: str(leaf.dtype) for name, leaf in trees.flatten(made).items()}
    changed = {name: dtype for name, dtype in types.items() if dtype != str(trees.flatten(variables)[name].dtype)}
    assert not changed, f"half precision changed the type of variables: {changed}"
    _, state = jax.eval_shape(lambda: _apply(half, variables, inputs, train=True, seed=0))
    assert {str(leaf.dtype) for leaf in _floats(state)} <= {"float32"}, "half precision changed the type of a statistic"
    halved = jax.jit(lambda variables: _apply(half, variables, inputs, train=False)[0])(variables)
    for found, expected in zip(_floats(halved), _floats(single)):
        assert str(found.dtype) in ("bfloat16", "float32")
        limit = tolerance * float(jnp.abs(expected).max()) + 0.02
        np.testing.assert_allclose(found.astype(jnp.float32), expected, rtol=0, atol=limit)
