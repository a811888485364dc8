import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from jaxdl.config import build, check, flatten, from_json, override, ref, show, spec, to_json
from jaxdl.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Net:
    depth: int
    width: int = 8
    rate: float = 0.1
    bias: bool = True
    kind: Literal["pre", "post"] = "pre"
    activation: Callable[..., Any] = jax.nn.relu
    name: str = "net"
    note: str | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    sizes: tuple[int, ...] = (1, 2)
    limit: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiny:
    depth: int
    size: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    model: Net | Tiny
    rate: float | Callable[..., Any] = 0.1
    steps: int = 100
    warmup: int = 10
    layers: Sequence[Net | Tiny] = ()
    evals: Mapping[str, Tiny] = dataclasses.field(default_factory=dict)
    mesh: dict[str, int] = dataclasses.field(default_factory=dict)
    rules: Sequence[tuple[str, float]] = ()
    rule: object = None
    extra: Any = None
    loose: Tiny | None = None


def loose(a=1, b=None, c=0.5):
    return a, b, c


NET, TINY = f"{__name__}:Net", f"{__name__}:Tiny"


def config():
    steps = ref(1000)
    return spec(
        Run,
        model=spec(Net, depth=3),
        steps=steps,
        warmup=steps // 10,
        layers=(spec(Net, depth=1), spec(Tiny, depth=2)),
        evals=dict(test=spec(Tiny, depth=4)),
        mesh=dict(data=-1),
        rules=((".*bias", 0.0), (".*", 0.1)),
        rule=spec(optax.sgd, learning_rate=0.1),
    )


GOOD = [
    ("model.depth=5", lambda run: run.model.depth, 5),
    ("model.depth=5.0", lambda run: run.model.depth, 5),
    ("model.rate=1", lambda run: run.model.rate, 1.0),
    ("model.rate=1e-3", lambda run: run.model.rate, 0.001),
    ("model.bias=false", lambda run: run.model.bias, False),
    ("model.kind=post", lambda run: run.model.kind, "post"),
    ("model.activation=jax.nn:gelu", lambda run: run.model.activation, jax.nn.gelu),
    ("model.activation=@jax.nn:gelu", lambda run: run.model.activation, jax.nn.gelu),
    ("model.name=123", lambda run: run.model.name, "123"),
    ("model.name=true", lambda run: run.model.name, "true"),
    ("model.name=(a|b).*", lambda run: run.model.name, "(a|b).*"),
    ("model.name=a=b", lambda run: run.model.name, "a=b"),
    ("model.name=''", lambda run: run.model.name, ""),
    ("model.note=null", lambda run: run.model.note, None),
    ("model.note='null'", lambda run: run.model.note, "null"),
    ("model.note=some words", lambda run: run.model.note, "some words"),
    ("model.betas=(0.5, 1)", lambda run: run.model.betas, (0.5, 1.0)),
    ("model.betas=[0.5, 1]", lambda run: run.model.betas, (0.5, 1.0)),
    ("model.betas.1=1", lambda run: run.model.betas, (0.9, 1.0)),
    ("model.sizes=()", lambda run: run.model.sizes, ()),
    ("model.sizes=(3, 4.0, 5)", lambda run: run.model.sizes, (3, 4, 5)),
    ("model.limit=7", lambda run: run.model.limit, 7),
    ("model.limit=null", lambda run: run.model.limit, None),
    (f"model={TINY}", lambda run: run.model, Tiny(depth=3)),
    (f"model={TINY}(size=2)", lambda run: run.model, Tiny(depth=3, size=2.0)),
    (f"model.call={TINY}", lambda run: run.model, Tiny(depth=3)),
    (f"model={NET}(depth=9)", lambda run: run.model, Net(depth=9)),
    ("layers.1.size=3", lambda run: run.layers, (Net(depth=1), Tiny(depth=2, size=3.0))),
    (f"layers.0={TINY}(depth=7)", lambda run: run.layers, (Tiny(depth=7), Tiny(depth=2))),
    (f"layers=({TINY}(depth=7),)", lambda run: run.layers, (Tiny(depth=7),)),
    ("evals.test.size=5", lambda run: run.evals, {"test": Tiny(depth=4, size=5.0)}),
    (f"evals={{a: {TINY}(depth=1)}}", lambda run: run.evals, {"a": Tiny(depth=1)}),
    ("mesh.data=4", lambda run: run.mesh, {"data": 4}),
    ("mesh={data: 2, fsdp: 4}", lambda run: run.mesh, {"data": 2, "fsdp": 4}),
    ("rules.0.1=1", lambda run: run.rules, ((".*bias", 1.0), (".*", 0.1))),
    (r"rules=(('.*\.bias', 0),)", lambda run: run.rules, ((r".*\.bias", 0.0),)),
    ("rate=3", lambda run: run.rate, 3.0),
    ("rate=math:sqrt", lambda run: run.rate(4), 2.0),
    ("steps=50", lambda run: (run.steps, run.warmup), (50, 5)),
    ("warmup=50", lambda run: (run.steps, run.warmup), (1000, 50)),
    ("--config.steps=50", lambda run: run.steps, 50),
    ("config.steps=50", lambda run: run.steps, 50),
    ("extra=(1, {a: [true, x]})", lambda run: run.extra, (1, {"a": (True, "x")})),
    (f"loose={TINY}(depth=1)", lambda run: run.loose, Tiny(depth=1)),
    ("rule=null", lambda run: run.rule, None),
]


