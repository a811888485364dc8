"""Finding the newest checkpoint that verifies, and reading it back."""

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl import trees
from jaxdl.checkpoint import arrays, leaves, mismatch
from jaxdl.checkpoint.commit import Corrupt, sync_directory, verify
from jaxdl.checkpoint.manifest import FILE_NAME, Leaf, Manifest
from jaxdl.errors import CheckpointError
from jaxdl.types import PyTree

STEP = re.compile(r"[0-9]{8,18}")
STATE = "state"
REPLACED = "replaced-"
"""What a step's name begins with while the step is being replaced."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A checkpoint that was passed over because it is corrupt, and where it went (None: it was left in place)."""

    step: int
    reason: str
    moved_to: Path | None


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What a checkpoint held, and the newer corrupt ones that were passed over to reach it."""

    step: int
    state: PyTree
    info: dict[str, Any]
    metrics: dict[str, float]
    skipped: tuple[Skipped, ...] = ()


def step_folder(directory: Path, step: int) -> Path:
    """Where a step is kept; zero-padded so that names sort as numbers do."""
    return directory / f"{step:08d}"


def committed_steps(directory: str | os.PathLike[str]) -> list[int]:
    """The steps that are wholly saved in a directory, oldest first; their bytes are not read."""
    return [
        step for step in _named_steps(Path(directory)) if (step_folder(Path(directory), step) / FILE_NAME).is_file()
    ]


def holds_steps(directory: str | os.PathLike[str]) -> bool:
    """Whether anything in a directory has the name of a step, wholly saved or not, or was being replaced by one."""
    path = Path(directory)
    return path.is_dir() and any(STEP.fullmatch(one.name.removeprefix(REPLACED)) for one in path.iterdir())


def restore_part(directory: str | os.PathLike[str], part: str = "params", *, step: int | None = None) -> Restored:
    """Reads part of a checkpoint without knowing the rest, such as the parameters for prediction.

    Args:
      directory: The directory of the checkpoints. It is only read: a corrupt step stays where it is.
      part: A subtree such as `"params"` or `"params/encoder"`, or a regex that matches whole leaf names.
      step: Which step; by default the newest that verifies.

    Returns:
      `state` is a nested dict of NumPy arrays under their full names (`state["params"]...`); sequences come back as
      dicts with keys "0", "1", ..., and random keys as their key data.

    Raises:
      CheckpointError: there is no checkpoint, none verifies, or nothing in it has such a name.
    """
    path = Path(directory).absolute()
    skipped: list[Skipped] = []
    while (manifest := newest_verified(path, step, skipped, quarantine=False)) is not None:
        chosen = [leaf for leaf in manifest.leaves if _in_part(leaf.name, part)]
        if not chosen:
            known = sorted({leaf.name.split("/")[0] for leaf in manifest.leaves})
            raise CheckpointError(f"Step {manifest.step} in {path} has nothing named {part!r}; its parts are {known}.")
        try:
            values = read_leaves(step_folder(path, manifest.step), chosen, partial=True)
        except Corrupt as problem:
            skipped.append(skip(path, manifest.step, str(problem), quarantine=False))
            continue
        return restored(manifest, trees.nest(values), skipped)
    raise CheckpointError(f"There is no checkpoint in {path}. Train first, or give the run folder of a finished run.")


def newest_verified(
    directory: Path, step: int | None, skipped: list[Skipped], *, quarantine: bool, digests: bool = True
) -> Manifest | None:
    """The manifest of the newest step that verifies and is not yet in `skipped`, which grows by those that do not.

    Raises:
      CheckpointError: there are checkpoints but none verifies; or `step` is given and does not exist or verify.
    """
    present = _named_steps(directory)
    if step is not None and step not in present:
        raise CheckpointError(f"There is no step {step} in {directory}; the saved steps are {present}.")
    passed = {entry.step for entry in skipped}
    for candidate in reversed(present) if step is None else [step]:
        if candidate in passed:
            continue
        try:
            return _verified(step_folder(directory, candidate), candidate, digests=digests)
        except Corrupt as problem:
            if step is not None:
                raise CheckpointError(_not_this(directory, step, str(problem), present)) from problem
            skipped.append(skip(directory, candidate, str(problem), quarantine=quarantine))
    quarantined = sorted(path.name for path in directory.glob("corrupt-*"))
    if skipped or quarantined:
        raise CheckpointError(_nothing_left(directory, skipped, quarantined))
    return None


def skip(directory: Path, step: int, reason: str, *, quarantine: bool) -> Skipped:
    """Records a corrupt step; in quarantine it is renamed, so that it never counts again but nothing is lost."""
    if not quarantine:
        return Skipped(step=step, reason=reason, moved_to=None)
    target = directory / f"corrupt-{step}"
    for attempt in range(1, 1000):
        if not os.path.lexists(target):
            break
        target = directory / f"corrupt-{step}-{attempt}"
    os.rename(step_folder(directory, step), target)
    sync_directory(directory)
    return Skipped(step=step, reason=reason, moved_to=target)


def restored(manifest: Manifest, state: PyTree, skipped: Sequence[Skipped]) -> Restored:
    """Puts the answer together."""
    return Restored(
        step=manifest.step,
        state=state,
        info=dict(manifest.info),
        metrics=dict(manifest.metrics),
        skipped=tuple(skipped),
    )


def check_fits(directory: Path, manifest: Manifest, target: PyTree) -> None:
    """Compares names, shapes and dtypes before anything is read.

    Raises:
      CheckpointError: with a table of what differs.
    """
    wanted = [leaves.describe(trees.name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(target)]
    rows = mismatch.differences(manifest.leaves, wanted)
    if rows:
        raise CheckpointError(
            f"Step {manifest.step} in {directory} does not fit this run ({len(rows)} differences):\n"
            f"{mismatch.table(rows)}\n"
            "Resume with the config that is saved in its run folder, start afresh in another --workdir, "
            "or load only the parameters that fit. The checkpoint was not changed."
        )


def read_state(folder: Path, manifest: Manifest, target: PyTree) -> PyTree:
    """Reads a whole state into the structure, shardings and kinds of arrays of `target`."""
    paths, structure = jax.tree_util.tree_flatten_with_path(target)
    like = {trees.name(path): leaf for path, leaf in paths}
    if jax.process_count() == 1:
        values = read_leaves(folder, manifest.leaves)
        placed = [leaves.place(values[name], leaf) for name, leaf in like.items()]
    else:
        read = _read_shards(folder, manifest.leaves, like)
        placed = [read[name] for name in like]
    return jax.tree_util.tree_unflatten(structure, placed)


def read_leaves(folder: Path, wanted: Sequence[Leaf], *, partial: bool = False) -> dict[str, np.ndarray]:
    """Reads leaves as NumPy arrays and checks their digests.

    Raises:
      Corrupt: a leaf is not what was saved, although its files are.
      CheckpointError: the files are as they were written, but Orbax cannot read them.
    """
    _check_shapes(folder, wanted)
    stored = _read(folder, {leaf.name: None for leaf in wanted if 0 not in leaf.shape}, partial=partial)
    values = {}
    for leaf in wanted:
        value = stored[leaf.name] if leaf.name in stored else np.zeros(leaf.shape, _dtype(leaf))
        got = leaves.digest(value)
        if leaf.crc32 is not None and got != leaf.crc32:
            raise Corrupt(f"array {leaf.name}: expected CRC-32 {leaf.crc32:08x}, got {got:08x}")
        values[leaf.name] = value
    return values


def _check_shapes(folder: Path, wanted: Sequence[Leaf]) -> None:
    """Refuses arrays of other shapes than the manifest's, before any memory is taken for them."""
    with _explained(folder):
        stored = arrays.shapes(folder / STATE) if any(0 not in leaf.shape for leaf in wanted) else {}
    for leaf in wanted:
        shape = (*leaf.shape, *leaves.key_shape(leaf.dtype))
        if 0 not in shape and stored.get(leaf.name) != shape:
            raise Corrupt(f"array {leaf.name}: expected shape {shape}, got {stored.get(leaf.name, 'nothing')}")


