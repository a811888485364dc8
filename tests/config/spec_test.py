import dataclasses
import functools
import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from jaxdl.config import build, check, flatten, override, ref, spec
from jaxdl.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    num_classes: int
    smoothing: float = 0.0
    name: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Holder:
    items: tuple = ()
    table: dict | None = None
    fn: object = None
    task: Task | None = None


@dataclasses.dataclass(frozen=True)
class Defaults:
    task: Task = Task(num_classes=3)
    made: Task = dataclasses.field(default_factory=lambda: Task(num_classes=4))
    mesh: dict = dataclasses.field(default_factory=lambda: {"data": -1})
    init: object = dataclasses.field(default_factory=object)


class Pair(NamedTuple):
    left: int
    right: float


class Plain:
    def __init__(self, size: int, *, scale: float = 1.0):
        self.size, self.scale = size, scale


class Net(nn.Module):
    width: int
    activation: object = nn.relu


def anything(required, **others):
    return required, others


def by_position(x, /):
    return x


def takes_call(call=1):
    return call


def odd_default(init=math.sqrt, limit=float("inf"), items=(), fresh=object()):  # noqa: B008
    return init, limit, items, fresh


def test_a_spec_holds_the_name_and_all_arguments():
    config = spec(Task, num_classes=3)
    assert isinstance(config, ml_collections.ConfigDict)
    assert config.is_locked
    assert config.to_dict() == {"call": f"{__name__}:Task", "num_classes": 3, "smoothing": 0.0, "name": None}


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (optax.adam, "optax:adam"),
        (optax.nadam, "optax:nadam"),
        (optax.contrib.muon, "optax.contrib:muon"),
        (nn.Dense, "flax.linen:Dense"),
        (jax.nn.gelu, "jax.nn:gelu"),
        (nn.relu, "jax.nn:relu"),
        (jax.nn.initializers.lecun_normal, "jax.nn.initializers:lecun_normal"),
        (Task, f"{__name__}:Task"),
    ],
)
def test_the_name_is_public(fn, name):
    assert spec(fn).call == name


def test_linen_modules_show_no_parent_and_no_name():
    config = spec(Net, width=4)
    assert set(config) == {"call", "width", "activation"}
    assert config.activation == "@jax.nn:relu"
    assert build(config) == Net(width=4, activation=jax.nn.relu)


def test_classes_functions_and_open_keywords():
    assert build(spec(Plain, size=2)).size == 2
    assert build(spec(anything, required=1, extra=(1, 2))) == (1, {"extra": (1, 2)})


def test_a_default_that_is_not_data_is_left_to_the_callable():
    config = spec(odd_default)
    assert set(config) == {"call", "init", "items"}
    assert build(config) == odd_default()


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: spec(Task, num_clases=3), "has no argument 'num_clases'. Did you mean 'num_classes'?"),
        (lambda: spec(Net, widht=3), "Did you mean 'width'?"),
        (lambda: spec(Net, parent=None), "has no argument 'parent'"),
        (lambda: spec(optax.adam, lr=1e-3), "optax:adam has no argument 'lr'"),
        (lambda: spec(Task, call="os:system"), "has no argument 'call'"),
        (lambda: spec(Task, num_classes=np.zeros(3)), "argument 'num_classes': A config cannot hold array"),
        (lambda: spec(Task, num_classes=object()), "A config cannot hold <object"),
        (lambda: spec(Task, name=b"bytes"), "A config cannot hold b'bytes'"),
        (lambda: spec(Task, num_classes=lambda: 3), "top level of a module"),
        (lambda: spec(Task, num_classes=functools.partial(Task, num_classes=1)), "top level of a module"),
        (lambda: spec(lambda x: x, x=1), "top level of a module"),
        (lambda: spec(by_position, x=1), "takes x by position only"),
        (lambda: spec(takes_call), "argument named 'call'"),
        (lambda: spec(Holder, table={1: 2}), "must be a printable string without dots, not 1"),
        (lambda: spec(Holder, table={"a.b": 2}), "without dots, not 'a.b'"),
        (lambda: spec(Holder, table={"\x1b[2J": 2}), "printable"),
    ],
)
def test_what_cannot_be_written_is_refused_on_its_line(write, message):
    with pytest.raises(ConfigError) as caught:
        write()
    assert message in str(caught.value)
    assert f"spec_test.py:{write.__code__.co_firstlineno}" in str(caught.value)


