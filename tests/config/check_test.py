import dataclasses
import json
import subprocess
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Protocol, TypeVar

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from jaxdl.config import check, from_json, override, ref, spec
from jaxdl.errors import ConfigError

T = TypeVar("T")


class Draws(Protocol):
    def draw(self) -> int: ...


class Pair(NamedTuple):
    left: int
    right: float = 1.0


class Old:
    def __init__(self, size: int):
        self.size = size


class Net(nn.Module):
    width: int
    activation: "Callable[..., Unimportable]" = nn.relu  # noqa: F821


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    num_classes: int
    kind: Literal["soft", "hard", 3] = "hard"


@dataclasses.dataclass(frozen=True, kw_only=True)
class All:
    integer: int = 1
    number: float = 1.0
    flag: bool = True
    text: str = ""
    maybe: int | None = None
    either: int | str = 1
    kind: Literal["soft", "hard", 3] = "hard"
    kinds: tuple[Literal["a", "b"], ...] = ()
    pair: tuple[int, float] = (1, 1.0)
    many: Sequence[int] = ()
    any_tuple: tuple = ()
    words: Iterable[str] = ()
    listed: list[float] = ()
    table: Mapping[str, int] = dataclasses.field(default_factory=dict)
    deep: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    fn: Callable[[int], int] | None = None
    cls: type | None = None
    old_union: typing.Optional[typing.Union[int, float]] = None  # noqa: UP007, UP045
    noted: Annotated[int, "a note"] = 1
    task: Task | None = None
    module: nn.Module | None = None
    rate: float | Callable[..., float] = 0.1
    anything: Any = None
    thing: object = None
    proto: Draws | None = None
    generic: T | None = None  # type: ignore[valid-type]
    array: np.ndarray | float = 0.0
    tasks: tuple[Task, ...] = ()
    rules: Sequence[tuple[str, Any]] = ()
    unnoted = 3


def untyped(a, b=2):
    return a, b


GOOD = [
    {"integer": -3},
    {"number": 3},
    {"number": ref(3) * 2},
    {"maybe": 3},
    {"either": "x"},
    {"kind": 3},
    {"kinds": ("a", "b")},
    {"pair": (1, 2)},
    {"many": [1, 2]},
    {"many": (ref(3), 4)},
    {"any_tuple": (1, "x", (None,))},
    {"words": ("a",)},
    {"listed": [1, 2.5]},
    {"table": {"a": 1}},
    {"deep": {"a": (1, 2)}},
    {"fn": jax.nn.relu},
    {"fn": spec(Old, size=1)},
    {"cls": Task},
    {"old_union": 2.5},
    {"task": spec(Task, num_classes=3)},
    {"module": spec(Net, width=3)},
    {"module": spec(nn.Dense, features=3)},
    {"rate": spec(optax.constant_schedule, value=0.1)},
    {"rate": optax.constant_schedule},
    {"anything": {"a": (1, "x")}, "thing": "x", "generic": 3},
    {"proto": spec(Old, size=1)},
    {"array": spec(np.zeros, shape=3)},
    {"tasks": (spec(Task, num_classes=1), spec(Task, num_classes=2, kind="soft"))},
    {"rules": ((".*", 0.1), ("x", None))},
    {"integer": spec(untyped, a=1)},
]


@pytest.mark.parametrize(
    "arguments", GOOD, ids=[f"{number}-{'-'.join(arguments)}" for number, arguments in enumerate(GOOD)]
)
def test_accepts(arguments):
    check(spec(All, **arguments))


