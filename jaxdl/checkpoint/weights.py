"""What a run folder holds of its model: parameters and state, of the best step or another, averaged or not."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxdl.checkpoint.manager import Checkpoints
from jaxdl.checkpoint.restore import restore_part
from jaxdl.checkpoint.rotation import BestOf
from jaxdl.errors import CheckpointError
from jaxdl.types import PyTree

_FORMAT = 1
_NEEDED = r"(extras/average/)?(params|model_state)/.*"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    """The parameters of a run.

    Attributes:
      params: Parameters, averaged where training averaged them.
      model_state: Running statistics; empty where the model has none.
      step: The training step that they are of.
      facts: What training noted in `run.json`: labels, the shape of an example, what was kept as best.
    """

    params: PyTree
    model_state: PyTree
    step: int
    facts: Mapping[str, Any]


def read_weights(path: Path, step: str | int | None = None) -> Weights:
    """Reads the weights of the run folder `path`, without optimizer state.

    Args:
      path: The run folder.
      step: `"best"`, `"last"` or a step; by default the best where the run kept a best, otherwise the last.

    Raises:
      CheckpointError: it is no run folder, has no such step, or is corrupt.
    """
    try:
        facts = run_facts(path, (path / "run.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is no run folder: {error}.") from error
    found = restore_part(path / "checkpoints", _NEEDED, step=_choose(path, step, facts))
    state = found.state
    if facts["averaged"]:
        state = state["extras"]["average"] if "extras" in state else {}
    if "params" not in state:
        kind = "averaged parameters" if facts["averaged"] else "parameters"
        raise CheckpointError(f"Step {found.step} in {path} has no {kind}, which its run.json says it has.")
    return Weights(
        params=state["params"],
        model_state=state["model_state"] if "model_state" in state else {},
        step=found.step,
        facts=facts,
    )


def run_facts(path: Path, text: str) -> Mapping[str, Any]:
    """The facts of a run out of the text of its `run.json`; `path` is for errors.

    Raises:
      CheckpointError: another version wrote them, or some are missing or of the wrong kind.
      ValueError: the text is not JSON.
    """
    try:
        facts = json.loads(text)
    except RecursionError as error:
        raise CheckpointError(f"What {path} says of its run is nested too deeply.") from error
    if not isinstance(facts, dict) or "format" not in facts or facts["format"] != _FORMAT:
        raise CheckpointError(f"{path} was not written by a version of jaxdl that this one can read.")
    if missing := sorted({"labels", "example", "averaged", "best", "mode"} - facts.keys()):
        raise CheckpointError(f"What {path} says of its run lacks {', '.join(missing)}.")
    if wrong := [name for name, is_right in _KINDS.items() if not is_right(facts[name])]:
        raise CheckpointError(f"What {path} says of its run is damaged: {wrong[0]} is {str(facts[wrong[0]])[:60]!r}.")
    return facts


def _is_example(value: Any) -> bool:
    """Whether it is `{name: {"shape": [...], "dtype": ...}}`."""
    return isinstance(value, dict) and all(
        isinstance(fact, dict)
        and isinstance(fact.get("dtype"), str)
        and isinstance(fact.get("shape"), list)
        and all(type(size) is int and size >= 0 for size in fact["shape"])
        for fact in value.values()
    )


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "labels": lambda value: isinstance(value, list) and all(isinstance(label, str) for label in value),
    "example": _is_example,
    "averaged": lambda value: isinstance(value, bool),
    "best": lambda value: value is None or isinstance(value, str),
    "mode": lambda value: value in (None, "min", "max"),
}


def _choose(path: Path, step: str | int | None, facts: Mapping[str, Any]) -> int | None:
    if isinstance(step, int) or step == "last":
        return None if step == "last" else int(step)
    if step not in (None, "best"):
        raise CheckpointError(f"step must be 'best', 'last' or a number, not {step!r}.")
    if facts["best"] is None or facts["mode"] is None:
        if step == "best":
            raise CheckpointError(f"{path} kept no best checkpoint: set saving.best, or use the last step.")
        return None
    rank = BestOf(metric=facts["best"], mode=facts["mode"])
    with Checkpoints(path / "checkpoints", best=rank, read_only=True) as checkpoints:
        best = checkpoints.best_steps()
    return best[0] if best else None
