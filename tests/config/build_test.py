import dataclasses
import json
import sys

import flax.linen as nn
import jax
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.config import build, from_json, override, ref, spec, to_json
from jaxdl.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf:
    value: object = None
    other: object = ()

    def __post_init__(self):
        if self.value == "bad":
            raise ValueError("value must not be bad")
        if self.value == "data":
            raise DataError("the file is missing")
        if self.value == "bug":
            raise KeyError("a bug")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree:
    left: object = None
    right: object = None
    many: tuple = ()
    table: dict = dataclasses.field(default_factory=dict)


plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4)
)
leaves = st.builds(lambda value, other: (Leaf, {"value": value, "other": other}), plain, st.tuples(plain, plain))
trees = st.builds(
    lambda left, right, many: (Tree, {"left": left, "right": right, "many": many}),
    leaves,
    plain,
    st.lists(leaves, max_size=2).map(tuple),
)


def written(call):
    if isinstance(call, tuple) and call and isinstance(call[0], type):
        return spec(call[0], **{name: written(value) for name, value in call[1].items()})
    return tuple(map(written, call)) if isinstance(call, tuple) else call


def made(call):
    if isinstance(call, tuple) and call and isinstance(call[0], type):
        return call[0](**{name: made(value) for name, value in call[1].items()})
    return tuple(map(made, call)) if isinstance(call, tuple) else call


def saved(**fields):
    return from_json(json.dumps({"version": 1, "config": fields, "origins": {}}))


@settings(max_examples=60, deadline=None)
@given(trees)
def test_building_a_spec_is_making_the_call(call):
    assert build(written(call)) == made(call)
    assert build(from_json(to_json(written(call)))) == made(call)


def test_plain_parts_become_plain_python():
    built = build(spec(Tree, left={"a": {"b": [1, (2,)]}}, right=jax.nn.relu, table={"k": spec(Leaf, value=ref(3))}))
    assert built == Tree(left={"a": {"b": (1, (2,))}}, right=jax.nn.relu, table={"k": Leaf(value=3)})
    assert type(built.left) is dict
    assert build(3) == 3
    assert build([spec(Leaf, value=1)]) == (Leaf(value=1),)


def test_real_modules_and_optimizers():
    assert build(spec(nn.Dense, features=3)) == nn.Dense(features=3)
    made = build(spec(optax.sgd, learning_rate=spec(optax.constant_schedule, value=0.5)))
    updates, _ = made.update({"w": jax.numpy.ones(2)}, made.init({"w": jax.numpy.ones(2)}))
    assert updates["w"].tolist() == [-0.5, -0.5]


def test_each_build_is_new_and_leaves_the_config_alone():
    config = spec(Tree, left=spec(Leaf), table={"a": 1})
    before = to_json(config)
    assert build(config).table is not build(config).table
    assert to_json(config) == before


@pytest.mark.parametrize(
    ("config", "key"),
    [
        (lambda: spec(Leaf, value="bad"), "config"),
        (lambda: spec(Tree, left=spec(Leaf, value="bad")), "left"),
        (lambda: spec(Tree, many=(1, spec(Tree, right=spec(Leaf, value="bad")))), "many.1.right"),
        (lambda: spec(Tree, table={"a": spec(Leaf, value="bad")}), "table.a"),
    ],
)
def test_a_refused_argument_names_its_key_and_line(config, key):
    with pytest.raises(ConfigError) as caught:
        build(config())
    message = f"{key}: {__name__}:Leaf refuses its arguments: value must not be bad (tests/config/build_test.py:"
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_refusal_after_a_flag_still_names_the_spec():
    with pytest.raises(ConfigError, match=r"left: .* value must not be bad \(tests"):
        build(override(spec(Tree, left=spec(Leaf, value="good")), ["left.value=bad"]))


def test_a_missing_argument_and_an_unknown_one():
    with pytest.raises(ConfigError, match=r"refuses its arguments: .*missing 1 required"):
        build(spec(nn.Dense))
    with pytest.raises(ConfigError, match=r"unexpected keyword argument 'x'"):
        build(saved(call=f"{__name__}:Leaf", x=1))


def test_other_errors_pass():
    with pytest.raises(DataError, match="the file is missing"):
        build(spec(Leaf, value="data"))
    with pytest.raises(KeyError):
        build(spec(Leaf, value="bug"))


def test_a_saved_config_needs_leave_for_code_from_elsewhere():
    config = from_json(to_json(spec(Tree, left=spec(nn.Dense, features=1), right=jax.nn.gelu)))
    package = __name__.partition(".")[0]
    with pytest.raises(ConfigError, match=f"If you trust this config and its code, add --allow {package}"):
        build(config, allow=())
    assert build(config, allow=(package,)) == build(config)
    assert build(config["left"], allow=()) == nn.Dense(features=1)


def test_a_function_value_of_a_saved_config_needs_leave_too():
    config = saved(f=["@os:system"], g="@shutil:rmtree")
    with pytest.raises(ConfigError, match="--allow os"):
        build(config, allow=())
    with pytest.raises(ConfigError, match="--allow shutil"):
        build(config, allow=("os", "posix"))


def test_a_hostile_file_beside_a_saved_config_is_not_run(tmp_path, monkeypatch):
    (tmp_path / "config.py").write_text("raise SystemExit('ran')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("config:get_config", "jaxdl.config:load", "jaxdl.config._load:load"):
        with pytest.raises(ConfigError):
            build(saved(call=name, path_and_arg="config.py"), allow=())
    assert "config" not in sys.modules