BAD = [
    ({"integer": 1.0}, "integer", "wants int, not 1.0 (float)"),
    ({"integer": True}, "integer", "wants int, not True"),
    ({"integer": "1"}, "integer", "wants int, not '1'"),
    ({"integer": None}, "integer", "wants int, not None"),
    ({"integer": ref(100) * 0.1}, "integer", "wants int, not 10.0"),
    ({"number": "0.1"}, "number", "wants float, not '0.1'"),
    ({"number": True}, "number", "wants float, not True"),
    ({"number": float("nan")}, "number", "nan is not finite"),
    ({"number": (1.0,)}, "number", "wants float, not (1.0,)"),
    ({"flag": 1}, "flag", "wants bool, not 1"),
    ({"flag": "true"}, "flag", "wants bool"),
    ({"text": 3}, "text", "wants str, not 3"),
    ({"text": ("a",)}, "text", "wants str"),
    ({"maybe": 1.5}, "maybe", "wants int or None, not 1.5"),
    ({"either": None}, "either", "wants int or str, not None"),
    ({"kind": "sft"}, "kind", "did you mean 'soft'?"),
    ({"kind": 3.0}, "kind", "wants 'soft' or 'hard' or 3"),
    ({"kind": True}, "kind", "wants 'soft'"),
    ({"kinds": ("a", "c")}, "kinds", "item 1 wants 'a' or 'b'"),
    ({"kinds": "ab"}, "kinds", "wants tuple"),
    ({"pair": (1,)}, "pair", "wants 2 items"),
    ({"pair": (1.5, 1.0)}, "pair", "item 0 wants int, not 1.5"),
    ({"many": 3}, "many", "wants Sequence[int], not 3"),
    ({"many": "123"}, "many", "wants Sequence[int], not '123'"),
    ({"many": (1, None)}, "many", "item 1 wants int"),
    ({"many": {"a": 1}}, "many", "wants Sequence[int]"),
    ({"many": (1, float("inf"))}, "many", "not finite"),
    ({"words": "abc"}, "words", "wants Iterable[str]"),
    ({"listed": ("x",)}, "listed", "item 0 wants float"),
    ({"table": 3}, "table", "wants Mapping[str, int], not 3"),
    ({"table": ("a", 1)}, "table", "wants Mapping"),
    ({"table": {"a": "x"}}, "table.a", "wants int, not 'x'"),
    ({"deep": {"a": (1, "x")}}, "deep.a", "item 1 wants int, not 'x'"),
    ({"fn": "relu"}, "fn", "wants a function (@module:name) or None"),
    ({"fn": 3}, "fn", "wants a function"),
    ({"fn": "@jax.nn:gelo"}, "fn", "Did you mean 'gelu'?"),
    ({"anything": ("@no_such:f",)}, "anything", "cannot be imported"),
    ({"cls": "Task"}, "cls", "wants type"),
    ({"old_union": "x"}, "old_union", "wants int or float or None"),
    ({"noted": "x"}, "noted", "wants int"),
    ({"task": 3}, "task", "wants Task or None, not 3"),
    ({"task": "Task"}, "task", "wants Task or None"),
    ({"task": spec(Net, width=1)}, "task", "wants Task or None, not a call of"),
    ({"task": spec(Task)}, "task.num_classes", "missing value"),
    ({"task": spec(Task, num_classes=1.5)}, "task.num_classes", "wants int"),
    ({"task": {"num_classes": 3}}, "task", "wants Task or None"),
    ({"module": spec(Task, num_classes=3)}, "module", "wants Module or None"),
    ({"module": spec(Net, width="x")}, "module.width", "wants int"),
    ({"module": 3}, "module", "wants Module or None, not 3"),
    ({"rate": "fast"}, "rate", "wants float or a function"),
    ({"array": "x"}, "array", "wants ndarray or float"),
    ({"tasks": (spec(Task, num_classes=1), spec(Task))}, "tasks.1.num_classes", "missing value"),
    ({"tasks": (spec(Task, num_classes=1), 3)}, "tasks.1", "wants Task, not 3"),
    ({"tasks": (spec(Net, width=1),)}, "tasks.0", "wants Task, not a call of"),
    ({"rules": ((".*",),)}, "rules.0", "wants 2 items"),
    ({"rules": ((3, 0.1),)}, "rules.0", "item 0 wants str, not 3"),
    ({"thing": (spec(Old, size="x"),)}, "thing.0.size", "wants int"),
    ({"thing": {"a": {"b": spec(Pair, left="x")}}}, "thing.a.b.left", "wants int"),
]


@pytest.mark.parametrize(
    ("arguments", "key", "message"), BAD, ids=[f"{number}-{key}" for number, (_, key, _) in enumerate(BAD)]
)
def test_refuses(arguments, key, message):
    with pytest.raises(ConfigError) as caught:
        check(spec(All, **arguments))
    lines = str(caught.value).splitlines()
    assert lines[0] == "1 problem in the config:"
    assert len(lines) == 2
    assert lines[1].startswith(f"  {key}: ")
    assert message in lines[1]
    assert lines[1].endswith(")")
    assert "check_test.py:" in lines[1]


def test_lists_all_problems_with_their_origins():
    config = override(spec(All, integer="x", task=spec(Task, kind="so")), ["number=2", "pair=(1, 2)"])
    with pytest.raises(ConfigError) as caught:
        check(config, Task)
    text = str(caught.value)
    assert text.startswith("4 problems in the config:\n  config: it must be a call of ")
    assert "\n  integer: wants int" in text
    assert "\n  task.kind: wants 'soft'" in text
    assert "\n  task.num_classes: missing value" in text


def saved(**fields):
    return from_json(json.dumps({"version": 1, "config": fields, "origins": {key: "run.json" for key in fields}}))


def test_a_saved_config_may_hold_what_its_callable_no_longer_takes():
    with pytest.raises(
        ConfigError, match=r"num_clases: .* has no argument 'num_clases'.*Did you mean 'num_classes'.*run"
    ):
        check(saved(call=f"{__name__}:Task", num_clases=3, num_classes=3))
    with pytest.raises(ConfigError, match=r"There is no 'Tusk'.* Did you mean 'Task'"):
        check(saved(call=f"{__name__}:Tusk", num_classes=3))


def test_the_root_may_be_required():
    check(spec(Task, num_classes=3), Task)
    check(spec(Net, width=3), nn.Module)
    with pytest.raises(ConfigError, match=r"it must be a call of .*:Task, not .*:Net"):
        check(spec(Net, width=3), Task)
    with pytest.raises(ConfigError, match="not no call"):
        check(ConfigDict({"a": 1}), Task)


def test_a_flag_is_named_as_the_origin():
    config = override(spec(untyped, a=0), [f"b={__name__}:Task()"])
    with pytest.raises(ConfigError, match=rf"b\.num_classes: missing value.*\(flag --config\.b={__name__}:Task"):
        check(config)


def test_a_plain_config_is_checked_inside():
    with pytest.raises(ConfigError, match=r"a\.b\.num_classes: wants int"):
        check(ConfigDict({"a": {"b": spec(Task, num_classes="x")}, "c": 3}))


def test_a_config_that_holds_itself_is_refused():
    config = ConfigDict()
    config.me = config
    with pytest.raises(ConfigError, match="nested deeper"):
        check(config)


def test_neither_jax_nor_flax_is_imported_and_a_mistake_shows_fast():
    code = """
import sys
from jaxdl.config import check, load, override, show, spec, to_json
import statistics
try:
    check(override(spec(statistics.NormalDist, mu="x"), ["sigma=2"]))
except Exception as error:
    print(error)
print(sorted({"jax", "flax", "numpy", "optax"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_no_device_is_touched(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("a device was touched")

    for name in ("devices", "local_devices", "device_count", "default_backend"):
        monkeypatch.setattr(jax, name, refuse)
    check(spec(All, module=spec(nn.Dense, features=3), rate=spec(optax.constant_schedule, value=1.0)))
