import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data import Pipeline
from jaxdl.data.text import PairRows, Records, characters
from jaxdl.errors import ConfigError, DataError
from jaxdl.learners import Precision, supervised
from jaxdl.models import MLP, RecurrentSeq2Seq
from jaxdl.models.t5 import T5
from jaxdl.models.transformer import Transformer
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Translation, TranslationReport

pytestmark = pytest.mark.slow  # Many programs to compile.

BEGIN, END, PAD, SIZE = 2, 3, 0, 9
TASK = Translation(vocabulary_size=SIZE, beams=1, longest=1.0, spare=2)
MODELS = {
    "transformer": Transformer(vocab_size=SIZE, features=16, num_layers=1, num_heads=2, hidden=16, dropout_rate=0.0),
    "t5": T5(vocab_size=SIZE, features=16, num_layers=1, num_heads=2, head_dim=8, hidden=16, dropout_rate=0.0),
    "bahdanau": RecurrentSeq2Seq(vocab_size=SIZE, embedding_dim=8, features=8),
    "luong": RecurrentSeq2Seq(
        vocab_size=SIZE, embedding_dim=8, features=8, style="luong", score="general", kind="lstm", input_feeding=True
    ),
}


def batch(rows=3, width=5, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, width + 1, (rows, 2))
    mask = (np.arange(width)[None, :, None] < lengths[:, None]).astype(np.float32)
    targets = random.integers(4, SIZE, (rows, width)).astype(np.int32)
    return {
        "tokens": random.integers(4, SIZE, (rows, width)).astype(np.int32),
        "token_mask": mask[..., 0],
        "targets": targets,
        "targets_in": np.concatenate([np.full((rows, 1), BEGIN, np.int32), targets[:, :-1]], axis=1),
        "target_mask": mask[..., 1],
        "mask": np.ones(rows, np.float32),
    }


@functools.cache
def trained(name):
    """A model with random variables that are large enough to prefer some tokens."""
    model = MODELS[name]
    variables = model.init(jax.random.key(1), **TASK.inputs(batch()), train=False)
    return model, jax.tree.map(lambda leaf: leaf * 3, variables)


def chance(name, row, ids):
    """The log-probability of a translation, its end included, by the whole model at once."""
    model, variables = trained(name)
    inputs = {
        "tokens": row["tokens"],
        "token_mask": row["token_mask"],
        "targets": jnp.asarray([[BEGIN, *ids]], jnp.int32),
    }
    logits = model.apply(variables, **inputs, train=False)
    return float(sum(jax.nn.log_softmax(logits[0])[place, token] for place, token in enumerate([*ids, END])))


@pytest.mark.parametrize("name", MODELS)
def test_greedy_predictions_are_those_of_the_whole_model(name):
    model, variables = trained(name)
    data = batch()
    found = TASK.decode(jax.jit(functools.partial(TASK.predict, model))(variables, data))
    assert found["tokens"].shape == (3, 7)
    whole = jax.jit(functools.partial(model.apply, train=False))
    for row in range(3):
        ids = [BEGIN]
        most = int(data["token_mask"][row].sum()) + 2
        while len(ids) <= most and (len(ids) == 1 or ids[-1] != END):
            # Padded to one shape, behind what was made so far.
            targets = np.asarray([ids + [PAD] * (8 - len(ids))], np.int32)
            inputs = {name: data[name][row : row + 1] for name in ("tokens", "token_mask")}
            logits = whole(variables, **inputs, targets=targets)
            ids.append(int(jnp.argmax(logits[0, len(ids) - 1])))
        expected = [token for token in ids[1:] if token != END]
        length = int(found["length"][row])
        assert found["tokens"][row, :length].tolist() == expected
        assert set(found["tokens"][row, length:].tolist()) <= {PAD}


@pytest.mark.parametrize("name", ["transformer", "bahdanau"])
def test_beams_find_the_likeliest_of_all_translations(name):
    # With as many beams as two tokens can make, nothing is cut off.
    task = dataclasses.replace(TASK, beams=8, longest=0.2, spare=1, length_penalty=0.0)
    model, variables = trained(name)
    data = batch(rows=2)
    found = task.decode(jax.jit(functools.partial(task.predict, model))(variables, data))
    assert found["tokens"].shape == (2, 2)
    for number in range(2):
        row = {key: value[number : number + 1] for key, value in data.items()}
        others = [token for token in range(SIZE) if token != END]
        ended = {ids: chance(name, row, ids) for ids in [(), *((token,) for token in others)]}
        length = int(found["length"][number])
        ids = tuple(found["tokens"][number, :length].tolist())
        if length < 2:
            assert found["score"][number] == pytest.approx(ended[ids], abs=1e-4)
            assert ended[ids] == pytest.approx(max(ended.values()), abs=1e-4)
        assert float(found["score"][number]) >= max(ended.values()) - 1e-4


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("name", MODELS)
def test_a_translation_depends_on_nothing_but_its_own_source(name, beams):
    # Of so many tokens the end is seldom the likeliest, so that most rows go on until they are stopped.
    model, lengths = MODELS[name].clone(vocab_size=50), [12, 3, 7, 1]
    task = Translation(vocabulary_size=50, beams=beams, longest=1.5, spare=2)
    variables = model.init(jax.random.key(1), **task.inputs(batch()), train=False)
    variables = jax.tree.map(lambda leaf: leaf * 2.5, variables)

    def rows(numbers, width):
        tokens, mask = np.full((len(numbers), width), 7, np.int32), np.zeros((len(numbers), width), np.float32)
        for row, number in enumerate(numbers):
            ids = np.random.default_rng(number).integers(4, 50, lengths[number])
            tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
        return {"tokens": tokens, "token_mask": mask}

    predict = jax.jit(functools.partial(task.predict, model))
    found = [predict(variables, rows(range(4), width)) for width in (12, 32)]
    found += [
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *(predict(variables, rows([n], 32)) for n in range(4)))
    ]
    assert any(int(found[0].lengths[row]) == int(1.5 * lengths[row]) + 2 for row in (1, 2, 3))
    for one in found:
        assert all(length <= int(1.5 * own) + 2 for length, own in zip(one.lengths, lengths))
        np.testing.assert_array_equal(one.lengths, found[0].lengths)
        np.testing.assert_array_equal(one.tokens[:, :20], found[0].tokens)
        assert (np.asarray(one.tokens[:, 20:]) == PAD).all()
        np.testing.assert_allclose(one.scores, found[0].scores, atol=1e-4)


