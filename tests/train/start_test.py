"""A new run that starts from weights which exist."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxdl import config as configs
from jaxdl import trees
from jaxdl.checkpoint import restore_part
from jaxdl.errors import CheckpointError, ConfigError
from jaxdl.interop import InitFrom
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Experiment, train
from jaxdl.train.program import prepare
from jaxdl.train.start import begin


@pytest.fixture(scope="module")
def first_run(experiment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "first"
    train(experiment(steps=20, ema_decay=0.9), folder, quiet=True)
    return folder


@pytest.fixture(scope="module")
def averaged(first_run):
    """The parameters that the first run would predict with."""
    return restore_part(first_run / "checkpoints", "extras/average/.*").state["extras"]["average"]["params"]


def start(experiment):
    program = prepare(experiment)
    return program, begin(experiment, program)


def init_from(run, **changes):
    return InitFrom(path=str(run), **changes)


def test_a_run_folder_is_taken_over_but_for_the_head(experiment, first_run, averaged):
    skip = ("head/.*",)
    changed = experiment(
        init_from=init_from(first_run, skip=skip), ema_decay=0.5, model=MLP(num_classes=10, widths=(16,))
    )
    program, beginning = start(changed)
    flat = trees.flatten(beginning.state.params)
    fresh = trees.flatten(program.initial_state().params)
    for name, leaf in flat.items():
        expected = fresh[name] if name.startswith("head") else trees.flatten(averaged)[name]
        np.testing.assert_array_equal(leaf, expected, err_msg=name)
    average = beginning.state.extras["average"]["params"]
    jax.tree.map(np.testing.assert_array_equal, average, beginning.state.params)
    assert json.loads(beginning.record["init.json"])["count"]["skipped"] == 2


def test_a_head_of_another_size_is_refused_skipped_or_filled(experiment, first_run, averaged):
    other = experiment(model=MLP(num_classes=12, widths=(16,)), task=Classification(num_classes=12))
    with pytest.raises(CheckpointError, match=r"misshapen.*head/bias"):
        start(dataclasses.replace(other, init_from=init_from(first_run)))
    program, beginning = start(dataclasses.replace(other, init_from=init_from(first_run, resize=("head/.*",))))
    head, fresh = beginning.state.params["head"]["kernel"], program.initial_state().params["head"]["kernel"]
    np.testing.assert_array_equal(head[:, :10], averaged["head"]["kernel"])
    np.testing.assert_array_equal(head[:, 10:], fresh[:, 10:])


def test_parameters_lie_where_the_mesh_wants_them(experiment, first_run, averaged):
    sharded = experiment(mesh={"data": 2, "fsdp": 4}, init_from=init_from(first_run))
    program, beginning = start(sharded)
    jax.tree.map(lambda leaf, like: _same_sharding(leaf, like), beginning.state, program.state)
    jax.tree.map(np.testing.assert_array_equal, beginning.state.params, averaged)
    assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(beginning.state.params))


def _same_sharding(leaf, like):
    assert leaf.sharding.is_equivalent_to(like.sharding, leaf.ndim)


@pytest.mark.parametrize("changes", [{"mapping": "pmap"}, {"steps_per_dispatch": 4, "resident": True}])
def test_it_starts_so_however_steps_run(experiment, first_run, averaged, changes):
    frozen = tuple(f"{name}/.*" for name in averaged if name != "head")
    outcome = train(experiment(steps=4, init_from=init_from(first_run), frozen=frozen, **changes), quiet=True)
    for name in set(averaged) - {"head"}:
        jax.tree.map(np.testing.assert_array_equal, outcome.state.params[name], averaged[name])


def test_the_optimizer_keeps_copies_of_the_loaded_parameters(experiment, first_run, averaged):
    import optax

    def keeping():
        return optax.GradientTransformation(lambda params: params, lambda updates, state, params=None: (updates, state))

    chained = optax.chain(keeping(), optimizer(rule=adam(), learning_rate=1e-3))
    _, beginning = start(experiment(optimizer=chained, init_from=init_from(first_run), frozen=("head/.*",)))
    kept = beginning.state.opt_state[0]
    assert set(kept) == set(averaged) - {"head"}
    jax.tree.map(np.testing.assert_array_equal, kept, {name: averaged[name] for name in kept})


def test_training_keeps_the_report_and_frozen_weights_and_resuming_does_not_read_again(
    experiment, first_run, averaged, tmp_path, capsys
):
    frozen = tuple(f"{name}/.*" for name in averaged if name != "head")
    source = tmp_path / "source"
    source.symlink_to(first_run)
    changed = experiment(steps=20, init_from=init_from(source, skip=("head/.*",)), frozen=frozen)
    outcome = train(changed, tmp_path / "second")
    said = capsys.readouterr().err
    assert f"Initialised from {source}" in said
    assert "skipped" in said
    for name in set(averaged) - {"head"}:
        jax.tree.map(np.testing.assert_array_equal, outcome.state.params[name], averaged[name])
    report = json.loads((tmp_path / "second" / "init.json").read_text())
    assert report["path"] == str(source)
    source.unlink()
    again = train(dataclasses.replace(changed, steps=40), tmp_path / "second", quiet=True)
    assert again.step == 40
    straight = train(
        dataclasses.replace(changed, steps=40, init_from=init_from(first_run, skip=("head/.*",))), quiet=True
    )
    jax.tree.map(np.testing.assert_array_equal, again.state.params, straight.state.params)


def test_a_missing_file_is_said_before_anything_is_compiled(experiment, tmp_path, monkeypatch):
    changed = experiment(init_from=init_from(tmp_path / "nowhere"))
    program = prepare(changed)
    monkeypatch.setattr(type(program), "initial_state", lambda self: pytest.fail("compiled"))
    with pytest.raises(CheckpointError, match="nowhere"):
        begin(changed, program)


def test_part_of_a_model_is_filled_from_a_whole_one(experiment, first_run, averaged):
    import flax.linen as nn

    class Wrapped(nn.Module):
        @nn.compact
        def __call__(self, image, *, train):
            return MLP(num_classes=10, widths=(16,), name="backbone")(image, train=train)

    _, beginning = start(experiment(model=Wrapped(), init_from=init_from(first_run, into="backbone")))
    jax.tree.map(np.testing.assert_array_equal, beginning.state.params["backbone"], averaged)
    with pytest.raises(ConfigError, match=r"bakbone.*backbone"):
        start(experiment(model=Wrapped(), init_from=init_from(first_run, into="bakbone")))


def test_a_config_says_it_and_is_saved():
    written = configs.spec(
        InitFrom, path="runs/a", skip=("head/.*",), resize=(("position_embedding", "grid"), "x"), layout="bert"
    )
    configs.check(written, InitFrom)
    again = configs.build(configs.from_json(configs.to_json(written)), allow=())
    assert again == InitFrom(
        path="runs/a", skip=("head/.*",), resize=(("position_embedding", "grid"), "x"), layout="bert"
    )
    tree = configs.override(configs.spec(Experiment, init_from=configs.spec(InitFrom)), ["init_from.path=b"])
    assert tree.init_from.path == "b"


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match="path"):
        InitFrom(path="")
    with pytest.raises(ConfigError, match="brt"):
        InitFrom(path="x", layout="brt")
    with pytest.raises(ConfigError, match="regular expression"):
        InitFrom(path="x", skip=("(",))
