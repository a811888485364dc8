"""Names of callables, `module:name`: written by the public path, and found again, within bounds for saved configs."""

import dataclasses
import difflib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from jaxdl.errors import ConfigError

NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
REFERENCE = re.compile(f"@({NAME.pattern})", re.ASCII)
"""A function as a value."""

# The public faces of packages that define their names in private modules.
_FACES = {"jax": ("jax.nn", "jax.nn.initializers", "jax.numpy", "jax"), "flax": ("flax.linen",)}
_OPEN_MODULES = (
    *("jax.nn", "jax.nn.initializers", "flax.linen", "flax.linen.dtypes", "flax.linen.initializers"),
    *("optax", "optax.contrib", "optax.losses", "optax.schedules", "optax.transforms", "optax.tree_utils"),
)
_OPEN_HOMES = ("jax", "flax", "optax")
# Here are the dtypes, which are classes; its functions read and write files.
_DTYPES = "jax.numpy"
# These act on the machine, on files or on other configs, so a saved config may not call them.
_CLOSED_ROOMS = ("jaxdl.config", "jaxdl.cli", "jaxdl.__main__", "jaxdl.launch")
# Here dataclasses and hooks describe; functions and other classes act.
_CLASS_ROOMS = ("jaxdl.checkpoint", "jaxdl.inference", "jaxdl.interop", "jaxdl.parallel", "jaxdl.train")
_HOOKS = ("jaxdl.train.hooks",)
# A function of jaxdl outside those rooms that writes files is called so.
_WRITERS = ("save", "write")


def name_of(obj: Any) -> str:
    """`module:name` of a function or class at module level, by the shortest public path that leads to it.

    >>> import collections
    >>> name_of(collections.OrderedDict)
    'collections:OrderedDict'

    Raises:
      ConfigError: no module-level name leads to the object.
    """
    module = home(obj)
    for candidate in _faces(module) if module else ():
        qualname = _qualname(obj, candidate)
        if qualname and _leads_to(candidate, qualname, obj):
            return f"{candidate}:{qualname}"
    raise ConfigError(
        f"No config can name {obj!r}, since it is not a function or class at the top level of a module. Move it there; "
        "for a function made by a call, write the call down with spec(...)."
    )