def test_the_loss_is_a_mean_over_real_tokens():
    data = batch()
    data["mask"] = np.asarray([1, 0, 1], np.float32)
    logits = np.random.default_rng(1).normal(size=(3, 5, SIZE)).astype(np.float32)
    logs = np.asarray(jax.nn.log_softmax(logits))
    weights = data["target_mask"] * data["mask"][:, None]
    own = np.take_along_axis(logs, data["targets"][..., None], axis=-1)[..., 0]
    nll = -(own * weights).sum() / weights.sum()
    smooth = 0.9 * nll - 0.1 * (logs.mean(axis=-1) * weights).sum() / weights.sum()
    loss, _ = TASK.score(jnp.asarray(logits), data)
    assert float(loss.compute()) == pytest.approx(smooth, rel=1e-5)
    metrics = {name: float(metric.compute()) for name, metric in TASK.measure(jnp.asarray(logits), data).items()}
    right = ((logits.argmax(-1) == data["targets"]) * weights).sum() / weights.sum()
    assert metrics == pytest.approx({"accuracy": right, "nll": nll, "perplexity": np.exp(nll)}, rel=1e-5)


def test_the_learner_predicts_by_the_search_and_evaluates_without_it():
    model, variables = trained("transformer")
    data = batch()
    learner = supervised(model, TASK, optimizer(rule=adam()), precision=Precision(compute="bfloat16"))
    state = learner.init(jax.random.key(0), data).replace(params=variables["params"])
    found = TASK.decode(learner.predict(state, data))
    low = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    np.testing.assert_array_equal(found["tokens"], TASK.predict(model, low, data).tokens)
    assert found["score"].dtype == np.float32
    assert set(learner.evaluate(state, data)) == {"loss", "accuracy", "nll", "perplexity"}


def test_it_learns_to_turn_words_around():
    texts = tuple("".join(letters) for letters in itertools.product("abcd", repeat=3))
    records = Records(fields={"source": texts, "target": tuple(text[::-1] for text in texts)}, places=texts)
    tokenizer = characters(["abcd"])
    rows = PairRows(records=records, tokenizer=tokenizer, widths=(4,))
    size = tokenizer.vocabulary_size
    task = Translation(vocabulary_size=size, label_smoothing=0.0, beams=2, longest=1.0, spare=0)
    model = Transformer(
        vocab_size=size, features=32, num_layers=1, num_heads=2, hidden=64, order="pre", dropout_rate=0.0
    )
    learner = supervised(model, task, optimizer(rule=adam(), learning_rate=5e-3))
    pipeline = Pipeline(source=rows, batch_size=32)
    state = learner.init(jax.random.key(0), pipeline[0])
    step = jax.jit(learner.step)
    for number in range(150):
        state, _ = step(state, pipeline[number])
    everything = {**rows.gather(np.arange(64)), "mask": np.ones(64, np.float32)}
    decoded = task.decode(jax.jit(learner.predict)(state, everything))
    decoded = {name: np.asarray(value) for name, value in decoded.items()}
    report = TranslationReport(tokenizer=tokenizer)
    found = report([(decoded, everything)])
    assert found["chrf"] > 99
    by_text = dataclasses.replace(report, records=records)
    assert by_text([(decoded, everything)]) == found
    assert set(report.names) == set(found) == set(report.signatures)


def test_what_makes_no_sense_is_refused():
    for changes in ({"begin": 9}, {"end": -1}, {"label_smoothing": 1.0}, {"beams": 0}, {"longest": 0.0}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            dataclasses.replace(TASK, **changes)
    with pytest.raises(ConfigError, match="vocab_size=9"):
        TASK.score(jnp.zeros((3, 5, 8)), batch())
    with pytest.raises(ConfigError, match="MLP cannot be searched"):
        TASK.predict(MLP(num_classes=2), {}, batch())
    data = batch()
    assert TASK.check(data) == []
    data["targets"][1, 0] = 9
    data["token_mask"][2] = 0
    assert [row for row, _ in TASK.check(data)] == [1, 2]
    del data["targets_in"]
    with pytest.raises(DataError, match="targets_in"):
        TASK.check(data)
