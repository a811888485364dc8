"""What may differ between a file and the model it is read into, chosen by name."""

import dataclasses
import re
from collections.abc import Sequence

from jaxdl.errors import ConfigError
from jaxdl.interop.report import Shape
from jaxdl.interop.resize import METHODS, Method, guess

Renames = Sequence[tuple[str, str]]
Resizes = Sequence[str | tuple[str, Method]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """What may differ between a file and a model.

    Attributes:
      map: `((regex, replacement), ...)` over the names of the file: the first regex that matches a whole name renames
        it, groups as in `re.sub`. Parameters are named without their collection.
      skip: Regexes over whole names of ours or of theirs: what they match is not read and keeps its initialisation.
      resize: Regexes over whole names of ours that may have another size along one axis; or `(regex, method)` with a
        method of `jaxdl.interop.resize`. Without a method, names with "position" are interpolated, and of others the
        rows that both have are copied.
    """

    map: Renames = ()
    skip: Sequence[str] = ()
    resize: Resizes = ()

    def __post_init__(self) -> None:
        for pattern in [*(entry[0] for entry in self.map), *self.skip, *(entry[0] for entry in _methods(self.resize))]:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ConfigError(f"{pattern!r} is no regular expression: {error}.") from error
        for _, method in _methods(self.resize):
            if method is not None and method not in METHODS:
                raise ConfigError(f"A method to resize by must be one of {METHODS}, not {method!r}.")

    def renamed(self, name: str) -> str:
        """The name of a tensor of the file after `map`."""
        for pattern, replacement in self.map:
            if found := re.fullmatch(pattern, name):
                return found.expand(replacement)
        return name

    def skips(self, name: str) -> bool:
        """Whether a name of either side is to be left out."""
        return any(re.fullmatch(pattern, name) for pattern in self.skip)

    def method(self, name: str, old: Shape, new: Shape) -> Method | None:
        """How to resize a tensor of ours, where that is allowed."""
        for pattern, method in _methods(self.resize):
            if re.fullmatch(pattern, name):
                return guess(name, old, new) if method is None else method
        return None

    def check_used(self, ours: Sequence[str], theirs: Sequence[str], renamed: Sequence[str]) -> None:
        """Raises ConfigError for a pattern that matches nothing, which is most likely misspelt."""
        both = [*ours, *renamed]
        asked = [
            *(("map", pattern, theirs) for pattern, _ in self.map),
            *(("skip", pattern, both) for pattern in self.skip),
            *(("resize", pattern, ours) for pattern, _ in _methods(self.resize)),
        ]
        for what, pattern, known in asked:
            if not any(re.fullmatch(pattern, name) for name in known):
                shown = ", ".join(list(known)[:8]) + (", ..." if len(known) > 8 else "")
                raise ConfigError(f"The {what} pattern {pattern!r} matches no name. There are: {shown}.")


def _methods(resize: Resizes) -> list[tuple[str, Method | None]]:
    return [(entry, None) if isinstance(entry, str) else (entry[0], entry[1]) for entry in resize]