@pytest.mark.parametrize(("setting", "read", "value"), GOOD, ids=[setting for setting, _, _ in GOOD])
def test_sets(setting, read, value):
    original = config()
    before = to_json(original)
    changed = override(original, [setting])
    check(changed)
    found = read(build(changed))
    assert found == value
    assert type(found) is type(value)
    assert to_json(original) == before


BAD = [
    ("stepz=1", "stepz", "Did you mean 'steps'?"),
    ("step=1", "step", "Did you mean 'steps'?"),
    ("Steps=1", "Steps", "Did you mean 'steps'?"),
    ("steps.x=1", "steps.x", "nothing below it"),
    ("nonsense=1", "nonsense", "Valid here: evals, extra, layers"),
    ("depth=1", "depth", "Did you mean 'evals.test.depth' or 'layers.0.depth'"),
    ("model.depht=1", "model.depht", "Did you mean 'depth'?"),
    ("model.size=1", "model.size", "'layers.1.size'"),
    ("models.depth=1", "models.depth", "Did you mean 'model'?"),
    ("model.optimizer.rate=1", "model.optimizer.rate", "has no argument 'optimizer'"),
    ("evals.tset.size=1", "evals.tset.size", "Did you mean 'test'?"),
    ("evals.new=1", "evals.new", "Valid here: test"),
    ("mesh.fsdp=1", "mesh.fsdp", "Valid here: data"),
    ("layers.2.depth=1", "layers.2.depth", "keys 0 to 1"),
    ("layers.-1.depth=1", "layers.-1.depth", "keys 0 to 1"),
    ("layers.x=1", "layers.x", "keys 0 to 1"),
    ("layers.0.size=1", "layers.0.size", "has no argument 'size'"),
    ("layers.0=3", "layers.0", "set its arguments one by one"),
    ("layers.00000000000=3", "layers.00000000000", "keys 0 to 1"),
    ("layers=3", "layers", "wants Sequence"),
    ("layers=abc", "layers", "wants Sequence"),
    ("layers=(3,)", "layers", "item 0 wants Net or Tiny, not 3"),
    ("steps=abc", "steps", "wants int, not 'abc'"),
    ("steps=1.5", "steps", "wants int, not 1.5"),
    ("steps=true", "steps", "wants int, not True"),
    ("steps=null", "steps", "wants int, not None"),
    ("steps=(1,)", "steps", "wants int, not (1,)"),
    ("steps={a: 1}", "steps", "wants int, not"),
    ("steps=1,000", "steps", "wants int, not '1,000'"),
    ("steps=", "steps", "no value after '='"),
    ("steps", "'steps'", "not of the form key=value"),
    ("=5", "''", "is not a key"),
    ("a..b=5", "'a..b'", "is not a key"),
    (".steps=5", "'.steps'", "is not a key"),
    ("steps.=5", "'steps.'", "is not a key"),
    ("st\x1beps=5", "st", "is not a key"),
    ("rate=nan", "rate", "nan is not a finite number"),
    ("rate=-inf", "rate", "-inf is not a finite number"),
    ("rate=1e400", "rate", "not a finite number"),
    ("rate=0.1.2", "rate", "wants float or a function (@module:name), not '0.1.2'"),
    ("rate=0,1", "rate", "wants float"),
    ("rate=fast", "rate", "wants float"),
    ("rate=false", "rate", "wants float"),
    ("steps=1111111111111111111111", "steps", "does not fit in 64 bits"),
    ("model.bias=1", "model.bias", "wants bool, not 1"),
    ("model.bias=yes", "model.bias", "wants bool, not 'yes'"),
    ("model.kind=pst", "model.kind", "did you mean 'post'?"),
    ("model.kind=Pre", "model.kind", "wants 'pre' or 'post'"),
    ("model.kind=null", "model.kind", "wants 'pre' or 'post'"),
    ("model.betas=(1,)", "model.betas", "wants 2 items"),
    ("model.betas=(1, 2, 3)", "model.betas", "wants 2 items"),
    ("model.betas=0.9", "model.betas", "wants tuple[float, float], not 0.9"),
    ("model.betas=(a, 1)", "model.betas", "item 0 wants float, not 'a'"),
    ("model.betas=(1, nan)", "model.betas", "not a finite number"),
    ("model.betas=(1, 2", "model.betas", "should be here"),
    ("model.betas.0=x", "model.betas.0", "wants float, not 'x'"),
    ("model.betas.0.1=1", "model.betas.0.1", "model.betas.0 is 0.9 (float)"),
    ("model.sizes=(1, 2.5)", "model.sizes", "item 1 wants int, not 2.5"),
    ("model.sizes=12", "model.sizes", "wants tuple[int, ...], not 12"),
    ("model.limit=abc", "model.limit", "wants int or None, not 'abc'"),
    ("model.activation=gelu", "model.activation", "such as @jax.nn:gelu"),
    ("model.activation=jax.nn:gelo", "model.activation", "Did you mean 'gelu'?"),
    ("model.activation=@jax.nnn:gelu", "model.activation", "cannot be imported"),
    ("model.activation=3", "model.activation", "wants a function"),
    ("model.name='open", "model.name", "end of a string"),
    ("model.name=", "model.name", "no value after"),
    ("model=resnet", "model", "replace it by module:name(argument=value), not by 'resnet'"),
    ("model=3", "model", "set its arguments one by one"),
    ("model={depth: 4}", "model", "set its arguments one by one"),
    ("model=null", "model", "wants Net or Tiny, not None"),
    (f"model={NET}(dept=3)", "model", "Did you mean 'depth'?"),
    (f"model={NET}(depth=x)", "model", "argument 'depth'"),
    (f"model={NET}(3)", "model", "keyword=value should be here"),
    (f"model={NET}(depth=3", "model", "should be here"),
    (f"model={NET}x(depth=3)", "model", "There is no 'Netx'"),
    ("model=no_such_module:Net()", "model", "cannot be imported"),
    ("model=math:pi()", "model", "not the name of a function"),
    (f"call={NET}", "call", "choose another config file"),
    ("model.call=3", "model.call", "set its arguments one by one"),
    ("evals=3", "evals", "wants Mapping"),
    ("evals={a: 3}", "evals", "item 'a' wants Tiny, not 3"),
    ("mesh={data: x}", "mesh", "item 'data' wants int, not 'x'"),
    ("mesh.data=1.5", "mesh.data", "wants int, not 1.5"),
    ("mesh={a.b: 1}", "mesh", "without dots"),
    ("rules=((bias, 0.1, 3),)", "rules", "wants 2 items"),
    ("rules.0.1=x", "rules.0.1", "wants float"),
    ("loose=3", "loose", "wants Tiny or None, not 3"),
    ("rule.learning_rat=1", "rule.learning_rat", "Did you mean 'learning_rate'?"),
    ("rule.nesterov=3", "rule.nesterov", "wants bool, not 3"),
    ("rule=adam", "rule", "replace it by module:name"),
    ("extra=" + "(" * 9 + ")" * 9, "extra", "nested deeper than 8"),
    ("extra=" + "x" * 70000, "extra", "too long"),
    ("loose.depth=3", "loose.depth", "loose is None, so there is nothing below it"),
    (".".join(["model"] * 99) + "=1", "model.model", "is not a key"),
]


