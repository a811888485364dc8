"""A decoder gives the same numbers on one device and on meshes that split more than its rows."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxdl.data import Pipeline
from jaxdl.data.text import PackedRows, TokenStream
from jaxdl.inspection import collectives
from jaxdl.learners import supervised
from jaxdl.models import GPT2, Llama
from jaxdl.optim import optimizer, sgd
from jaxdl.parallel import abstract_state, batch_sharding, make_mesh, shard
from jaxdl.tasks import LanguageModeling
from jaxdl.train import Experiment, train
from jaxdl.train import program as programs

pytestmark = pytest.mark.slow
STEPS = 4
TOKENS = np.random.default_rng(0).integers(0, 32, 2_000).astype(np.uint16)
STARTS = np.arange(0, 2_000, 25)
STREAM = TokenStream(tokens=TOKENS, spans=np.ones(2_000, np.uint16), starts=STARTS, vocabulary_size=32)
MODELS = {
    "gpt2": GPT2(vocab_size=32, max_length=16, features=16, num_layers=2, num_heads=4, dropout_rate=0.1),
    "llama": Llama(vocab_size=32, features=16, num_layers=2, num_heads=4, num_kv_heads=2, hidden=32),
    "scanned": Llama(vocab_size=32, features=16, num_layers=2, num_heads=4, num_kv_heads=2, hidden=32, scan=True),
    "mixture": Llama(
        vocab_size=32, features=16, num_layers=2, num_heads=4, hidden=32, num_experts=4, expert_capacity=1.5
    ),
}


def losses_and_state(devices, model, **changes):
    experiment = Experiment(
        steps=STEPS,
        model=MODELS["llama" if model == "packed" else model],
        task=LanguageModeling(vocabulary_size=32, packed=model == "packed"),
        optimizer=optimizer(rule=sgd(momentum=0.9), learning_rate=0.1, clip_norm=1.0),
        train=Pipeline(source=PackedRows(stream=STREAM, length=16), batch_size=8),
        log_every=1,
        steps_per_dispatch=1,
    )
    rows = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "make_mesh", lambda axes: make_mesh(axes, jax.devices()[:devices]))
        patch.setattr("jaxdl.train.reporter.Reporter.train_row", lambda self, step, values: rows.append(values["loss"]))
        state = train(dataclasses.replace(experiment, **changes), quiet=True).state
    return np.array(rows), state


@pytest.fixture(scope="module")
def alone():
    return {name: losses_and_state(1, name) for name in (*MODELS, "packed")}


@pytest.mark.parametrize(
    ("model", "mesh"),
    [
        ("gpt2", {"tensor": 4, "data": 2}),
        ("gpt2", {"sequence": 8}),
        ("llama", {"tensor": 2, "fsdp": 2, "sequence": 2}),
        ("llama", {"tensor": 8}),
        ("scanned", {"tensor": 2, "fsdp": 4}),
        ("llama", {"stage": 2, "data": 4}),
        ("llama", {"stage": 2, "fsdp": 2, "tensor": 2}),
        ("llama", {"stage": 2, "data": 2, "sequence": 2}),
        ("packed", {"stage": 2, "data": 4}),
        ("packed", {"sequence": 4, "data": 2}),
        ("mixture", {"expert": 4, "data": 2}),
        ("mixture", {"expert": 2, "tensor": 2, "sequence": 2}),
        ("mixture", {"stage": 2, "expert": 4}),
    ],
    ids=str,
)
def test_every_mesh_gives_the_numbers_of_one_device(alone, model, mesh):
    losses, one = alone[model]
    many_losses, many = losses_and_state(8, model, mesh=mesh)
    assert len(many_losses) == STEPS
    np.testing.assert_allclose(many_losses, losses, rtol=2e-5)
    for a, b in zip(jax.tree.leaves(one.params), jax.tree.leaves(many.params), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_tensor_parallelism_splits_the_kernels_and_their_momentum():
    _, state = losses_and_state(8, "llama", mesh={"tensor": 2, "fsdp": 4}, steps=1)
    layer = state.params["layers"]["block_0"]
    expected = {
        ("attention", "query"): P("fsdp", "tensor"),
        ("attention", "out"): P("tensor", "fsdp"),
        ("feedforward", "gate"): P("fsdp", "tensor"),
        ("feedforward", "down"): P("tensor", "fsdp"),
    }
    for (part, name), spec in expected.items():
        kernel = layer[part][name]["kernel"]
        assert kernel.sharding.spec == spec
        assert kernel.addressable_shards[0].data.size == kernel.size // 8
        owned = [leaf for leaf in jax.tree.leaves(state.opt_state) if leaf.shape == kernel.shape]
        assert any(leaf.sharding.spec == spec for leaf in owned)
    assert state.params["token_embedding"]["embedding"].sharding.spec == P("tensor", "fsdp")
    assert state.params["final_norm"]["scale"].sharding.spec == P("fsdp")


def test_experts_are_split_and_their_tokens_sent_to_them():
    model = MODELS["mixture"]
    batch = {name: jax.ShapeDtypeStruct((8, 16), np.int32) for name in ("tokens", "targets", "token_mask")}
    batch["mask"] = jax.ShapeDtypeStruct((8,), np.float32)
    mesh = make_mesh({"expert": 4, "data": 2})
    learner = supervised(model, LanguageModeling(vocabulary_size=32), optimizer(rule=sgd(), learning_rate=0.1))
    state = abstract_state(learner, jax.random.key(0), batch, mesh)
    experts = state.params["layers"]["block_0"]["experts"]
    assert {experts[name]["kernel"].sharding.spec for name in ("up", "gate", "down")} == {P("expert", None, None)}
    placed = {k: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=batch_sharding(mesh)) for k, x in batch.items()}
    text = shard(learner, state, mesh).step.lower(state, placed).compile().as_text()
    sent = [one for one in collectives(text) if one.kind == "all-to-all"]
    assert sum(one.count for one in sent) >= 2 * 2 * 2
