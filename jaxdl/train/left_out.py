"""What sources left out of their files, so that it is not overlooked."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jaxdl.train.experiment import Experiment


def left_out(experiment: Experiment) -> Iterator[str]:
    """A line for each part of the data whose readers skipped records: how many, and why."""
    parts = {"train": experiment.train, **{name: one.data for name, one in experiment.evals.items()}}
    for name, pipeline in parts.items():
        for skipped in _skipped(pipeline.source):
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in sorted(skipped.items()))
            yield f"{name}: {sum(skipped.values()):,} records were left out ({reasons})."


def _skipped(source: Any) -> Iterator[Mapping[str, int]]:
    """The counts of a source, or of the first below it that has any."""
    found = getattr(source, "skipped", None)
    if isinstance(found, Mapping) and found:
        yield found
    elif dataclasses.is_dataclass(source):
        for field in dataclasses.fields(source):
            below = getattr(source, field.name, None)
            if dataclasses.is_dataclass(below):
                yield from _skipped(below)
