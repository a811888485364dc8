"""A model layer by layer: classes, output shapes, parameters and FLOPs."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax

from jaxdl import trees
from jaxdl.inspection.flops import Path, count, loops
from jaxdl.inspection.table import table
from jaxdl.types import PyTree

Shapes = tuple[tuple[int, ...], ...]
_MARK = "@"  # Before the names of modules in the name stack, which holds other names too.
_LIFTED = ("Checkpoint", "Scan", "Vmap", "MapVariables", "Jit")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """One module of a model.

    Attributes:
      name: Where it is, such as `stage_0_block_0/conv_1`; empty for the model itself.
      kind: Its class.
      output: The shapes of what it gives, such as `((1, 8, 8, 64),)`; empty where it is never called as a function.
      parameters: Parameters, those of its parts included.
      flops: FLOPs, those of its parts included.
    """

    name: str
    kind: str
    output: Shapes
    parameters: int
    flops: int

    @property
    def depth(self) -> int:
        """0 for the model, 1 for its parts, and so on."""
        return self.name.count("/") + 1 if self.name else 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What a model is made of.

    Attributes:
      layers: The model and its parts, in the order of their first calls, each before its own parts.
      parameters: All parameters.
      trainable: Those that no frozen pattern matches.
      bytes: Of all parameters.
      flops: Of one forward pass over the inputs, as `flops` counts them.
      open_loops: Modules with a loop of unknown length, whose body counts once.
    """

    layers: tuple[Layer, ...]
    parameters: int
    trainable: int
    bytes: int
    flops: int
    open_loops: tuple[str, ...]

    def text(self, depth: int | None = None) -> str:
        """A table with the layers down to `depth`, and the totals below it."""
        shown = [layer for layer in self.layers if depth is None or layer.depth <= depth]
        rows = [
            (layer.name or "(model)", layer.kind, _shapes(layer.output), f"{layer.parameters:,}", f"{layer.flops:,}")
            for layer in shown
        ]
        layers = table(("layer", "class", "output", "parameters", "FLOPs"), rows, right=("parameters", "FLOPs"))
        return "\n".join([layers, "", *self._totals()])

    def __str__(self) -> str:
        return self.text()

    def _totals(self) -> list[str]:
        frozen = self.parameters - self.trainable
        open_loops = [f"{name or 'the model'}: a loop of unknown length, counted once" for name in self.open_loops]
        return [
            f"parameters  {self.parameters:,} ({self.trainable:,} trainable, {frozen:,} frozen), {self.bytes:,} bytes",
            f"FLOPs       {self.flops:,} in matrix products and convolutions, forward",
            *open_loops,
        ]


def summary(model: nn.Module, inputs: Mapping[str, Any], *, frozen: Sequence[str] = (), train: bool = False) -> Summary:
    """What a model is made of, and what a forward pass over `inputs` costs; nothing is computed.

    >>> from jaxdl.models import MLP
    >>> found = summary(MLP(num_classes=10, widths=(32,)), {"image": jax.ShapeDtypeStruct((1, 8, 8), "float32")})
    >>> [(layer.name, layer.parameters, layer.flops) for layer in found.layers]
    [('', 2410, 4736), ('hidden_0', 2080, 4096), ('dropout_0', 0, 0), ('head', 330, 640)]

    Args:
      model: A Linen module with `__call__(**inputs, train: bool)`.
      inputs: Arrays or their shapes, by keyword, with the batch axis.
      frozen: Regexes over the names of parameters that do not train; they may match nothing.
      train: Whether to look at the forward pass of training.
    """
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in inputs.items()}
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    variables = jax.eval_shape(partial(model.init, train=False), rngs, **shapes)
    mutable = [name for name in variables if name != "params"] if train else False
    calls: dict[str, tuple[str, Shapes]] = {}

    def forward(variables: PyTree, inputs: Mapping[str, Any]) -> Any:
        with nn.intercept_methods(_recorder(calls)):
            return model.apply(variables, **inputs, train=train, mutable=mutable, rngs=rngs)

    jaxpr = jax.make_jaxpr(forward)(variables, shapes).jaxpr
    flops: Counter[str] = Counter()
    for path, number in count(jaxpr).items():
        flops[_module(path)] += number
    params = trees.flatten(variables["params"]) if "params" in variables else {}
    trainable = sum(x.size for name, x in params.items() if not any(re.fullmatch(p, name) for p in frozen))
    sizes = {name: x.size for name, x in params.items()}
    return Summary(
        layers=tuple(
            Layer(name=name, kind=kind, output=output, parameters=_below(sizes, name), flops=_below(flops, name))
            for name, (kind, output) in calls.items()
        ),
        parameters=sum(sizes.values()),
        trainable=trainable,
        bytes=sum(x.size * x.dtype.itemsize for x in params.values()),
        flops=sum(flops.values()),
        open_loops=tuple(dict.fromkeys(_module(path) for path in loops(jaxpr))),
    )


def _recorder(calls: dict[str, tuple[str, Shapes]]) -> Callable[..., Any]:
    """An interceptor that writes down the class and output of each module, and marks what is computed in it."""
    foreign = 0

    def record(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal foreign
        name = "/".join(context.module.path)
        kind = _kind(context.module)
        # A second root is a model applied by hand inside the model.
        second = not name and name in calls and (context.method_name == "__call__" or kind != calls[name][0])
        if foreign or second:
            foreign += 1
            outputs = call(*args, **kwargs)
            foreign -= 1
            return outputs
        if name not in calls:
            calls[name] = (kind, ())
        with jax.named_scope(f"{_MARK}{name}"):
            outputs = call(*args, **kwargs)
        if context.method_name == "__call__" and not calls[name][1]:
            calls[name] = (kind, tuple(leaf.shape for leaf in jax.tree.leaves(outputs) if hasattr(leaf, "shape")))
        return outputs

    return record


def _kind(module: nn.Module) -> str:
    """The class, without what `nn.remat` and the like put before its name."""
    kind: Any = type(module)
    while kind.__name__.startswith(_LIFTED) and issubclass(kind.__base__, nn.Module):
        kind = kind.__base__
    return kind.__name__


def _module(path: Path) -> str:
    """The name of the innermost module of a path."""
    return next((name.removeprefix(_MARK) for name in reversed(path) if name.startswith(_MARK)), "")


def _below(numbers: Mapping[str, int], name: str) -> int:
    return sum(number for key, number in numbers.items() if not name or key == name or key.startswith(f"{name}/"))


def _shapes(output: Shapes) -> str:
    shown = [" x ".join(map(str, shape)) or "scalar" for shape in output[:3]]
    return ", ".join(shown) + (f" and {len(output) - 3} more" if len(output) > 3 else "")
