"""What no file of the package may do, found in its syntax tree."""

import ast
from collections.abc import Iterator

CALLS = ("eval", "exec", "compile", "__import__", "breakpoint")
MODULES = (
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "dbm", "pickletools"),
    *(
        "code",
        "codeop",
        "imp",
        "runpy",
        "pty",
        "telnetlib",
        "ftplib",
        "smtplib",
        "http",
        "urllib",
        "urllib3",
        "requests",
    ),
    *("aiohttp", "httpx", "xmlrpc", "socketserver", "asyncore", "yaml", "tarfile", "webbrowser"),
)
# `module.function` that are never called, whatever the module is called here.
FUNCTIONS = {
    "yaml": ("load", "load_all", "unsafe_load", "full_load"),
    "os": ("system", "popen", "execv", "execve", "execvp", "execl", "spawnv", "spawnl", "fork", "tempnam", "tmpnam"),
    "tempfile": ("mktemp",),
    "shutil": ("unpack_archive",),
    "joblib": ("load",),
    "pd": ("read_pickle", "eval"),
    "pandas": ("read_pickle", "eval"),
    "numexpr": ("evaluate",),
}
METHODS = ("extractall", "extract", "start_server", "start_trace_server", "to_yaml")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def problems(source: str, *, file: str = "", doors: dict[str, tuple[str, ...]] | None = None) -> Iterator[str]:
    """What is wrong with a file, each as `line: reason`.

    Args:
      source: Its text.
      file: Its path in the package, by which `doors` open.
      doors: For a file, the reasons (their first word) that are known and stated there.
    """
    known = (doors or {}).get(file, ())
    for node in ast.walk(ast.parse(source)):
        for reason in _reasons(node):
            if reason.split(":")[0] not in known:
                yield f"{node.lineno}: {reason}"


def _reasons(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (f"import {a.name}: it is forbidden" for a in node.names if a.name.split(".")[0] in MODULES)
    if isinstance(node, ast.ImportFrom) and node.level == 0 and str(node.module).split(".")[0] in MODULES:
        yield f"import {node.module}: it is forbidden"
    if isinstance(node, ast.Attribute) and node.attr in ("pickle", "allow_pickle", "loads_pickle"):
        yield f"attribute {node.attr}: pickles are not read"
    if isinstance(node, ast.Call):
        yield from _of_call(node)


def _of_call(node: ast.Call) -> Iterator[str]:
    keywords = {one.arg: one.value for one in node.keywords}
    owner, name = _name(node.func)
    if owner is None and name in CALLS:
        yield f"call {name}: it runs text as code"
    if owner == "builtins" and name in CALLS:
        yield f"call {name}: it runs text as code"
    if owner in FUNCTIONS and name in FUNCTIONS[owner]:
        yield f"call {owner}.{name}: it is forbidden"
    if name in METHODS:
        yield f"call {name}: it is forbidden"
    if "allow_pickle" in keywords and not _is(keywords["allow_pickle"], False):
        yield "allow_pickle: it must be False"
    if owner in ("np", "numpy", "jnp") and name == "load" and "allow_pickle" not in keywords:
        yield "np.load: it needs allow_pickle=False"
    if owner == "torch" and name == "load":
        trusted = "weights_only" not in keywords or not _is(keywords["weights_only"], True)
        yield "torch.load unsafe: it needs weights_only=True" if trusted else "torch.load: it is one door's"
    if "shell" in keywords and not _is(keywords["shell"], False):
        yield "shell: commands are lists of words"
    if name in ("bind", "create_server") and not _is_loopback(node):
        yield f"{name}: an address that is not a constant of the loopback"
    if owner == "ctypes" and name in ("CDLL", "PyDLL", "WinDLL", "cast", "string_at", "memmove", "from_address"):
        yield f"ctypes.{name}: it reaches around Python"
    if owner == "importlib" and name == "import_module":
        yield "import_module: names come from configs alone"


def _name(node: ast.expr) -> tuple[str | None, str]:
    """`("a.b", "c")` of `a.b.c`; the owner is None where there is none, and "" where it is no name."""
    if isinstance(node, ast.Name):
        return None, node.id
    if isinstance(node, ast.Attribute):
        owner = ast.unparse(node.value) if isinstance(node.value, (ast.Name, ast.Attribute)) else ""
        return owner, node.attr
    return "", ""


def _is(node: ast.expr, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_loopback(node: ast.Call) -> bool:
    first = node.args[0] if node.args else None
    host = first.elts[0] if isinstance(first, ast.Tuple) and first.elts else None
    return isinstance(host, ast.Constant) and host.value in LOOPBACK
