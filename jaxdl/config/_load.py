"""Running a config file, or reading a saved config."""

import difflib
import importlib.machinery
import importlib.util
import inspect
import linecache
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ml_collections import ConfigDict

from jaxdl.config import _tree
from jaxdl.config._json import MAX_BYTES, from_json
from jaxdl.config._names import nearest
from jaxdl.config._origins import place, short_path
from jaxdl.errors import ConfigError, JaxdlError

_MISTAKES = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError),
    *(RuntimeError, SyntaxError, TypeError, ValueError),
)
"""What the code of a config file may raise by mistake."""


def load(path_and_arg: str) -> ConfigDict:
    """The config that a file describes: `configs/x.py`, `configs/x.py:arg`, or a `.json` that was saved.

    A Python file is run, and its `get_config()`, or `get_config(arg)`, returns the config. A JSON file is only read;
    where it may come from elsewhere, give `allow` to `check` and `build`.

    Raises:
      ConfigError: there is no such file, it fails, or its `get_config` does not fit.
    """
    path, arg = _split(path_and_arg)
    if not os.path.isfile(path):
        raise ConfigError(f"There is no config file {path}.{_nearest_file(path)}")
    if path.endswith(".json"):
        return _read(path, arg)
    if not path.endswith(".py"):
        raise ConfigError(f"{path} is not a config: it must end in .py (with a get_config) or .json (a saved config).")
    filename = os.path.abspath(path)
    get_config = _get_config(filename)
    _check_arg(get_config, filename, arg)
    config = _run(lambda: get_config() if arg is None else get_config(arg), filename)
    if not isinstance(config, ConfigDict):
        raise ConfigError(
            f"get_config in {short_path(filename)} must return a spec or a ConfigDict, not {type(config).__name__}."
        )
    tree = _tree.copy_tree(config)
    for key in tree:
        if key not in _tree.origins(tree):
            _tree.mark(tree, key, short_path(filename))
    return tree


def _split(path_and_arg: str) -> tuple[str, str | None]:
    for ending in (".py", ".json"):
        head, colon, arg = path_and_arg.partition(f"{ending}:")
        if colon:
            return f"{head}{ending}", arg
    return path_and_arg, None


def _nearest_file(path: str) -> str:
    folder = os.path.dirname(path) or "."
    here = list(Path(folder).glob("*.py")) if os.path.isdir(folder) else []
    files = {found.name: str(found) for found in here or Path("configs").rglob("*.py")}
    near = difflib.get_close_matches(os.path.basename(path), files, n=1)
    return f" Did you mean {files[near[0]]!r}?" if near else nearest("", files.values())


def _read(path: str, arg: str | None) -> ConfigDict:
    if arg is not None:
        raise ConfigError(f"{path} is a saved config, which takes no argument; leave out {':' + arg!r}.")
    return read(path)


def read(path: str | os.PathLike[str]) -> ConfigDict:
    """The config of a file that holds what `to_json` wrote, as data, whatever the file is called.

    Raises:
      ConfigError: it cannot be read, or is no such document; by the name of the file.
    """
    try:
        if os.path.getsize(path) > MAX_BYTES:
            raise ConfigError(f"it is larger than {MAX_BYTES} bytes.")
        return from_json(Path(path).read_text(encoding="utf-8"))
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error


class _UncachedLoader(importlib.machinery.SourceFileLoader):
    """Compiles a file as it is now; a cached compilation may be that of the text of a second ago."""

    def get_code(self, fullname: str) -> CodeType:
        """The compiled file."""
        return self.source_to_code(self.get_data(self.path), self.path)


def define(path: str) -> str:
    """Runs a config file for what it defines, so that a saved config can name it; returns the name to allow.

    Raises:
      ConfigError: there is no such file, or it fails.
    """
    path, _ = _split(path)
    if not os.path.isfile(path):
        raise ConfigError(f"There is no config file {path}.{_nearest_file(path)}")
    return _run_module(os.path.abspath(path)).__name__


def _get_config(filename: str) -> Callable[..., Any]:
    module = _run_module(filename)
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise ConfigError(
            f"{short_path(filename)} has no function get_config().{nearest('get_config', dir(module), show=False)}"
        )
    return get_config


def _run_module(filename: str) -> ModuleType:
    """Runs a file as the module that an import would make of it, so that a config can name what the file defines."""
    linecache.checkcache(filename)
    name = _module_name(filename)
    loader = _UncachedLoader(name, filename)
    module = importlib.util.module_from_spec(importlib.machinery.ModuleSpec(name, loader, origin=filename))
    module.__file__ = filename
    replaced = sys.modules.get(name, None)
    sys.modules[name] = module
    done = False
    try:
        _run(lambda: loader.exec_module(module), filename)
        done = True
    finally:
        if not done:
            _restore(name, replaced)
    return module


def _restore(name: str, module: ModuleType | None) -> None:
    del sys.modules[name]
    if module is not None:
        sys.modules[name] = module


def _module_name(filename: str) -> str:
    """`configs.x` for configs/x.py in the working directory; else a name that hides no other module."""
    parts = short_path(filename).removesuffix(".py").split(os.sep)
    name = ".".join(parts)
    if all(part.isidentifier() for part in parts) and len(parts) > 1:
        return name
    stem = "".join(c if c.isalnum() else "_" for c in parts[-1])
    return f"config_file_{stem}"


def _check_arg(get_config: Callable[..., Any], filename: str, arg: str | None) -> None:
    parameters = inspect.signature(get_config).parameters.values()
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.VAR_POSITIONAL)]
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    name = short_path(filename)
    if arg is not None and not positional:
        raise ConfigError(f"get_config in {name} takes no argument, but {arg!r} is given; leave out {':' + arg!r}.")
    if len(needed) > (0 if arg is None else 1):
        raise ConfigError(
            f"get_config in {name} needs {', '.join(needed)}; a file gives it at most one, as in {name}:ARG."
        )


def _run(code: Callable[[], Any], filename: str) -> Any:
    """Runs code of a config file, and names the line of the file at which it failed."""
    try:
        return code()
    except JaxdlError as error:
        raise type(error)(f"{_line_of(error, filename)}: {error}") from error
    except _MISTAKES as error:
        raise ConfigError(f"{_line_of(error, filename)}: {_message(error)}") from error


def _line_of(error: BaseException, filename: str) -> str:
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        return place(error.filename, error.lineno)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == filename]
    return place(filename, lines[-1] or 0) if lines else short_path(filename)


def _message(error: BaseException) -> str:
    cause = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    if isinstance(error, ConfigError):
        return str(error)
    text = cause.msg if isinstance(cause, SyntaxError) else str(cause.args[0]) if cause.args else ""
    return f"{type(error).__name__}: {text}"