def resolve(name: str, allow: Sequence[str] | None = None) -> Any:
    """Imports what `module:name` says.

    Args:
      name: As `name_of` writes it.
      allow: None for a config that the user wrote: any module may be imported. Otherwise the packages that are open
        beside jaxdl, jax.nn, flax.linen and optax; nothing else is imported or returned, and no private name.

    Raises:
      ConfigError: there is no such name, or it is not open.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is not a name of the form 'module:name'.")
    module_name, _, attribute = name.partition(":")
    if allow is not None:
        _check_open(name, module_name, allow)
    found: Any = _import(module_name)
    for part in attribute.split("."):
        if allow is not None and isinstance(found, ModuleType) and found.__name__ != module_name:
            raise _refusal(name, f"it goes through the module {found.__name__}", allow)
        if (
            allow is not None
            and inspect.isfunction(inspect.getattr_static(found, part, None))
            and isinstance(found, type)
        ):
            raise _refusal(name, "it is a method", allow)
        if not hasattr(found, part):
            raise ConfigError(f"There is no {attribute!r} in {module_name}.{nearest(part, _public(found))}")
        found = getattr(found, part)
    if allow is not None:
        _check_object(name, found, allow)
    return found


def is_reference(value: Any) -> bool:
    """Whether a value is the name of a function, as `@module:name`."""
    return isinstance(value, str) and REFERENCE.fullmatch(value) is not None


def resolve_call(name: Any, allow: Sequence[str] | None = None) -> Callable[..., Any]:
    """The callable that a spec's `call` names.

    Raises:
      ConfigError: as `resolve` does, and when it is not callable.
    """
    found = resolve(name, allow) if isinstance(name, str) else None
    if not callable(found):
        raise ConfigError(f"{name!r} is not the name of a function or class.")
    return found


def home(obj: Any) -> str | None:
    """The module in which an object is defined; for a partial, that of its function."""
    module = getattr(obj.func if isinstance(obj, functools.partial) else obj, "__module__", None)
    return module if isinstance(module, str) else None


def nearest(name: str, known: Iterable[str], *, show: bool = True) -> str:
    """A hint, ` Did you mean 'x'?`, or else (with `show`) what there is.

    >>> nearest("dept", ["depth", "width"])
    " Did you mean 'depth'?"
    """
    words = sorted({str(word) for word in known})
    near = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    listed = ", ".join(words[:30]) + (", ..." if len(words) > 30 else "")
    return f" There are: {listed}." if show and words else ""


def _faces(module: str) -> Iterator[str]:
    """The modules to try, best first: public parents from the top down, then the module itself."""
    parts = module.split(".")
    if parts[0] in _FACES:
        yield from _FACES[parts[0]]
    for end in range(1, len(parts)):
        if not any(part.startswith("_") for part in parts[:end]):
            yield ".".join(parts[:end])
    yield module


def _qualname(obj: Any, module: str) -> str | None:
    if isinstance(obj, functools.partial):
        names = [name for name, value in vars(sys.modules.get(module, ModuleType(""))).items() if value is obj]
        return names[0] if names else None
    qualname = getattr(obj, "__qualname__", None)
    return qualname if isinstance(qualname, str) and NAME.fullmatch(f"m:{qualname}") else None


def _leads_to(module: str, qualname: str, obj: Any) -> bool:
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is obj or (inspect.ismethod(obj) and found == obj)


def _import(module_name: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        parent = sys.modules.get(module_name.rpartition(".")[0])
        hint = nearest(module_name.rpartition(".")[2], _public(parent), show=False) if parent else ""
        raise ConfigError(f"The module {module_name} cannot be imported: {error}.{hint}") from error


def _public(owner: Any) -> list[str]:
    return [name for name in dir(owner) if not name.startswith("_")]


def _inside(module: str, packages: Iterable[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _check_open(name: str, module: str, allow: Sequence[str]) -> None:
    """Refuses a name by its text alone, before anything is imported."""
    if any(part.startswith("_") for part in re.split("[.:]", name)):
        raise _refusal(name, "it is private", allow)
    if _inside(module, allow) or module in (*_OPEN_MODULES, _DTYPES):
        return
    if not _inside(module, ("jaxdl",)):
        raise _refusal(name, f"{module} is not one of them", allow)
    if _inside(module, _CLOSED_ROOMS):
        raise _refusal(name, f"{module} acts on files and configs", allow)


def _check_object(name: str, found: Any, allow: Sequence[str]) -> None:
    """Refuses what a module merely imported from elsewhere."""
    module = home(found)
    if module is None or isinstance(found, ModuleType) or not callable(found):
        raise _refusal(name, "it is not a function or class", allow)
    if _inside(module, allow):
        return
    if not _inside(module, ("jaxdl", *_OPEN_HOMES)):
        raise _refusal(name, f"it comes from {module}", allow)
    if _inside(module, _CLOSED_ROOMS):
        raise _refusal(name, f"{module} acts on files and configs", allow)
    acts = _inside(module, _CLASS_ROOMS) or name.partition(":")[0] == _DTYPES
    if acts and not isinstance(found, type):
        raise _refusal(name, f"the functions of {module} act on the machine", allow)
    describes = dataclasses.is_dataclass(found) or _inside(module, _HOOKS)
    if _inside(module, _CLASS_ROOMS) and not describes:
        raise _refusal(name, "it acts on the machine", allow)
    if _inside(module, ("jaxdl",)) and getattr(found, "__name__", "").startswith(_WRITERS):
        raise _refusal(name, "it writes files", allow)


def _refusal(name: str, reason: str, allow: Sequence[str]) -> ConfigError:
    package = name.partition(":")[0].split(".")[0]
    opened = ", ".join(["jaxdl", "jax.nn", "flax.linen", "optax", *allow])
    return ConfigError(
        f"A saved config may only use the public names of {opened}; {name!r} is refused, since {reason}. "
        f"If you trust this config and its code, add --allow {package}."
    )
