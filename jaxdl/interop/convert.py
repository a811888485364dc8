"""Pure conversions of named tensors into a tree of ours and back, with a report of every tensor."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop import pairing, patterns
from jaxdl.interop.choices import Choices
from jaxdl.interop.layout import COPY, Array, Ignored, Layout, Rule, Tied
from jaxdl.interop.report import Line, Report, Shape
from jaxdl.interop.resize import resized
from jaxdl.types import PyTree

PARAMS = "params/"
NONE = Choices()


def to_ours(
    tensors: Mapping[str, Array],
    template: PyTree,
    layout: Layout | None,
    *,
    choices: Choices = NONE,
    strict: bool = True,
    source: str = "The file",
) -> tuple[PyTree, Report]:
    """Reads tensors of theirs into a tree of ours.

    Args:
      tensors: By name; they are read one by one, so that a lazy mapping needs little memory.
      template: Variables such as `{"params": ..., "batch_stats": ...}`, of arrays or `jax.ShapeDtypeStruct`.
      layout: Which is which; None where the names of the tensors are ours already.
      choices: What may differ.
      strict: Whether to refuse what is unexplained; otherwise look at `report.unexplained`.
      source: What was read, for messages.

    Returns:
      The template with NumPy arrays, of its dtypes, in place of all that was read; and the report. What was not read
      is as in the template. A tensor of which only the first rows are known (`resize`) is filled up from the template
      where that is an array, and shorter where it is a shape.

    Raises:
      CheckpointError: tensors are missing, extra or of another shape, and nothing explains it.
      ConfigError: a pattern of `choices` matches nothing.
    """
    wanted = {_plain(name): leaf for name, leaf in trees.flatten(template).items()}
    origin = {choices.renamed(name): name for name in tensors}
    if len(origin) != len(tensors):
        raise ConfigError(f"Two tensors have the same name after the map {tuple(choices.map)}.")
    choices.check_used(list(wanted), list(tensors), list(origin))
    if layout is None:
        layout = tuple(Rule(name, name) for name in dict.fromkeys((*wanted, *origin)))
    layout = pairing.resolve(layout, pairing.detect_prefix(layout, origin))
    reader = _Reader(tensors, origin, wanted, choices)
    lines = [line for one in pairing.pair(layout, wanted, origin) for line in reader.read(one)]
    done = {name for line in lines for name in line.theirs}
    lines += [reader.unpaired(layout, name) for name in origin if name not in done]
    done = {name for line in lines for name in line.ours}
    lines += [reader.missing((name,), (), optional=False) for name in wanted if name not in done]
    report = Report(lines=tuple(lines))
    if strict:
        report.check(source)
    return trees.map_named(lambda name, leaf: reader.found.get(_plain(name), leaf), template), report


def to_theirs(
    variables: PyTree, layout: Layout, *, prefix: str | None = None, strict: bool = True, source: str = "The model"
) -> tuple[dict[str, Array], Report]:
    """Writes a tree of ours as tensors of theirs.

    Args:
      variables: Such as `{"params": ..., "batch_stats": ...}`, of arrays.
      layout: Which is which.
      prefix: What `{prefix}` stands for in the names of theirs; by default the layout's first option.
      strict: Whether to refuse what is unexplained.
      source: What was converted, for messages.

    Returns:
      Contiguous arrays by name, and the report.

    Raises:
      CheckpointError: the layout does not say what becomes of some tensor.
    """
    ours = {_plain(name): leaf for name, leaf in trees.flatten(variables).items()}
    layout = pairing.resolve(layout, pairing.prefixes(layout)[0] if prefix is None else prefix)
    written: dict[str, Array] = {}
    lines = []
    for one in pairing.pair(layout, ours, ()):
        there = tuple(name for name in one.ours if name in ours)
        shapes = tuple(ours[name].shape for name in there)
        if there != one.ours:
            lacking = ", ".join(name for name in one.ours if name not in ours)
            lines.append(Line(word="missing", ours=there, shapes=shapes, note=f"without {lacking}", explained=False))
            continue
        results = one.rule.how.to_theirs(tuple(np.asarray(ours[name]) for name in there))
        theirs = _names_for(one, len(results))
        written |= {name: np.asarray(result, order="C") for name, result in zip(theirs, results, strict=True)}
        lines.append(Line(word=one.rule.how.word, ours=there, theirs=theirs, shapes=shapes))
    done = {name for line in lines for name in line.ours}
    lines += [
        Line(word="missing", ours=(name,), shapes=(leaf.shape,), note="no rule knows it", explained=False)
        for name, leaf in ours.items()
        if name not in done
    ]
    report = Report(lines=(*lines, *_write_back(layout, written)))
    if strict:
        report.check(source, "Choose another layout, or add rules for these to it.")
    return written, report


def _write_back(layout: Layout, written: dict[str, Array]) -> list[Line]:
    """Adds what the layout ignores or ties, but writes."""
    lines = []
    for item in layout:
        beside = item.beside if isinstance(item, Ignored) else item.to if isinstance(item, Tied) else None
        if beside is None or (isinstance(item, Tied) and not item.write) or not isinstance(item, Ignored | Tied):
            continue
        for name in list(written):
            numbers = patterns.find(beside, name)
            if numbers is None:
                continue
            value = written[name] if isinstance(item, Tied) else item.write and item.write(written[name])
            if value is not None:
                theirs = patterns.fill(item.theirs, numbers)
                written[theirs] = np.asarray(value, order="C")
                note = f"repeats {name}" if isinstance(item, Tied) else item.reason
                lines.append(Line(word="written", theirs=(theirs,), shapes=(np.shape(value),), note=note))
    return lines


def _names_for(one: pairing.Pair, count: int) -> tuple[str, ...]:
    """The names of theirs, which for a stack depend on how many tensors came out."""
    names = pairing.several(one.rule.theirs)
    if len(one.theirs) == count:
        return one.theirs
    ours = pairing.several(one.rule.ours)
    numbers = next(
        found for name in one.ours for pattern in ours if (found := patterns.find(pattern, name)) is not None
    )
    free = {key: range(count // len(names)) for name in names for key in patterns.placeholders(name)}
    return tuple(name for pattern in names for name in pairing.spread(pattern, numbers, free))


class _Reader:
    """Applies pairs; `found` grows by the tensors of ours, by name."""

    def __init__(
        self, tensors: Mapping[str, Array], origin: Mapping[str, str], wanted: Mapping[str, Any], choices: Choices
    ) -> None:
        self._tensors, self._origin, self._wanted, self._choices = tensors, origin, wanted, choices
        self.found: dict[str, Array] = {}

    def read(self, one: pairing.Pair) -> list[Line]:
        """What becomes of a pair."""
        theirs = tuple(name for name in one.theirs if name in self._origin)
        ours = tuple(name for name in one.ours if name in self._wanted)
        kept = tuple(name for name in ours if not self._choices.skips(name))
        if not ours or not kept or any(self._choices.skips(name) for name in theirs):
            return [self._without(ours, theirs, one.rule.optional)]
        if theirs != one.theirs or not theirs:
            lacking = tuple(name for name in one.theirs if name not in self._origin)
            return [self.missing(ours, lacking, optional=one.rule.optional)] + [
                self._extra(name, "its rule lacks others") for name in theirs
            ]
        results = dict(zip(one.ours, self._results(one)))
        if len(results) != len(one.ours):
            return [self._line("misshapen", ours, theirs, f"the rule gives {len(results)} tensors", explained=False)]
        lines = [self._take(name, results[name], one) for name in kept]
        left = [name for name in one.ours if name not in kept]
        whole = Line(
            word=lines[0].word,
            ours=kept,
            theirs=theirs,
            shapes=tuple(self._wanted[name].shape for name in kept),
            note="; ".join(dict.fromkeys(line.note for line in lines if line.note)),
            explained=all(line.explained for line in lines),
        )
        skipped = [Line(word="skipped", ours=(name,), shapes=self._shapes((name,))) for name in left]
        return [*([whole] if len({line.word for line in lines}) == 1 else lines), *skipped]

    def unpaired(self, layout: Layout, name: str) -> Line:
        """What becomes of a tensor of theirs that no rule took."""
        for item in layout:
            if isinstance(item, Ignored | Tied) and (numbers := patterns.find(item.theirs, name)) is not None:
                if isinstance(item, Ignored):
                    return self._line("ignored", (), (name,), item.reason)
                return self._tied(name, patterns.fill(item.to, numbers))
        return self._extra(name, "no rule knows it")

    def missing(self, ours: tuple[str, ...], lacking: tuple[str, ...], *, optional: bool) -> Line:
        """Tensors of ours that the file does not give."""
        note = f"the file has no {', '.join(lacking)}" if lacking else "nothing in the file is this"
        if all(self._choices.skips(name) for name in ours):
            return self._line("skipped", ours, ())
        word = "initialised" if optional else "missing"
        return Line(word=word, ours=ours, shapes=self._shapes(ours), note=note, expected=lacking, explained=optional)

    def _results(self, one: pairing.Pair) -> tuple[Array, ...]:
        try:
            return one.rule.how.to_ours(tuple(np.asarray(self._tensors[self._origin[name]]) for name in one.theirs))
        except (ValueError, TypeError, IndexError):  # NumPy's, of a shape that the rule does not fit.
            return ()

    def _take(self, name: str, value: Array, one: pairing.Pair) -> Line:
        """Keeps a tensor where its shape fits, or can be made to."""
        leaf = self._wanted[name]
        word, notes = one.rule.how.word, []
        if value.shape != leaf.shape:
            method = self._choices.method(name, value.shape, leaf.shape)
            change = None if method is None else resized(value, leaf.shape, method)
            if change is None:
                note = f"the file has {value.shape}" + (" and it cannot be resized" if method else "")
                return self._line("misshapen", (name,), one.theirs, note, explained=False)
            value, note = change
            word = "resized" if one.rule.how is COPY else f"{word} and resized"
            notes.append(note)
        if value.dtype != leaf.dtype:
            notes.append(f"{value.dtype} to {leaf.dtype}")
        self.found[name] = _filled(value.astype(leaf.dtype, copy=False), leaf)
        return self._line(word, (name,), one.theirs, ", ".join(notes))

    def _tied(self, name: str, to: str) -> Line:
        if to not in self._origin:
            return self._extra(name, f"it should repeat {to}, which the file lacks")
        one, other = (np.asarray(self._tensors[self._origin[both]]) for both in (name, to))
        if np.array_equal(one, other):
            return self._line("tied", (), (name,), f"repeats {to}")
        return self._extra(name, f"it differs from {to}: this model was trained with untied weights")

    def _without(self, ours: tuple[str, ...], theirs: tuple[str, ...], optional: bool) -> Line:
        """A pair that nothing is read of."""
        if ours or any(self._choices.skips(name) for name in theirs):
            return self._line("skipped", ours, theirs)
        if optional:
            return self._line("left out", ours, theirs, "the model has no such part")
        return self._line("extra", ours, theirs, "the model has no such tensor", explained=False)

    def _extra(self, name: str, note: str) -> Line:
        if self._choices.skips(name):
            return self._line("skipped", (), (name,))
        return self._line("extra", (), (name,), note, explained=False)

    def _line(
        self, word: str, ours: tuple[str, ...], theirs: tuple[str, ...], note: str = "", *, explained: bool = True
    ) -> Line:
        shapes = self._shapes(ours) if ours else ()
        return Line(word=word, ours=ours, theirs=theirs, shapes=shapes, note=note, explained=explained)

    def _shapes(self, ours: tuple[str, ...]) -> tuple[Shape, ...]:
        return tuple(tuple(self._wanted[name].shape) for name in ours)


def _filled(value: Array, leaf: Any) -> Array:
    """The value, and beyond its rows those of the leaf where it has any."""
    if value.shape == leaf.shape or not hasattr(leaf, "__array__"):
        return value
    whole = np.array(leaf)
    whole[tuple(slice(size) for size in value.shape)] = value
    return whole


def _plain(name: str) -> str:
    return name.removeprefix(PARAMS)
