"""Starting from weights that exist: what a config says of them, and the pure function that applies it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxdl import trees
from jaxdl.errors import CheckpointError, ConfigError
from jaxdl.interop import files
from jaxdl.interop.choices import Choices
from jaxdl.interop.convert import to_ours
from jaxdl.interop.families import family
from jaxdl.interop.layout import Array, Layout
from jaxdl.interop.report import Line, Report
from jaxdl.interop.resize import Method
from jaxdl.types import PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class InitFrom:
    """Weights to start from instead of random ones.

    Attributes:
      path: A run folder or an exported file of jaxdl, a folder of Hugging Face, or any file that
        `jaxdl.interop.files.read` reads.
      layout: Which of our tensors is which of theirs: the name of a family, such as "bert", or a public function that
        returns a layout. By default what jaxdl wrote has our names, and a folder of Hugging Face says its family.
      into: The part of our model to fill, such as "encoder"; "" for all of it. What lies outside is left as it is.
      map: `((regex, replacement), ...)`: names of the file are changed so before anything else; the first regex that
        matches a whole name counts.
      skip: Regexes over whole names of ours (below `into`) or of theirs that are not read: a head that is to be
        trained afresh.
      resize: Regexes, or `(regex, method)`, over whole names of ours that may have another size along one axis. The
        method is "grid" (bicubic, positions of image patches), "linear" (positions in a sequence) or "rows" (what both
        have is copied, such as the common words of two vocabularies); by default it follows from the name.
      entry: The key of the tensors in a PyTorch checkpoint that holds more.
    """

    path: str
    layout: str | Callable[[], Layout] | None = None
    into: str = ""
    map: tuple[tuple[str, str], ...] = ()
    skip: tuple[str, ...] = ()
    resize: tuple[str | tuple[str, Method], ...] = ()
    entry: str | None = None

    def __post_init__(self) -> None:
        if not self.path:
            raise ConfigError("init_from needs a path: a run folder, an exported file, or a folder of Hugging Face.")
        if isinstance(self.layout, str):
            family(self.layout)
        self.choices()

    def choices(self) -> Choices:
        """What may differ."""
        return Choices(map=self.map, skip=self.skip, resize=self.resize)


def apply(init: InitFrom, variables: PyTree, *, model: Any = None) -> tuple[PyTree, Report]:
    """Reads the weights into a tree of ours.

    Args:
      init: What to read, and into what.
      variables: `{"params": ..., "batch_stats": ...}`, of arrays or `jax.ShapeDtypeStruct`.
      model: The module, from whose class a family may know the head.

    Returns:
      The same tree with NumPy arrays for what was read; see `to_ours` for what was not, and `merged` to put both
      together. And the report.

    Raises:
      CheckpointError: the file cannot be read, or does not fit.
      ConfigError: a pattern matches nothing, or it is not clear what the file's names mean.
    """
    source = files.read(init.path, entry=init.entry)
    flat = trees.flatten(variables)
    inner = {below: name for name in flat if (below := _below(name, init.into)) is not None}
    if not inner:
        parts = sorted({"/".join(name.split("/")[1:2]) for name in flat})
        raise ConfigError(f"init_from.into is {init.into!r}, but the parts of the model are {', '.join(parts)}.")
    layout, tensors = reading(source, layout=init.layout, model=None if init.into else model)
    template = trees.nest({below: flat[name] for below, name in inner.items()})
    tree, report = to_ours(tensors, template, layout, choices=init.choices(), strict=False)
    report = _named_from_the_root(report, init.into, [name for name in flat if _below(name, init.into) is None])
    report.check(init.path)
    found = {inner[below]: leaf for below, leaf in trees.flatten(tree).items()}
    return trees.map_named(lambda name, leaf: found[name] if name in found else leaf, variables), report


def reading(
    source: files.Source, *, layout: str | Callable[[], Layout] | None = None, model: Any = None
) -> tuple[Layout | None, Mapping[str, Array]]:
    """The layout of what was found, None where its names are ours, and its tensors by their present names.

    Args:
      source: From `files.read`.
      layout: The name of a family, or a function that returns a layout; by default what the source says.
      model: The module, from whose class a family may know the head.

    Raises:
      CheckpointError: the source does not say what its names mean.
      ConfigError: its family is not known.
    """
    if callable(layout):
        return layout(), source.tensors
    if layout is None and source.ours:
        return None, source.tensors
    if layout is None and (source.config is None or "model_type" not in source.config):
        shown = ", ".join(list(source.tensors)[:5])
        raise CheckpointError(
            f"{source.path} does not say what its names mean ({shown}, ...): no config.json with a model_type lies "
            "beside it. Set a layout: the name of a family, or a function that returns a jaxdl.interop.Layout."
        )
    found = family(layout or (source.config or {})["model_type"])
    readers = {found.renamed(name): partial(source.tensors.__getitem__, name) for name in source.tensors}
    return found.layout(model), files.Tensors(readers)


def place(read: PyTree, template: PyTree) -> dict[str, Any]:
    """What was read, by name, on the devices and in the shardings of a tree of arrays or shapes with them.

    A table of which only the first rows are known stays a NumPy array. See `merged`.
    """
    leaves = trees.flatten(template)
    found = {name: leaf for name, leaf in trees.flatten(read).items() if not isinstance(leaf, jax.ShapeDtypeStruct)}

    def one(name: str, value: Any) -> Any:
        leaf = leaves[name]
        if value.shape != leaf.shape:
            return value
        return jax.make_array_from_callback(leaf.shape, leaf.sharding, lambda index: value[index])

    return {name: one(name, value) for name, value in found.items()}


def merged(fresh: PyTree, found: Mapping[str, Any]) -> PyTree:
    """A fresh tree of arrays with copies of what was found, as far as each reaches, in place of its leaves."""

    def one(name: str, leaf: Any) -> Any:
        if name not in found:
            return leaf
        return jnp.asarray(leaf).at[tuple(slice(size) for size in found[name].shape)].set(found[name])

    return trees.map_named(one, fresh)


def _below(name: str, into: str) -> str | None:
    """The name of a variable as seen from a part of the model, such as `params/kernel` for `params/encoder/kernel`."""
    collection, _, rest = name.partition("/")
    if not into:
        return name
    inside = f"{into.strip('/')}/"
    return f"{collection}/{rest.removeprefix(inside)}" if rest.startswith(inside) else None


def _named_from_the_root(report: Report, into: str, outside: Sequence[str]) -> Report:
    if not into:
        return report

    def whole(name: str) -> str:
        collection = "batch_stats/" if name.startswith("batch_stats/") else ""
        return f"{collection}{into.strip('/')}/{name.removeprefix(collection)}"

    lines = [dataclasses.replace(line, ours=tuple(map(whole, line.ours))) for line in report.lines]
    kept = [Line(word="kept", ours=(files.plain(name),), note=f"outside of {into}") for name in outside]
    return Report(lines=(*lines, *kept))
