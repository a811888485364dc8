"""No file of the package can unpickle, run text, call a shell, or listen to the world: read from its syntax."""

import ast
from pathlib import Path

import pytest

from tests.security.lint import problems

ROOT = Path(__file__).parents[2] / "jaxdl"
FILES = sorted(ROOT.rglob("*.py"))
# The doors: what each of these files alone may do, and why.
DOORS = {
    # PyTorch's checkpoints are pickles; its own reader of weights alone builds nothing but tensors.
    "interop/torch_files.py": ("torch.load", "attribute pickle"),
    # A config file that the user names is code; a name of a saved config is looked up within bounds.
    "config/_names.py": ("import_module",),
    # The function that --layout of the command line names.
    "cli/convert.py": ("import_module",),
    # Modules that a process already has, for its copies to come.
    "train/survival/server.py": ("import_module",),
    # Modules of jaxdl itself, by names that stand in the code.
    "cli/__init__.py": ("import_module",),
    "cli/listing.py": ("import_module",),
    "interop/families/__init__.py": ("import_module",),
    # The C library of this process, for its allocator.
    "cli/environment.py": ("ctypes.CDLL",),
    # The address that --coordinator names, by which the processes of a run call one another.
    "cli/rendezvous.py": ("bind", "create_server"),
}
BAD = {
    "import pickle": "import pickle",
    "import pickle as p": "import pickle",
    "from pickle import loads": "import pickle",
    "def f():\n    import dill": "import dill",
    "import cloudpickle": "import cloudpickle",
    "import marshal": "import marshal",
    "import shelve": "import shelve",
    "import requests": "import requests",
    "from urllib import request": "import urllib",
    "import urllib.request": "import urllib.request",
    "from http.server import HTTPServer": "import http.server",
    "import yaml": "import yaml",
    "import tarfile": "import tarfile",
    "eval('1')": "call eval",
    "exec(text)": "call exec",
    "compile(text, 'x', 'exec')": "call compile",
    "__import__(name)": "call __import__",
    "import builtins; builtins.eval(x)": "call eval",
    "breakpoint()": "call breakpoint",
    "np.load(path)": "np.load",
    "np.load(path, allow_pickle=True)": "allow_pickle",
    "np.load(path, allow_pickle=flag)": "allow_pickle",
    "np.save(path, x, allow_pickle=True)": "allow_pickle",
    "yaml.load(text)": "call yaml.load",
    "torch.load(path)": "torch.load unsafe",
    "torch.load(path, weights_only=False)": "torch.load unsafe",
    "torch.load(path, weights_only=w)": "torch.load unsafe",
    "torch.load(path, weights_only=True)": "torch.load",
    "os.system('x')": "call os.system",
    "os.popen('x')": "call os.popen",
    "os.execv(p, a)": "call os.execv",
    "os.fork()": "call os.fork",
    "subprocess.run('ls', shell=True)": "shell",
    "subprocess.run('ls', shell=flag)": "shell",
    "tempfile.mktemp()": "call tempfile.mktemp",
    "shutil.unpack_archive(a)": "call shutil.unpack_archive",
    "archive.extractall()": "call extractall",
    "archive.extract(member)": "call extract",
    "server.bind(('', 80))": "bind",
    "server.bind(('0.0.0.0', 80))": "bind",
    "server.bind((host, 80))": "bind",
    "server.bind(address)": "bind",
    "socket.create_server(('::', 1))": "create_server",
    "jax.profiler.start_server(9999)": "call start_server",
    "ctypes.CDLL(name)": "ctypes.CDLL",
    "ctypes.cast(a, b)": "ctypes.cast",
    "importlib.import_module(name)": "import_module",
    "config.to_yaml()": "call to_yaml",
    "torch.serialization.pickle.loads(x)": "attribute pickle",
}
GOOD = [
    "import json, zipfile, socket, tempfile, subprocess",
    "np.load(path, allow_pickle=False)",
    "subprocess.run(['git', 'status'])",
    "subprocess.run(['git', 'status'], shell=False)",
    "socket.socket().bind(('127.0.0.1', 0))",
    "re.compile('x')",
    "jax.jit(f).lower(x).compile()",
    "model.eval()",
    "tempfile.TemporaryFile()",
    "tempfile.mkstemp()",
    "from jaxdl.http import x",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unsafe(path):
    file = path.relative_to(ROOT).as_posix()
    assert list(problems(path.read_text(), file=file, doors=DOORS)) == []


@pytest.mark.parametrize("snippet", BAD)
def test_each_bad_snippet_is_found(snippet):
    assert any(one.partition(": ")[2].split(":")[0] == BAD[snippet] for one in problems(snippet)), list(
        problems(snippet)
    )


@pytest.mark.parametrize("snippet", GOOD)
def test_what_is_harmless_is_let_through(snippet):
    assert list(problems(snippet)) == []


def test_every_door_is_used():
    for file, reasons in DOORS.items():
        path = ROOT / file
        if not path.exists():
            continue
        found = " ".join(problems(path.read_text()))
        assert any(reason in found for reason in reasons), f"{file} needs its door no longer"


def test_whatever_writes_files_is_closed_to_saved_configs():
    """Functions that a saved config may call (outside of the rooms where only dataclasses are open) write nothing."""
    from jaxdl.config._names import _CLASS_ROOMS, _CLOSED_ROOMS, resolve
    from jaxdl.errors import ConfigError

    writing = {
        "mkdir",
        "write_text",
        "write_bytes",
        "replace",
        "unlink",
        "rmtree",
        "rename",
        "touch",
        "symlink_to",
        "rmdir",
    }
    found = 0
    for path in FILES:
        module = ".".join(("jaxdl", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
        if module.startswith((*_CLASS_ROOMS, *_CLOSED_ROOMS)):
            continue
        tree = ast.parse(path.read_text())
        owners = [("", tree.body), *((f"{c.name}.", c.body) for c in tree.body if isinstance(c, ast.ClassDef))]
        for prefix, body in owners:
            for function in body:
                if isinstance(function, ast.FunctionDef) and _writes(function, writing):
                    found += 1
                    with pytest.raises(ConfigError):
                        resolve(f"{module}:{prefix}{function.name}", ())
    assert found >= 4


def _writes(function, writing):
    for node in ast.walk(function):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        texts = [one.value for one in [*node.args, *(k.value for k in node.keywords)] if isinstance(one, ast.Constant)]
        opens = name == "open" and any(
            isinstance(text, str) and set(text) & set("wxa+") and len(text) < 4 for text in texts
        )
        of_a_path = name in writing and not (name == "replace" and _is_not_os(node.func))
        if opens or of_a_path or name in ("ArrayRecordWriter", "save_file"):
            return True
    return False


def _is_not_os(func):
    """`text.replace` and `dataclasses.replace` write nothing."""
    return not (isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "os")
