"""What sources left out of their files, or cut, so that it is not overlooked."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jaxdl.train.experiment import Experiment


def left_out(experiment: Experiment) -> Iterator[str]:
    """A line for each part of the data whose readers skipped records: how many, and why; and what its sources note.

    A source of any kind may have `skipped`, counts by the reason, and `notes`, sentences about what did not fit.
    """
    parts = {"train": experiment.train, **{name: one.data for name, one in experiment.evals.items()}}
    for name, pipeline in parts.items():
        for skipped in _skipped(pipeline.source):
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(skipped.items()))
            yield f"{name}: {sum(skipped.values()):,} records were left out ({reasons})."
        for note in _notes(pipeline.source):
            yield f"{name}: {note}"


def _skipped(source: Any) -> Iterator[Mapping[str, int]]:
    """The counts of a source, or of the first below it that has any."""
    found = getattr(source, "skipped", None)
    if isinstance(found, Mapping) and found:
        yield found
    else:
        for below in _below(source):
            yield from _skipped(below)


def _notes(source: Any) -> Iterator[str]:
    """The notes of a source and of all below it."""
    found = getattr(source, "notes", None)
    if isinstance(found, tuple):
        yield from found
    for below in _below(source):
        yield from _notes(below)


def _below(source: Any) -> Iterator[Any]:
    """The sources and records that a source is made of."""
    if dataclasses.is_dataclass(source):
        fields = (getattr(source, field.name, None) for field in dataclasses.fields(source))
        yield from (value for value in fields if dataclasses.is_dataclass(value))
