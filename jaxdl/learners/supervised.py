"""Supervised learning: minimise a task's loss over a model's parameters."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxdl import rng
from jaxdl.errors import ConfigError
from jaxdl.learners.learner import Learner, TrainState
from jaxdl.learners.precision import Precision, cast
from jaxdl.learners.statistics import evaluating, frozen_layers, keep
from jaxdl.metrics import Mean, add
from jaxdl.optim import groups
from jaxdl.types import Array, Batch, Key, Metrics, PyTree

Remat = Literal["none", "full", "dots"]
_REMAT_POLICIES: Mapping[str, Callable[..., Any] | None] = {
    "full": None,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


class Task(Protocol):
    """What a model's outputs mean: a frozen dataclass.

    A task whose predictions are no plain outputs of the model, such as what a beam search finds, also has
    `predict(model, variables, batch) -> outputs`, which is then the learner's; evaluation measures the plain outputs.
    """

    def inputs(self, batch: Batch) -> Mapping[str, Array]:
        """What the model sees, by keyword."""
        ...

    def score(self, outputs: PyTree, batch: Batch) -> tuple[Mean, Metrics]:
        """The loss, and what is cheap enough to measure at every step."""
        ...

    def measure(self, outputs: PyTree, batch: Batch) -> Metrics:
        """What an evaluation measures, beside the loss."""
        ...


def supervised(
    model: nn.Module,
    task: Task,
    optimizer: optax.GradientTransformation,
    *,
    frozen: Sequence[str] = (),
    frozen_statistics: bool = True,
    microbatches: int = 1,
    precision: Precision = Precision(),  # noqa: B008  (frozen)
    remat: Remat = "none",
    axis_name: str | None = None,
) -> Learner:
    """Minimises `task`'s loss over `model`'s parameters with `optimizer`.

    Gradients are taken of the *sum* of the losses and divided once by the summed weight, so the result
    does not depend on how the batch was split into microbatches or over devices, nor on where its padding
    fell. (BatchNorm is the exception that it always is: its statistics are of one microbatch.)

    Args:
      model: A Linen module with `__call__(**task.inputs(batch), train: bool)`.
      task: What the outputs mean.
      optimizer: Any Optax transformation.
      frozen: Regexes over parameter names; no gradient and no optimizer state is made for what they match.
      frozen_statistics: Whether a layer with running statistics, such as batch normalization, runs as in evaluation
        while all its parameters are frozen: it uses its statistics and does not change them. Dropout stays on.
      microbatches: The number of parts that a batch is split into, their gradients added; divides the batch.
      precision: The dtypes of parameters, computation and outputs.
      remat: What the backward pass computes again rather than keeps: nothing; all; all but matrix products.
      axis_name: The mapped axis to sum gradients over when the step runs under `pmap` or `shard_map`.
    """
    if microbatches < 1:
        raise ConfigError(f"microbatches must be at least 1, not {microbatches}.")
    optimizer = optax.with_extra_args_support(optimizer)
    apply = _apply(model, task, precision, frozen if frozen_statistics else ())
    forward = apply if remat == "none" else jax.checkpoint(apply, policy=_REMAT_POLICIES[remat], static_argnums=(3,))
    gradients = _gradients(forward, task, frozen, microbatches)

    def init(key: Key, batch: Batch) -> TrainState:
        _check_call(model, task.inputs(batch))
        variables = dict(
            model.init({"params": rng.stream(key, "params")}, train=False, **dict[str, Any](task.inputs(batch)))
        )
        params = cast(variables.pop("params"), precision.params)
        trainable, _ = groups.partition(params, frozen)
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            key=rng.stream(key, "train"),
            params=params,
            model_state=variables,
            opt_state=optimizer.init(trainable),
        )

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        key = rng.distinct(rng.stream(state.key, "dropout", state.step), axis_name)
        grads, model_state, metrics = gradients(state, key, batch)
        if axis_name is not None:
            grads, metrics = jax.lax.psum((grads, metrics), axis_name)
            model_state = jax.lax.pmean(model_state, axis_name)
        weight = metrics["loss"].weight
        grads = jax.tree.map(lambda g: (g / jnp.where(weight == 0, 1, weight)).astype(g.dtype), grads)

        trainable, rest = groups.partition(state.params, frozen)
        updates, opt_state = optimizer.update(grads, state.opt_state, trainable, value=metrics["loss"].compute())
        params = groups.merge(optax.apply_updates(trainable, updates), rest)
        state = state.replace(step=state.step + 1, params=params, model_state=model_state, opt_state=opt_state)
        return state, {**metrics, "grad_norm": Mean.of(optax.tree.norm(grads))}

    def outputs_of(state: TrainState, batch: Batch) -> PyTree:
        return apply({"params": state.params, **state.model_state}, batch, None, False)[0]

    def evaluate(state: TrainState, batch: Batch) -> Metrics:
        outputs = outputs_of(state, batch)
        loss, _ = task.score(outputs, batch)
        metrics = {"loss": loss, **task.measure(outputs, batch)}
        return metrics if axis_name is None else jax.lax.psum(metrics, axis_name)

    return Learner(init, step, evaluate, _predicting(model, task, precision, outputs_of))


def _predicting(
    model: nn.Module, task: Any, precision: Precision, outputs_of: Callable[[TrainState, Batch], PyTree]
) -> Callable[[TrainState, Batch], PyTree]:
    """The task's own way to predict, where it has one, under the precision policy."""
    if not hasattr(task, "predict"):
        return outputs_of

    def predict(state: TrainState, batch: Batch) -> PyTree:
        variables = {"params": cast(state.params, precision.compute), **state.model_state}
        return cast(task.predict(model, variables, batch), precision.output)

    return predict


