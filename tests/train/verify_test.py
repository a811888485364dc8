"""Verification: what it finds equal, and that it finds what is not."""

import dataclasses

import flax.linen as nn
import jax
import pytest

from jaxdl.cli import main
from jaxdl.errors import ConfigError
from jaxdl.models import MLP
from jaxdl.train.verify import Comparison, verify_parallel, ways

AXES = ("data", "fsdp", "tensor", "sequence", "expert", "stage")
NAMES = ["its own mesh", *AXES, "data and fsdp", "fsdp, tensor and sequence", "stage, fsdp and tensor"]


@pytest.mark.slow
def test_every_way_gives_the_numbers_of_one_device(experiment):
    found = list(verify_parallel(experiment(model=MLP(num_classes=10, widths=(16,)))))
    assert [one.name for one in found] == [*NAMES, "accumulation", "rematerialisation"]
    assert [one.name for one in found if one.spread] == NAMES
    assert all(one.skipped is None for one in found)
    assert all(one.within(1e-5) for one in found), found
    assert any(one.loss > 0 or one.params > 0 for one in found), "they are not the same program"


def test_what_draws_for_a_microbatch_is_not_compared(experiment):
    dropping = experiment(model=MLP(num_classes=10, widths=(8,), dropout_rate=0.5))
    found = {one.name: one for one in verify_parallel(dropping, steps=1, devices=jax.devices()[:1])}
    assert "dropout" in found["accumulation"].skipped
    assert found["rematerialisation"].skipped is None
    assert found["rematerialisation"].within(1e-5)


class Wrong(nn.Module):
    """A model whose output depends on how many devices there are."""

    devices: int

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.Dense(10, name="head")(image.reshape(len(image), -1))
        return x * (1 + 1e-2 * self.devices)


def test_a_difference_is_found(experiment, monkeypatch):
    import jaxdl.train.verify as verify

    right = verify.prepare

    def spoilt(one, devices):
        return right(dataclasses.replace(one, model=Wrong(devices=one.microbatches)), devices)

    monkeypatch.setattr(verify, "prepare", spoilt)
    found = {one.name: one for one in verify_parallel(experiment(), steps=1, devices=jax.devices()[:1])}
    assert found["rematerialisation"].within(1e-5)
    assert not found["accumulation"].within(1e-3)
    assert found["accumulation"].worst.startswith("head/")


def test_its_own_mesh_comes_first_and_must_fit(experiment):
    own = experiment(mesh={"data": 4, "fsdp": -1}, model=MLP(num_classes=10, widths=(8,)))
    first = next(verify_parallel(own, steps=1))
    assert (first.name, first.skipped) == ("its own mesh", None)
    assert first.within(1e-5)
    with pytest.raises(ConfigError, match="foo"):
        next(verify_parallel(experiment(mesh={"foo": 8}), steps=1))


def test_an_error_of_jax_is_no_way_that_was_not_run(experiment, monkeypatch):
    import jaxdl.train.verify as verify

    right = verify.prepare

    def broken(one, devices):
        if len(devices) > 1:
            raise ValueError("from the midst of JAX")
        return right(one, devices)

    monkeypatch.setattr(verify, "prepare", broken)
    with pytest.raises(ValueError, match="midst"):
        list(verify_parallel(experiment(), steps=1))


def test_nothing_spread_is_nothing_proved(capsys, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    flags = [
        "--config",
        "configs/vision/digits_mlp.py",
        "--devices",
        "2",
        "--steps",
        "1",
        "--config.train.batch_size=31",
    ]
    assert main(["verify", "parallel", *flags]) == 1
    told = capsys.readouterr()
    assert "Nothing was spread over the 2 devices" in told.err
    assert "All " not in told.out


def test_what_is_not_finite_is_never_within():
    assert not Comparison(name="x", loss=float("inf")).within(1e30)
    assert set(ways(2)) == {
        "data",
        "fsdp",
        "tensor",
        "sequence",
        "expert",
        "stage",
        "data and fsdp",
        "accumulation",
        "rematerialisation",
    }


@pytest.mark.slow
def test_the_command_prints_a_table_and_fails_past_the_tolerance(capsys, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    flags = ["--config", "configs/vision/digits_mlp.py", "--devices", "2", "--steps", "2"]
    assert main(["verify", "parallel", *flags]) == 0
    out = capsys.readouterr().out
    assert "data and fsdp" in out
    assert "All within 0.0001 of one device, over 2 steps." in out
    assert main(["verify", "parallel", *flags, "--tolerance", "1e-30"]) == 1
    assert "apart from one device" in capsys.readouterr().err
