"""The run folder: what a run leaves behind, and all that prediction needs."""

import contextlib
import dataclasses
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from jaxdl.checkpoint import lock_workdir
from jaxdl.checkpoint.commit import make_folder, sync_directory
from jaxdl.errors import WorkdirError
from jaxdl.train import rollback


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """The files of a run.

    `config.json` is the resolved config, `config.txt` the same with the origin of every value, `provenance.json` the
    versions and devices, `run.json` the labels and the shape of an example, `metrics.jsonl` the log, `summary.json`
    the results, `init.json` what became of each tensor of `init_from`, `tokenizer.json` the tokenizer of a model of
    text, `rollbacks.json` the returns to earlier states, `checkpoints/` the states.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints are."""
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The metrics log."""
        return self.path / "metrics.jsonl"

    def write(self, texts: Mapping[str, str]) -> None:
        """Writes files, each whole or not at all; only the first process does."""
        if jax.process_index() == 0:
            for name, text in texts.items():
                _write_atomically(self.path / name, text)

    def read_json(self, name: str) -> Any:
        """A JSON file of the folder.

        Raises:
          WorkdirError: it is missing or broken.
        """
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, RecursionError, ValueError) as error:
            raise WorkdirError(f"{self.path / name} cannot be read: {error}. Is {self.path} a run folder?") from error

    def rollbacks(self) -> tuple[rollback.RollBack, ...]:
        """How often the run went back, and where to.

        Raises:
          WorkdirError: `rollbacks.json` is broken.
        """
        name = "rollbacks.json"
        try:
            return rollback.read(self.read_json(name)) if os.path.lexists(self.path / name) else ()
        except ValueError as error:
            raise WorkdirError(f"{self.path / name} is damaged: {error}.") from error

    def devices(self) -> list[str]:
        """What the run was on.

        Raises:
          WorkdirError: `run.json` is missing or broken, or does not say it.
        """
        facts = self.read_json("run.json")
        found = facts["devices"] if isinstance(facts, dict) and "devices" in facts else None
        if not isinstance(found, list) or not found or not all(isinstance(device, str) for device in found):
            raise WorkdirError(f"{self.path / 'run.json'} does not say which devices the run was on.")
        return found


@contextlib.contextmanager
def open_run(path: str | Path, *, force: bool = False) -> Iterator[RunFolder]:
    """A run folder to write to: made where it is missing, and this run's alone until closed.

    Raises:
      WorkdirError: it cannot be made or written, or another run is using it.
    """
    folder = RunFolder(Path(path).absolute())
    try:
        make_folder(folder.path)
        with tempfile.TemporaryFile(dir=folder.path):
            pass
    except OSError as error:
        raise WorkdirError(
            f"The run folder {folder.path} cannot be written by user {os.getuid()}: {error.strerror}. "
            "Pass another --workdir."
        ) from error
    with lock_workdir(folder.path, force=force) if jax.process_index() == 0 else contextlib.nullcontext():
        yield folder


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")  # The folder is this run's alone.
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)
