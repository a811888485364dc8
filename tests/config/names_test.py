import json
import sys
from types import ModuleType

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import linen as nn
from hypothesis import example, given, settings
from hypothesis import strategies as st

import jaxdl.metrics  # noqa: F401, so that a near name is known.
from jaxdl.config import build, check, flatten, from_json, override, spec
from jaxdl.config._names import is_reference, name_of, nearest, resolve
from jaxdl.errors import ConfigError

HOSTILE = [
    "os:system",
    "posix:system",
    "subprocess:Popen",
    "builtins:eval",
    "builtins:exec",
    "builtins:__import__",
    "importlib:import_module",
    "pickle:loads",
    "shutil:rmtree",
    "pathlib:Path",
    "antigravity:fly",
    "jax:pure_callback",
    "jax.experimental:io_callback",
    "jax.numpy:load",
    "jax.numpy:save",
    "jax.numpy:fromfile",
    "jax.profiler:start_server",
    "jax.distributed:initialize",
    "flax.serialization:msgpack_restore",
    "flax.training.checkpoints:restore_checkpoint",
    "flax.linen.module:dataclasses.field",
    "flax.linen.summary:io.open",
    "flax:linen.Dense",
    "flax.linen:module.sys",
    "flax.linen:module.os.system",
    "flax.linen:initializers.jnp.load",
    "flax.linen:__builtins__",
    "flax.linen:__loader__.load_module",
    "flax.linen:Dense.__init__.__globals__",
    "flax.linen:Dense.__subclasses__",
    "flax.linen:Dense.mro",
    "jax.nn:__spec__.loader",
    "jax.nn:initializers.np.load",
    "jax.nn:_unknown",
    "optax:_src.base.jax",
    "optax._src.alias:adam",
    "optax:assignment.np",
    "optax:OptState",
    "optax:Schedule",
    "jaxdl:config.load",
    "jaxdl.config:load",
    "jaxdl.config:build",
    "jaxdl.config:importlib.import_module",
    "jaxdl.config._load:load",
    "jaxdl.config._names:importlib.import_module",
    "jaxdl.config.provenance:subprocess.run",
    "jaxdl.config.provenance:revision",
    "jaxdl.__main__:main",
    "jaxdl.trees:re.compile",
    "jaxdl.trees:Any",
    "jaxdl.rng:zlib.crc32",
    "jaxdl.rng:jax.devices",
    "jaxdl.rng:stream.__globals__",
    "jaxdl.types:np.load",
    "jaxdl.types:Protocol",
    "jaxdl.types:Array",
    "jaxdl.metrics.mean:struct.dataclass",
    "jaxdl.metrics.mean:jnp.load",
    "jaxdl.errors:ConfigError.with_traceback",
    "jaxdl..trees:names",
    "jaxdl/trees:names",
    "jaxdl.trees",
    "jaxdl.trees:",
    ":names",
    "",
    "jaxdl.trees:names:more",
    "jaxdl.trees:names()",
    "jaxdl.trees:names\n",
    "jaxdl.trees:nаmes",  # A Cyrillic letter.
    "jaxdlx:names",
    "jaxdl_evil.models:Net",
    "optaxx:adam",
    "../evil:run",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_saved_config_cannot_name(name):
    before = set(sys.modules)
    with pytest.raises(ConfigError):
        resolve(name, ())
    opened = {module.split(".")[0] for module in set(sys.modules) - before}
    assert opened <= {"jaxdl", "jax", "flax", "optax"}
    for read in (
        lambda tree: build(tree, allow=()),
        lambda tree: check(tree, allow=()),
        lambda tree: override(tree, ["a=1"], allow=()),
    ):
        with pytest.raises(ConfigError):
            read(from_json_of({"call": name, "a": 0}))
    if name:
        with pytest.raises(ConfigError):
            build(from_json_of({"x": ({"call": name},)}), allow=())


def from_json_of(data):
    return from_json(json.dumps({"version": 1, "config": data, "origins": {}}))


def test_a_module_outside_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "canary_package.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="--allow canary_package"):
        resolve("canary_package:f", ())
    assert "canary_package" not in sys.modules


@pytest.mark.parametrize(
    ("name", "obj"),
    [
        ("jax.nn:gelu", jax.nn.gelu),
        ("jax.nn:tanh", jax.nn.tanh),
        ("jax.nn.initializers:lecun_normal", jax.nn.initializers.lecun_normal),
        ("flax.linen:Dense", nn.Dense),
        ("flax.linen:relu", nn.relu),
        ("jax.numpy:bfloat16", jnp.bfloat16),
    ],
)
def test_a_saved_config_may_name(name, obj):
    assert resolve(name, ()) is obj


@pytest.mark.parametrize("name", ["jaxdl.metrics.mean:Mean", "jaxdl.metrics.mean:Mean.of", "optax:nadam", "optax:sgd"])
def test_a_saved_config_may_name_what_jaxdl_and_optax_offer(name):
    assert callable(resolve(name, ()))


def test_allow_opens_a_package_and_nothing_else():
    assert resolve("fractions:Fraction", ("fractions",)).__name__ == "Fraction"
    with pytest.raises(ConfigError, match="it comes from decimal"):
        resolve("fractions:Decimal", ("fractions",))
    with pytest.raises(ConfigError, match="goes through the module"):
        resolve("fractions:sys.exit", ("fractions",))
    with pytest.raises(ConfigError, match="it is private"):
        resolve("fractions:_operator_fallbacks", ("fractions",))
    assert resolve("jaxdl.config:load", ("jaxdl.config",)).__name__ == "load"


@settings(max_examples=200, deadline=None)
@given(st.from_regex(r"[a-z_]{1,8}(\.[a-z_]{1,6}){0,2}:[a-zA-Z_]{1,8}(\.[a-z_]{1,6}){0,1}", fullmatch=True) | st.text())
@example("this:d")
def test_any_other_name_is_refused_and_imports_nothing(name):
    before = set(sys.modules)
    with pytest.raises(ConfigError):
        resolve(name, ())
    assert set(sys.modules) == before


def test_names_round_trip_and_mistakes_are_explained():
    assert resolve(name_of(nn.Dense)) is nn.Dense
    with pytest.raises(ConfigError, match=r"There is no 'gelo' in jax\.nn\. Did you mean 'gelu'\?"):
        resolve("jax.nn:gelo")
    with pytest.raises(ConfigError, match=r"The module jaxdl\.metrix cannot be imported.* Did you mean 'metrics'\?"):
        resolve("jaxdl.metrix:Mean")
    with pytest.raises(ConfigError, match="not the name of a function"):
        build(from_json_of({"call": "math:pi"}))


def test_nearest_lists_what_there_is():
    assert nearest("zzz", ["b", "a"]) == " There are: a, b."
    assert nearest("zzz", ["b", "a"], show=False) == ""
    assert nearest("zzz", []) == ""


def test_public_names_are_open_to_saved_configs():
    for fn in (nn.Dense, jax.nn.gelu, nn.relu, nn.tanh, jax.nn.initializers.he_normal):
        assert resolve(name_of(fn), ()) is fn


@pytest.mark.parametrize("module", [nn, optax], ids=lambda module: module.__name__)
def test_what_a_public_callable_writes_down_is_open_to_saved_configs(module):
    written = 0
    for name in sorted(
        set(vars(module)) - {"MaskOrFn", "OptState", "Params", "ScalarOrSchedule", "Schedule", "Updates"}
    ):
        fn = getattr(module, name)
        if name.startswith("_") or not callable(fn) or isinstance(fn, ModuleType):
            continue
        try:
            leaves = flatten(spec(fn))
        except ConfigError:
            continue
        for leaf in leaves:
            value = leaf.value if leaf.key == "call" else leaf.value[1:] if is_reference(leaf.value) else None
            if value is not None:
                written += 1
                resolve(value, ())
    assert written > 50