def test_a_value_that_holds_itself_is_refused():
    table = {}
    table["self"] = table
    with pytest.raises(ConfigError, match="nested deeper"):
        spec(Holder, table=table)


def test_values_become_plain():
    config = spec(Holder, items=[1, [np.int64(2), np.float32(0.5)]], table={"fn": jax.nn.relu, "dtype": jnp.float32})
    assert config["items"] == (1, (2, 0.5))
    assert type(config["items"][1][0]) is int
    assert config.table.fn == "@jax.nn:relu"
    assert build(config).table["dtype"] is jnp.float32


def test_a_required_argument_may_come_later():
    config = spec(Task)
    assert "num_classes" not in config
    with pytest.raises(ConfigError, match="num_classes: missing value"):
        check(config)
    config.num_classes = 4
    check(config)
    assert build(config) == Task(num_classes=4)
    assert build(override(spec(Task), ["num_classes=5"])) == Task(num_classes=5)


def test_a_locked_spec_takes_no_new_names():
    config = spec(Task, num_classes=1)
    with pytest.raises(AttributeError, match="smoothing"):
        config.smothing = 0.1


def test_a_spec_inside_a_tuple_is_locked():
    config = spec(Holder, items=(spec(Task, num_classes=1),))
    assert config["items"][0].is_locked


def test_values_may_change_type_until_checked():
    config = spec(Holder, task=spec(Task, num_classes=1))
    config.task = None
    config.task = spec(Task, num_classes=2)
    config.table = {"a": spec(Task, num_classes=3)}
    assert build(config) == Holder(task=Task(num_classes=2), table={"a": Task(num_classes=3)})


def test_a_reference_moves_everything_that_uses_it():
    size = ref(10)
    config = spec(Holder, task=spec(Task, num_classes=size), items=(size // 2, spec(Task, num_classes=size * 2)))
    changed = override(config, ["task.num_classes=20"])
    assert build(changed) == Holder(task=Task(num_classes=20), items=(10, Task(num_classes=40)))
    assert build(config) == Holder(task=Task(num_classes=10), items=(5, Task(num_classes=20)))


def test_placeholders_of_ml_collections_work():
    config = spec(Holder, table={"may": ml_collections.config_dict.placeholder(int)})
    assert build(config).table == {"may": None}
    assert build(override(config, ["table.may=3"])).table == {"may": 3}


def test_a_required_placeholder_is_refused():
    must = ml_collections.config_dict.required_placeholder(int)
    with pytest.raises(ConfigError, match="Leave a required argument out"):
        spec(Task, num_classes=must)


def test_the_text_of_a_config_shows_specs_in_tuples():
    assert '"num_classes": 7' in str(spec(Holder, items=(spec(Task, num_classes=7),)))


def test_defaults_that_are_dataclasses_or_made_anew_can_be_overridden():
    config = spec(Defaults)
    assert "init" not in config
    changed = override(config, ["task.smoothing=0.5", "made.num_classes=9", "mesh.data=2"])
    built = build(changed)
    assert (built.task, built.made) == (Task(num_classes=3, smoothing=0.5), Task(num_classes=9))
    assert built.mesh == {"data": 2}
    check(changed)
    origins = {leaf.key: leaf.origin for leaf in flatten(changed)}
    assert origins["task.num_classes"] == f"default of {__name__}:Defaults"
    assert origins["made.num_classes"] == "flag --config.made.num_classes=9"


def test_an_instance_of_a_dataclass_becomes_its_spec():
    config = spec(Holder, task=Task(num_classes=5), fn=Net(width=3))
    assert config.task.call == f"{__name__}:Task"
    assert build(config) == Holder(task=Task(num_classes=5), fn=Net(width=3))
    pair = build(spec(Holder, items=(Pair(1, 2.0), 3))).items[0]
    assert (type(pair), pair) == (Pair, Pair(1, 2.0))