def _apply(
    model: nn.Module, task: Task, precision: Precision, frozen: Sequence[str]
) -> Callable[..., tuple[PyTree, PyTree]]:
    """The model under a precision policy: `(variables, batch, key, train) -> (outputs, model_state)`."""

    def apply(variables: PyTree, batch: Batch, key: Key | None, train: bool) -> tuple[PyTree, PyTree]:
        state = {name: value for name, value in variables.items() if name != "params"}
        inputs = cast(dict(task.inputs(batch)), precision.compute)
        still = frozen_layers(variables["params"], state, frozen) if train else frozenset()
        with evaluating(still):
            outputs, new_state = model.apply(
                {"params": cast(variables["params"], precision.compute), **state},
                **inputs,
                train=train,
                mutable=list(state) if train else [],
                rngs={} if key is None else {"dropout": key},
            )
        new_state = jax.tree.map(lambda new, old: new.astype(old.dtype), dict(new_state), state) if train else state
        return cast(outputs, precision.output), keep(new_state, state, still)

    return apply


def _check_call(model: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Raises ConfigError where a model does not take what the task gives it."""
    known = inspect.signature(type(model).__call__).parameters
    words = {*inputs, "train"}
    if not words <= set(known) and not any(p.kind is p.VAR_KEYWORD for p in known.values()):
        taken = ", ".join(name for name in known if name != "self")
        raise ConfigError(
            f"{type(model).__name__}.__call__ takes ({taken}), but the task calls it with {', '.join(sorted(words))}, "
            f"as in `def __call__(self, {', '.join(inputs)}, *, train: bool)`."
        )


def _gradients(
    forward: Callable[..., tuple[PyTree, PyTree]], task: Task, frozen: Sequence[str], microbatches: int
) -> Callable[[TrainState, Key, Batch], tuple[PyTree, PyTree, Metrics]]:
    """The gradient of the summed loss over the trainable parameters, the new model state, and the metrics."""

    def gradients(state: TrainState, key: Key, batch: Batch) -> tuple[PyTree, PyTree, Metrics]:
        trainable, rest = groups.partition(state.params, frozen)

        def loss_sum(trainable: PyTree, model_state: PyTree, key: Key, part: Batch) -> tuple[Array, Any]:
            params = groups.merge(trainable, rest)
            outputs, model_state = forward({"params": params, **model_state}, part, key, True)
            loss, metrics = task.score(outputs, part)
            return loss.total, (model_state, {"loss": loss, **metrics})

        part = partial(jax.grad(loss_sum, has_aux=True), trainable)
        if microbatches == 1:
            grads, (model_state, metrics) = part(state.model_state, key, batch)
            return grads, model_state, metrics
        return _accumulate(part, state.model_state, jax.random.split(key, microbatches), _split(batch, microbatches))

    return gradients


def _accumulate(
    part: Callable[..., Any], model_state: PyTree, keys: Key, batches: Batch
) -> tuple[PyTree, PyTree, Metrics]:
    """Adds gradients and metrics over the leading axis of `keys` and `batches`."""
    first = jax.tree.map(lambda x: x[0], (keys, batches))
    grads, (_, metrics) = jax.eval_shape(part, model_state, *first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (grads, metrics))

    def body(carry: Any, xs: Any) -> tuple[Any, None]:
        sums, model_state = carry
        grads, (model_state, metrics) = part(model_state, *xs)
        return (add(sums, (grads, metrics)), model_state), None

    # A convolution inside a loop runs on one thread on CPU, some 13 times slower: there the loop is unrolled.
    unroll = jax.default_backend() == "cpu"
    ((grads, metrics), model_state), _ = jax.lax.scan(body, (zeros, model_state), (keys, batches), unroll=unroll)
    return grads, model_state, metrics


def _split(batch: Batch, parts: int) -> Batch:
    """Splits arrays (B, ...) into (parts, B / parts, ...) by stride, so that rows stay on their device."""
    size = len(next(iter(batch.values())))
    if size % parts:
        raise ConfigError(f"A batch of {size} cannot be split into {parts} microbatches: choose a divisor of {size}.")
    return {name: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1) for name, x in batch.items()}
