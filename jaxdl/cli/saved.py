"""The config that a run folder holds."""

import os
from pathlib import Path
from typing import Any

from jaxdl.errors import WorkdirError


def saved_config(workdir: Path) -> Any:
    """The `config.json` of a run folder; None where there is none.

    Raises:
      WorkdirError: the folder cannot be looked into.
      ConfigError: the file is no saved config.
    """
    from jaxdl import config as configs

    path = workdir / "config.json"
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable(workdir, error) from error
    return configs.read(path)


def unreadable(workdir: Path, error: OSError) -> WorkdirError:
    """What to say of a run folder that cannot be looked into."""
    return WorkdirError(
        f"The run folder {workdir} cannot be read by user {os.getuid()}: {error.strerror}. Pass another --workdir."
    )