def _read(folder: Path, like: dict[str, Any], *, partial: bool = False) -> dict[str, Any]:
    if not like:
        return {}
    with _explained(folder):
        return arrays.read(folder / STATE, like, partial=partial)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except (AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"The files of {folder} are as they were written, but Orbax {arrays.version()} cannot read them: {error}"
        ) from error


def _read_shards(folder: Path, saved: Sequence[Leaf], like: dict[str, Any]) -> dict[str, Any]:
    """Reads, on each of several processes, only what its devices need."""
    specs = {leaf.name: leaves.stored_spec(like[leaf.name]) for leaf in saved if 0 not in leaf.shape}
    stored = _read(folder, specs)
    empty = {leaf.name: np.zeros(leaf.shape, _dtype(leaf)) for leaf in saved if 0 in leaf.shape}
    values = {**stored, **empty}
    return {name: leaves.place_shards(values[name], leaf) for name, leaf in like.items()}


def _verified(folder: Path, step: int, *, digests: bool) -> Manifest:
    try:
        manifest = verify(folder, digests=digests)
    except OSError as error:
        raise CheckpointError(f"Cannot read {folder}: {error}. Nothing was changed; try again.") from error
    if manifest.step != step:
        raise Corrupt(f"{FILE_NAME} is that of step {manifest.step}")
    return manifest


def _named_steps(directory: Path) -> list[int]:
    """Folders with the name of a step that hold anything, oldest first."""
    if not directory.is_dir():
        return []
    named = [path for path in directory.iterdir() if STEP.fullmatch(path.name)]
    steps = [int(path.name) for path in named if path.is_dir() and not path.is_symlink() and any(path.iterdir())]
    return sorted(step for step in steps if step_folder(directory, step) in named)


def _in_part(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}/") or re.fullmatch(part, name) is not None


def _dtype(leaf: Leaf) -> np.dtype:
    return np.dtype(np.uint32) if leaf.dtype in leaves.KEY_IMPLEMENTATIONS else jax.numpy.dtype(leaf.dtype)


def _not_this(directory: Path, step: int, reason: str, present: Sequence[int]) -> str:
    others = [other for other in present if other != step]
    rest = f"There are also steps {others}: choose one." if others else "There is no other step."
    return f"The checkpoint of step {step} in {directory} cannot be trusted: {reason}. {rest} Nothing was changed."


def _nothing_left(directory: Path, skipped: Sequence[Skipped], quarantined: list[str]) -> str:
    reasons = "".join(f"\n  step {entry.step}: {entry.reason}" for entry in skipped)
    aside = f" Set aside there: {', '.join(quarantined)}." if quarantined else ""
    return (
        f"No checkpoint in {directory} can be trusted, and training does not silently start again.{reasons}\n"
        f"Nothing was deleted.{aside} Bring back a copy, or start afresh in another --workdir."
    )