@pytest.mark.parametrize(("setting", "key", "hint"), BAD, ids=[setting[:40] for setting, _, _ in BAD])
def test_refuses(setting, key, hint):
    original = config()
    before = to_json(original)
    with pytest.raises(ConfigError) as caught:
        override(original, [setting])
    assert key in str(caught.value)[:200]
    assert hint in str(caught.value)
    assert len(str(caught.value)) < 500
    assert to_json(original) == before


def test_lists_every_problem():
    with pytest.raises(ConfigError) as caught:
        override(config(), ["stepz=1", "model.depth=2", "model.kind=x", "oops"])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "'oops' is not of the form key=value.",
        "stepz",
        "model.kind",
    ]


def test_a_key_given_twice_is_refused():
    with pytest.raises(ConfigError, match="steps is given twice, as '1' and as '2'"):
        override(config(), ["steps=1", "--config.steps=2"])


def test_a_whole_spec_is_set_before_its_parts():
    changed = override(config(), ["model.size=4", f"model={TINY}"])
    assert build(changed).model == Tiny(depth=3, size=4.0)


def test_the_flag_becomes_the_origin_of_all_it_changed():
    changed = override(config(), ["steps=50", "model.betas.1=0.5", f"layers.0={TINY}(depth=7)"])
    origins = {leaf.key: leaf.origin for leaf in flatten(changed)}
    assert origins["steps"] == origins["warmup"] == "flag --config.steps=50"
    assert origins["model.betas"] == "flag --config.model.betas.1=0.5"
    assert origins["layers.0.depth"] == f"flag --config.layers.0={TINY}(depth=7)"
    assert origins["layers.0.size"] == f"default of {TINY}"
    assert origins["layers.1.size"] == f"default of {TINY}"


