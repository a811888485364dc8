"""What the commands do to the machine, seen by an audit hook: nothing is unpickled, run, sent or started unasked."""

import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "jaxdl"
LIBRARIES = tuple(
    os.path.realpath(sysconfig.get_path(name, vars=paths))
    for paths in ({}, {"base": sys.base_prefix, "platbase": sys.base_exec_prefix})
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
CANARY = "canary-5f3e"
CONFIG = """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving

def get_config():
    return spec(
        Experiment, steps=4, log_every=2,
        model=spec(MLP, num_classes=10, widths=(8,)), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=5e-3),
        train=spec(Pipeline, source=spec(digits, split="train"), batch_size=64),
        evals={"test": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="test"), batch_size=120))},
        saving=spec(Saving, every=2),
    )
"""


def audited(folder, *commands, cwd=None, **environment):
    """Runs commands in a process of their own; their events, exit codes and output."""
    folder.mkdir(exist_ok=True)
    (folder / "commands.json").write_text(json.dumps([[str(word) for word in words] for words in commands]))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, str(HERE / "audited.py"), str(folder / "events.json"), str(folder / "commands.json")],
        env={
            **inherited,
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(PACKAGE.parent),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
            **environment,
        },
        cwd=cwd or folder, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert (folder / "events.json").exists(), done.stderr
    told = json.loads((folder / "events.json").read_text())
    return told["events"], told["codes"], done


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Training, going on, evaluating, predicting and exporting, in one process."""
    folder = tmp_path_factory.mktemp("audit")
    config, run, image = folder / "small.py", folder / "run", folder / "digit.png"
    config.write_text(CONFIG)
    from PIL import Image

    Image.fromarray(np.zeros((8, 8), np.uint8)).save(image)
    train = ["train", "--config", config, "--workdir", run]
    events, codes, done = audited(
        folder,
        train,
        [*train, "--config.steps=6"],
        ["evaluate", "--workdir", run],
        ["predict", image, "--workdir", run],
        ["export", "--workdir", run, "--out", folder / "model.safetensors"],
        ["predict", image, "--workdir", folder / "model.safetensors"],
        ["inspect", "--config", config],
        SECRET_TOKEN=f"{CANARY}-token",
        AWS_SECRET_ACCESS_KEY=f"{CANARY}-key",
        PASSWORD=f"{CANARY}-password",
    )
    assert codes == [0] * 7, done.stderr
    return folder, events, done


def is_library(path):
    return path.startswith("<frozen") or os.path.realpath(path).startswith(LIBRARIES)


def caller(frames):
    """The file of the innermost frame that is not the import machinery's."""
    return next((one.rpartition(":")[0] for one in frames if not one.startswith("<frozen importlib")), "")


def of_jaxdl(frames):
    """The innermost frame of jaxdl below the nearest import, `file:function`; None where an import is nearer."""
    for one in frames:
        if one.startswith("<frozen importlib"):
            return None
        if one.startswith(f"{PACKAGE}{os.sep}"):
            return one.removeprefix(f"{PACKAGE}{os.sep}")
    return None


def events_of(events, *names):
    return [(event, what, frames) for event, what, frames in events if event in names]


def test_the_hook_sees_what_it_must(tmp_path):
    script = tmp_path / "seen.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(HERE)!r}); import audited; events = []; audited.watch(events)\n"
        "import pickle, marshal, socket, subprocess, collections\n"
        "pickle.loads(pickle.dumps(collections.OrderedDict())); marshal.loads(marshal.dumps(1)); eval('1')\n"
        "socket.socket().bind(('127.0.0.1', 0)); subprocess.run(['true']); open('x', 'w').close()\n"
        "print(*sorted({event for event, what, frames in events if 'seen.py' in str(frames)}))\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert {"pickle.find_class", "marshal.loads", "exec", "socket.bind", "subprocess.Popen", "open"} <= set(
        done.stdout.split()
    )


def test_nothing_is_unpickled(session):
    assert events_of(session[1], "pickle.find_class") == []


def test_marshal_reads_nothing_but_compiled_modules(session):
    for event, _, frames in events_of(session[1], "marshal.load", "marshal.loads"):
        assert frames[0].startswith("<frozen importlib"), (event, frames[:5])


def test_no_code_runs_but_that_of_libraries_jaxdl_and_the_config_on_the_command_line(session):
    folder, events, _ = session
    trusted = (f"{PACKAGE}{os.sep}", str(folder / "small.py"))
    for event, what, frames in events_of(events, "exec", "compile", "code.__new__"):
        file = str(what[0] if event == "exec" else what[1])
        if file.startswith("/"):
            assert is_library(file) or file.startswith(trusted), (event, what, frames[:8])
        else:  # Text that is no file: only libraries make code of it, such as the methods of dataclasses.
            assert is_library(caller(frames)), (event, what, frames[:8])


