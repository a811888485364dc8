import sys
import textwrap

import pytest

from jaxdl.config import build, check, diff, flatten, load, override, show, to_json
from jaxdl.errors import ConfigError

PAGE = """\
import dataclasses
from jaxdl.config import ref, spec

@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    classes: int = 10
    smoothing: float = 0.0

@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    task: Task
    steps: int = 5
    warmup: int = 1
    tasks: tuple[Task, ...] = ()
    table: dict[str, Task] = dataclasses.field(default_factory=dict)
    late: int = 0
    later: int = 0

OPTIONS = {"late": 3}

def task(classes):
    return spec(Task, classes=classes)

def get_config(arg="2"):
    steps = ref(100)
    config = spec(
        Run, task=spec(Task,
            classes=int(arg)),
        steps=steps,
        warmup=(
            steps // 10),
        tasks=(
            spec(Task, classes=3), task(4),
        ),
        table={"é": spec(Task,
            smoothing=0.5)},
        **OPTIONS,
    )
    config.task.smoothing = 0.25
    config.later = 9
    return config
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    before = set(sys.modules)
    yield tmp_path / "configs"
    for name in set(sys.modules) - before:
        if name.startswith(("configs", "config_file")):
            del sys.modules[name]


def write(folder, text, name="page.py"):
    (folder / name).write_text(textwrap.dedent(text), encoding="utf-8")
    return f"configs/{name}"


def test_every_value_knows_its_line(folder):
    config = load(write(folder, PAGE))
    origins = {leaf.key: leaf.origin for leaf in flatten(config)}
    lines = {key: origin.rpartition(":")[2] for key, origin in origins.items() if origin.startswith("configs/page.py:")}
    assert lines == {
        "call": "26",
        "task.call": "27",
        "task.classes": "28",
        "task.smoothing": "39",
        "steps": "29",
        "warmup": "30",
        "tasks.0.call": "33",
        "tasks.0.classes": "33",
        "tasks.1.call": "22",
        "tasks.1.classes": "22",
        "table.é.call": "35",
        "table.é.smoothing": "36",
        "late": "26",
        "later": "40",
    }
    assert origins["tasks.0.smoothing"] == "default of configs.page:Task"


def test_a_loaded_config_is_checked_overridden_and_built(folder):
    config = override(load(write(folder, PAGE) + ":7"), ["steps=50", "tasks.1.classes=5"])
    check(config)
    run = build(config)
    assert (run.steps, run.warmup, run.task.classes, run.tasks[1].classes) == (50, 5, 7, 5)
    assert "flag --config.tasks.1.classes=5" in show(config)


def test_a_changed_file_is_read_anew(folder):
    first = load(write(folder, PAGE))
    second = load(write(folder, PAGE.replace("classes=3", "classes=8")))
    assert diff(first, second) == [("tasks.0.classes", 3, 8)]
    assert not list(folder.rglob("*.pyc"))


def test_a_saved_config_comes_back(folder):
    config = load(write(folder, PAGE))
    saved = folder / "saved.json"
    saved.write_text(to_json(config), encoding="utf-8")
    loaded = load("configs/saved.json")
    assert show(loaded) == show(config)
    assert build(loaded) == build(config)


def test_a_plain_config_falls_back_to_its_file(folder):
    page = """\
        from ml_collections import ConfigDict
        from jaxdl.config import spec
        import fractions

        def get_config():
            config = ConfigDict({"seed": 1, "table": {"a": 2}})
            config.number = spec(fractions.Fraction, numerator=3)
            return config
        """
    origins = {leaf.key: leaf.origin for leaf in flatten(load(write(folder, page)))}
    assert origins["seed"] == origins["table.a"] == "configs/page.py"
    assert origins["number.numerator"] == "configs/page.py:7"


def test_a_config_may_import_its_neighbours_and_bear_any_name(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder.parent)
    write(folder, PAGE, "base.py")
    write(folder, "from configs.base import get_config as base\ndef get_config():\n    return base('6')\n", "random.py")
    assert load("configs/random.py").task.classes == 6
    (folder.parent / "json.py").write_text(PAGE)
    import json

    load("json.py")
    assert sys.modules["json"] is json


BAD = [
    ("x = 1\n", "", "configs/page.py has no function get_config()"),
    ("def get_confg(): return 1\n", "", "Did you mean 'get_confg'?"),
    ("get_config = 3\n", "", "has no function get_config()"),
    ("def get_config(): return {'a': 1}\n", "", "must return a spec or a ConfigDict, not dict"),
    ("def get_config(): pass\n", "", "not NoneType"),
    ("def get_config(): return 1\n", ":x", "takes no argument, but 'x' is given"),
    ("def get_config(a): return 1\n", "", "needs a; a file gives it at most one, as in configs/page.py:ARG"),
    ("def get_config(a, b): return 1\n", ":x", "needs a, b"),
    ("def get_config(*, a): return 1\n", ":x", "takes no argument"),
    ("\ndef get_config():\n    return 1 / 0\n", "", "configs/page.py:3: ZeroDivisionError: division by zero"),
    ("def get_config():\n    return {}['key']\n", "", "configs/page.py:2: KeyError: key"),
    ("def get_config():\n    import no_such_thing\n", "", "configs/page.py:2: ModuleNotFoundError"),
    ("\n\nimport no_such_thing\n", "", "configs/page.py:3: ModuleNotFoundError"),
    ("def get_config(:\n", "", "configs/page.py:1: SyntaxError"),
    ("def get_config():\n\treturn 1\n        return 2\n", "", "configs/page.py:3: "),
    ("\x00", "", "configs/page.py"),
    ("raise ValueError('at import')\n", "", "configs/page.py:1: ValueError: at import"),
    ("assert False\n", "", "configs/page.py:1: AssertionError"),
    (PAGE.replace("classes=3", "clases=3"), "", "Did you mean 'classes'? (configs/page.py:33)"),
    (PAGE.replace("config.later", "config.latr"), "", 'configs/page.py:40: AttributeError: Key "latr" does not exist'),
    (PAGE, ":x", "configs/page.py:28: ValueError: invalid literal for int"),
]


@pytest.mark.parametrize(("text", "arg", "message"), BAD)
def test_mistakes_in_a_file_are_shown_with_their_line(folder, text, arg, message):
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path + arg)
    assert message in str(caught.value)
    assert "configs.page" not in sys.modules or hasattr(sys.modules["configs.page"], "__file__")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("configs/pag.py", "There is no config file configs/pag.py. Did you mean 'configs/page.py'?"),
        ("config/page.py", "Did you mean 'configs/page.py'?"),
        ("configs/zzzzzzz.py", "There are: configs/other.py, configs/page.py."),
        ("configs", "There is no config file configs"),
        ("", "There is no config file"),
        ("configs/note.txt", "must end in .py"),
        ("configs/bad.json", "configs/bad.json: The config is not JSON"),
        ("configs/bad.json:x", "takes no argument"),
        ("configs/binary.json", "configs/binary.json: "),
    ],
)
def test_files_that_are_no_config(folder, path, message):
    write(folder, PAGE)
    write(folder, PAGE, "other.py")
    write(folder, "", "note.txt")
    write(folder, "{", "bad.json")
    (folder / "binary.json").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert message in str(caught.value)


def test_a_failed_load_leaves_no_module_behind(folder):
    with pytest.raises(ConfigError):
        load(write(folder, "raise ValueError\n", "broken.py"))
    assert "configs.broken" not in sys.modules
