"""Files that a table names: those of its folder, and no others."""

import os
from pathlib import Path

from jaxdl.errors import DataError


def within(folder: str | os.PathLike[str], name: str, base: str | os.PathLike[str] | None = None) -> Path:
    """The file of this name in a folder. The name may be a path, also a whole one, as long as it stays in the folder.

    Others are relative to `base`, by default the folder. Where it leads is seen from the text alone: `a/../b.png` is
    `b.png`, whatever `a` is.

    >>> str(within("/data", "images/../one.png"))
    '/data/one.png'

    Raises:
      DataError: it leads out of the folder, or no file can be called so.
    """
    if "\0" in name:
        raise DataError(f"no file can be called {name[:200]!r}")
    root = Path(folder).expanduser()
    start = os.path.abspath(root if base is None else os.path.expanduser(base))
    path = os.path.relpath(os.path.join(start, name), os.path.abspath(root))
    if path.split(os.sep)[0] in (os.curdir, os.pardir):
        raise DataError(f"{name[:200]!r} is no file in {root}")
    return root / path