def test_no_socket_is_opened_and_nobody_is_called(session):
    names = ("socket.bind", "socket.connect", "socket.sendto", "socket.getaddrinfo")
    network = ("urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect", "webbrowser.open")
    assert events_of(session[1], *names, *network) == []
    for _, what, frames in events_of(session[1], "socket.__new__"):  # The pair by which asyncio wakes its own loop.
        assert what[1] == socket.AF_UNIX, what
        assert "asyncio" in " ".join(frames[:4]), frames[:6]


def test_no_process_is_started_but_git(session):
    started = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn")
    for event, what, frames in events_of(session[1], *started):
        assert of_jaxdl(frames) == "config/provenance.py:_git", (event, what, frames[:6])
    for _, what, frames in events_of(session[1], "subprocess.Popen"):  # `uname`: Python's platform module.
        ours = (of_jaxdl(frames), what[1][0])
        asked = (("config/provenance.py:_git", "git"), ("config/provenance.py:provenance", "uname"))
        assert ours in asked or ours[0] is None, (what, frames[:6])


def test_no_library_is_opened_by_name_but_the_one_of_c(session):
    for _, what, frames in events_of(session[1], "ctypes.dlopen"):
        ours = of_jaxdl(frames)
        assert ours is None or (ours, what[0]) == ("cli/environment.py:keep_freed_memory", None), (what, frames[:6])


def test_nothing_is_written_outside_the_run_folder_and_the_cache(session):
    folder, events, _ = session
    names = (
        "open",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.mkdir",
        "os.link",
        "os.symlink",
        "os.truncate",
        "os.chmod",
    )
    names += ("shutil.rmtree", "shutil.move", "shutil.copyfile")
    inside = tuple(str(folder / name) for name in ("run", "cache", "model.safetensors"))
    for event, what, frames in events_of(events, *names):
        path = str(what[0])
        if path.isdigit() or not path.startswith("/") or path == "/dev/null":  # A descriptor, or below one.
            continue
        assert path.startswith(inside), (event, what, frames[:6])


def test_no_secret_of_the_environment_is_written_anywhere(session):
    folder, _, done = session
    files = [path for path in [*(folder / "run").rglob("*"), folder / "model.safetensors"] if path.is_file()]
    assert len(files) > 10
    for path in files:
        assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in done.stdout + done.stderr


def test_importing_and_asking_for_help_does_nothing(tmp_path):
    from jaxdl.cli import VERBS

    events, codes, done = audited(tmp_path / "help", ["--help"], ["--version"], *[[verb, "--help"] for verb in VERBS])
    assert set(codes) == {0}, done.stderr
    assert "usage: jaxdl" in done.stdout
    allowed = {"exec", "compile", "marshal.loads", "code.__new__"}
    done_to_the_machine = [(event, what, frames[:4]) for event, what, frames in events if event not in allowed]
    assert [
        one for one in done_to_the_machine if one[:2] != ("ctypes.dlopen", [None])
    ] == []  # What ctypes does itself.


@pytest.fixture
def hostile(session, tmp_path):
    """A run folder whose every Python file leaves a canary behind, and the path of that canary."""
    folder, canary = tmp_path / "hostile", tmp_path / "canary"
    shutil.copytree(session[0] / "run", folder)
    code = f"open({str(canary)!r}, 'w').close()\n"
    for name in ("config.py", "canary_module.py", "small.py", "conftest.py", "sitecustomize.py", "numpy.py", "jax.py"):
        (folder / name).write_text(code)
    (folder / "configs").mkdir()
    (folder / "configs" / "__init__.py").write_text(code)
    return folder, canary


def test_no_code_beside_a_run_is_run(session, hostile, tmp_path):
    folder, canary = hostile
    image = session[0] / "digit.png"
    _, codes, done = audited(
        tmp_path / "a",
        ["evaluate", "--workdir", "."],
        ["predict", image, "--workdir", "."],
        ["config", "--config", "config.json"],
        cwd=folder,
    )
    assert codes == [0] * 3, done.stderr
    assert not canary.exists()


@pytest.mark.parametrize(
    "model",
    [
        {"call": "canary_module:run"},
        {"call": "jaxdl.models:MLP", "num_classes": 10, "widths": [8], "activation": "@canary_module:run"},
        {"call": "os:system", "command": "touch canary"},
        {"call": "jaxdl.config:load", "path_and_arg": "config.py"},
        {"call": "jaxdl.data.text:write_squad", "path": "canary", "articles": {}},
        {"call": "jaxdl.checkpoint:Checkpoints", "directory": "canary"},
        {"call": "jaxdl.train.writers:JsonlWriter", "path": "canary"},
    ],
    ids=lambda model: f"{model['call']} {'activation' in model}",
)
def test_a_hostile_config_of_a_run_is_refused(hostile, model, monkeypatch, capsys):
    from jaxdl.cli import main

    folder, canary = hostile
    document = json.loads((folder / "config.json").read_text())
    document["config"]["model"] = model
    document["origins"] = {}
    (folder / "config.json").write_text(json.dumps(document))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert main(["evaluate", "--workdir", "."]) == 2
    assert "saved config" in capsys.readouterr().err
    assert not canary.exists()
    assert not (folder / "canary").exists()
