import json
import subprocess
import sys

import pytest

from jaxdl.cli import VERBS, split_overrides
from jaxdl.errors import ConfigError

HEAVY = ("jax", "numpy", "flax", "optax", "orbax", "grain", "ml_collections", "tensorflow", "PIL", "sklearn")


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("train", "--help"), ()])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys\nfrom jaxdl.cli import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_package_imports_nothing_heavy():
    code = f"import sys, jaxdl\nprint([name for name in {HEAVY!r} if name in sys.modules], jaxdl.__version__)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] 0.")


def test_help_names_every_verb_and_exit_code(jaxdl):
    code, out, _ = jaxdl("--help")
    assert code == 0
    for text in (*VERBS, "65", "66", "70", "74", "75"):
        assert text in out
    assert jaxdl()[:2] == (0, out)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(jaxdl, verb):
    code, out, _ = jaxdl(verb, "--help")
    assert code == 0
    assert f"usage: jaxdl {verb}" in out
    assert VERBS[verb][1:40] in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fly",), "invalid choice: 'fly'"),
        (("train",), "--config"),
        (("train", "--config", "x.py", "--workdir", "w", "--bogus"), "--bogus"),
        (("train", "--config", "x.py", "--workdir", "w", "--cpu-devices", "0"), "'0' is not a whole number"),
        (("train", "--config.steps"), "--config.steps needs a value"),
        (("train", "--config.steps", "--workdir", "w"), "--config.steps needs a value"),
        (("predict", "x.png", "--workdir", "w", "--batch-size", "-1"), "'-1' is not a whole number"),
        (("predict", "x.png", "--workdir", "w", "--config.steps=3"), "predict takes no --config.key=value flags"),
        (("list", "flowers"), "There is no kind 'flowers'; there are models"),
    ],
)
def test_wrong_arguments_are_told_in_a_line(jaxdl, arguments, message):
    code, out, err = jaxdl(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_overrides_may_be_written_in_two_ways():
    words = ["train", "--config.a=1", "--config.b.c", "-2", "--config.d=x=y", "--config", "f.py"]
    assert split_overrides(words) == (["train", "--config", "f.py"], ["a=1", "b.c=-2", "d=x=y"])
    with pytest.raises(ConfigError):
        split_overrides(["--config.a"])


def test_list_names_what_there_is(jaxdl):
    code, out, err = jaxdl("list")
    assert (code, err) == (0, "")
    for name in ("LeNet", "ResNet", "MLP", "Classification", "digits", "adam", "cosine", "RandomCrop", "EarlyStopping"):
        assert f"  {name} " in out
    for line in filter(None, out.splitlines()):
        assert line.endswith(")") or len(line.split(maxsplit=1)) == 2
    code, models, _ = jaxdl("list", "models")
    assert code == 0
    assert "adam" not in models


def test_doctor_finds_what_matters(jaxdl):
    code, out, _ = jaxdl("doctor")
    assert code == 0
    for text in ("jax ", "devices", "8 x cpu", "compile cache", "disk", "distributed environment"):
        assert text in out
    code, out, _ = jaxdl("doctor", "--json")
    assert code == 0
    assert json.loads(out)


def test_config_prints_every_value_and_its_origin(jaxdl, config):
    code, out, err = jaxdl("config", "--config", f"{config}:48", "--config.steps=7")
    assert (code, err) == (0, "")
    assert "small.py:" in out
    assert "48" in out
    assert any("steps" in line and "7" in line and "--config.steps" in line for line in out.splitlines())
    code, out, _ = jaxdl("config", "--config", config, "--json")
    assert code == 0
    assert json.loads(out)["config"]["steps"] == 120


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--config.stepz=3",), "Did you mean 'steps'?"),
        (("--config.steps=three",), "steps"),
        (("--config.model.width=3",), "Did you mean 'widths'?"),
        (("--config.mapping=shard",), "mapping"),
    ],
)
def test_a_wrong_config_value_is_told_in_a_line(jaxdl, config, flags, message):
    for verb in (("config",), ("train", "--workdir", "never")):
        code, out, err = jaxdl(*verb, "--config", config, *flags)
        assert (code, out) == (2, "")
        assert message in err
        assert "Traceback" not in err


def test_a_missing_config_is_told_in_a_line(jaxdl, config):
    code, _, err = jaxdl("config", "--config", config.with_name("smal.py"))
    assert code == 2
    assert "Did you mean" in err
