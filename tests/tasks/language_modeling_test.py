import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import ConfigError, DataError
from jaxdl.metrics import add
from jaxdl.nn import Routed, Routing, load_balance_loss, router_z_loss
from jaxdl.tasks import LanguageModeling

TASK = LanguageModeling(vocabulary_size=7)


def batch(rows=4, length=5, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "tokens": rng.integers(0, 7, (rows, length), np.int32),
        "targets": rng.integers(0, 7, (rows, length), np.int32),
        "token_mask": rng.integers(0, 2, (rows, length)).astype(np.float32),
        "segments": np.ones((rows, length), np.int32),
        "positions": np.zeros((rows, length), np.int32),
        "target_bytes": rng.integers(0, 4, (rows, length), np.int32),
        "mask": np.array([1] * (rows - 1) + [0], np.float32),
    }


def logits(rows=4, length=5):
    return 2 * jax.random.normal(jax.random.key(0), (rows, length, 7))


def test_the_loss_is_torchs_mean_over_tokens():
    torch = pytest.importorskip("torch")
    data, outputs = batch(), logits()
    counted = (data["token_mask"] * data["mask"][:, None]).astype(bool)
    targets = torch.tensor(np.where(counted, data["targets"], -100)).long().reshape(-1)
    theirs = torch.nn.functional.cross_entropy(torch.tensor(np.asarray(outputs)).reshape(-1, 7), targets)
    loss, metrics = TASK.score(outputs, data)
    np.testing.assert_allclose(loss.compute(), theirs, rtol=1e-6)
    right = (np.argmax(outputs, -1) == data["targets"])[counted]
    np.testing.assert_allclose(metrics["accuracy"].compute(), right.mean(), rtol=1e-6)


def test_measures_of_parts_add_to_those_of_the_whole():
    data, outputs = batch(), logits()
    whole = TASK.measure(outputs, data)
    halves = [
        TASK.measure(outputs[rows], {name: x[rows] for name, x in data.items()}) for rows in (slice(0, 1), slice(1, 4))
    ]
    for name, metric in add(*halves).items():
        np.testing.assert_allclose(metric.compute(), whole[name].compute(), rtol=1e-5)
    nll = whole["nll"].compute()
    np.testing.assert_allclose(whole["perplexity"].compute(), math.exp(nll), rtol=1e-5)
    weight = data["token_mask"] * data["mask"][:, None]
    bits = nll * weight.sum() / math.log(2) / (data["target_bytes"] * weight).sum()
    np.testing.assert_allclose(whole["bits_per_byte"].compute(), bits, rtol=1e-5)


def test_bits_per_byte_do_not_depend_on_the_tokenizer():
    """A uniform model over 256 byte tokens, and over 256 ** 2 pairs of bytes, both need 8 bits a byte."""
    for size, width in ((256, 1), (65_536, 2)):
        data = batch(1, 3) | {"target_bytes": np.full((1, 3), width), "token_mask": np.ones((1, 3)), "mask": np.ones(1)}
        measured = LanguageModeling(vocabulary_size=size).measure(jnp.zeros((1, 3, size)), data)
        np.testing.assert_allclose(measured["bits_per_byte"].compute(), 8, rtol=1e-6)


def test_packed_rows_bring_their_documents():
    assert set(TASK.inputs(batch())) == {"tokens"}
    packed = LanguageModeling(vocabulary_size=7, packed=True)
    assert set(packed.inputs(batch())) == {"tokens", "segments", "positions"}


def test_tokens_outside_the_vocabulary_are_named():
    data = batch()
    data["targets"][2, 1] = 7
    data["tokens"][0, 0] = -1
    assert [row for row, _ in TASK.check(data)] == [0, 2]
    assert "7 is outside the vocabulary [0, 7)" in TASK.check(data)[1][1]
    with pytest.raises(DataError, match="needs 'targets'"):
        TASK.check({"tokens": data["tokens"] * 0})
    with pytest.raises(ConfigError, match="vocab_size=7"):
        TASK.score(jnp.zeros((4, 5, 6)), data)


@pytest.mark.parametrize("options", [{"vocabulary_size": 1}, {"label_smoothing": 1.0}])
def test_settings_out_of_range(options):
    with pytest.raises(ValueError, match="must be"):
        LanguageModeling(**{"vocabulary_size": 7, **options})


def routed(rows=4, length=5):
    probability = jax.nn.softmax(jax.random.normal(jax.random.key(1), (2, rows, 3)))
    layers = [
        Routing(
            assigned=jnp.round(5 * one),
            probability=length * one,
            squared_log_partition=jnp.arange(1.0, rows + 1),
            tokens=jnp.full(rows, float(length)),
            dropped=jnp.array([1.0] * rows),
        )
        for one in probability
    ]
    return Routed(logits(rows, length), tuple(layers))


def test_routers_add_their_losses_and_parts_still_add_up():
    data, outputs = batch(), routed()
    task = LanguageModeling(vocabulary_size=7, balance_factor=0.5, router_z_factor=0.25)
    plain, _ = TASK.score(outputs.outputs, data)
    whole, metrics = task.score(outputs, data)
    weight = np.asarray((data["token_mask"] * data["mask"][:, None]).sum(axis=1))
    balance, z = (
        np.mean([loss(layer, by_row=True) for layer in outputs.routing], axis=0)
        for loss in (load_balance_loss, router_z_loss)
    )
    added = np.average(0.5 * balance + 0.25 * z, weights=weight)
    np.testing.assert_allclose(whole.compute(), plain.compute() + added, rtol=1e-5)
    np.testing.assert_allclose(metrics["balance"].compute(), np.average(balance, weights=weight), rtol=1e-5)
    real = weight > 0
    chosen = sum(float(layer.assigned[real].sum()) for layer in outputs.routing)
    np.testing.assert_allclose(metrics["dropped"].compute(), 2 * real.sum() / chosen, rtol=1e-5)
    halves = [
        task.score(jax.tree.map(lambda x, rows=rows: x[rows], outputs), {k: x[rows] for k, x in data.items()})[0]
        for rows in (slice(0, 1), slice(1, 4))
    ]
    np.testing.assert_allclose(add(*halves).compute(), whole.compute(), rtol=1e-5)


def test_measures_and_predictions_are_those_of_the_outputs_alone():
    data, outputs = batch(), routed()
    found, plain = TASK.measure(outputs, data), TASK.measure(outputs.outputs, data)
    for name, metric in plain.items():
        np.testing.assert_allclose(found[name].compute(), metric.compute(), rtol=1e-6)
    np.testing.assert_array_equal(TASK.decode(outputs)["token"], TASK.decode(outputs.outputs)["token"])