def test_a_kept_argument_keeps_its_origin():
    changed = override(config(), [f"model={TINY}"])
    origins = {leaf.key: leaf.origin for leaf in flatten(changed)}
    assert "override_test.py" in origins["model.depth"]


def test_entries_of_a_plain_config_keep_their_type():
    plain = ConfigDict({"lr": 0.1, "steps": 5, "name": "x", "none": None, "model": spec(Tiny, depth=1)})
    changed = override(plain, ["lr=1", "name=7", "none=3", "model.size=2"])
    assert (changed.lr, changed.name, changed.none) == (1.0, "7", 3)
    assert build(changed)["model"] == Tiny(depth=1, size=2.0)
    for setting in ("lr=x", "steps=0.5", "name.x=1", "new=1"):
        with pytest.raises(ConfigError):
            override(plain, [setting])


def test_arguments_without_annotations_take_anything():
    changed = override(spec(loose), ["a=x", "b=(1, 2)", "c=null"])
    assert build(changed) == ("x", (1, 2), None)


def test_a_shared_spec_is_two_specs():
    shared = spec(Tiny, depth=1)
    run = spec(Run, model=shared, evals=dict(a=shared))
    changed = build(override(run, ["model.depth=2"]))
    assert changed.model.depth == 2
    assert changed.evals["a"].depth == 1


def test_a_saved_config_is_not_overridden_with_names_from_outside():
    saved = from_json(to_json(spec(optax.sgd, learning_rate=0.1)))
    assert override(saved, ["learning_rate=0.2"], allow=()).learning_rate == 0.2
    assert "optax:constant_schedule" in show(
        override(saved, ["learning_rate=optax:constant_schedule(value=1)"], allow=())
    )
    with pytest.raises(ConfigError, match="--allow os"):
        override(saved, ["learning_rate=os:system(command=x)"], allow=())
    with pytest.raises(ConfigError, match="--allow os"):
        override(saved, ["momentum=@os:system"], allow=())


@settings(max_examples=60, deadline=None)
@given(
    depth=st.integers(-(2**62), 2**62),
    rate=st.floats(allow_nan=False, allow_infinity=False),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    sizes=st.lists(st.integers(0, 99), max_size=3).map(tuple),
    limit=st.none() | st.integers(0, 9),
)
def test_every_shown_line_sets_its_value(depth, rate, name, sizes, limit):
    wanted = spec(Net, depth=depth, rate=rate, name=name, sizes=sizes, limit=limit)
    lines = [line.split("  # ")[0] for line in show(wanted).splitlines() if not line.startswith("call")]
    flags = [f"{line.partition(' = ')[0].strip()}={line.partition(' = ')[2].strip()}" for line in lines]
    if "  # " not in name:
        assert build(override(spec(Net), flags)) == build(wanted)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("model.dpth=0123456789()[]{}:,'\"@ -e") | st.characters(), max_size=30))
def test_any_text_is_set_or_refused(text):
    try:
        changed = override(spec(Tiny, depth=1), [text])
    except ConfigError:
        return
    check(changed)


def test_flags_that_disagree_about_one_value_are_refused():
    steps = ref(10)
    config = spec(Pair, first=steps, second=steps)
    with pytest.raises(
        ConfigError, match=r"first and second are one value \(a ref\), so they cannot become '1' and '2'"
    ):
        override(config, ["first=1", "second=2"])
    assert override(config, ["first=3", "second=3"]).to_dict()["second"] == 3


class Pair:
    def __init__(self, first: int = 0, second: int = 0):
        self.first, self.second = first, second
