import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.text import Records, characters
from jaxdl.errors import ConfigError, DataError
from jaxdl.learners import Precision, supervised
from jaxdl.models import MLP
from jaxdl.models.conformer import Conformer
from jaxdl.models.whisper import Whisper
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import CtcTranscription, Transcription, TranscriptionReport
from jaxdl.tasks.transcription import best_path

BEGIN, END, PAD, SIZE = 2, 3, 0, 9
CTC = CtcTranscription(vocabulary_size=SIZE)
WRITTEN = Transcription(vocabulary_size=SIZE, longest=6)
WHISPER = Whisper(
    vocab_size=SIZE, num_mels=4, max_frames=8, max_length=8, features=16, num_layers=1, num_heads=2, hidden=16
)
CONFORMER = Conformer(vocab_size=SIZE, num_mels=4, features=16, num_layers=1, num_heads=2, kernel_size=3)


def batch(rows=3, frames=16, width=4, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(2, width + 1, rows)
    mask = (np.arange(width)[None] < lengths[:, None]).astype(np.float32)
    targets = random.integers(4, SIZE, (rows, width)).astype(np.int32)
    targets[np.arange(rows), lengths - 1] = END
    targets = np.where(mask != 0, targets, PAD).astype(np.int32)
    return {
        "mel": random.normal(size=(rows, frames, 4)).astype(np.float32),
        "lengths": random.integers(frames // 2, frames + 1, rows).astype(np.int32),
        "targets": targets,
        "targets_in": np.concatenate([np.full((rows, 1), BEGIN, np.int32), targets[:, :-1]], axis=1),
        "target_mask": mask,
        "record": np.arange(rows, dtype=np.int32),
        "mask": np.ones(rows, np.float32),
    }


def paths(*texts, frames=12, classes=SIZE):
    """Logits that are sure of one class in each frame."""
    ids = np.zeros((len(texts), frames), np.int64)
    for row, text in zip(ids, texts):
        row[: len(text)] = text
    lengths = jnp.asarray([len(text) for text in texts])
    return {"logits": 20 * jax.nn.one_hot(ids, classes), "lengths": lengths}


def test_repeats_and_blanks_are_taken_out():
    random = np.random.default_rng(0)
    texts = [random.integers(0, 4, length).tolist() for length in (1, 5, 12, 12)]
    outputs = paths(*texts, [0, 0, 0])
    found = CTC.decode(outputs)
    assert found["tokens"].shape == (5, 12)
    for row, text in enumerate([*texts, []]):
        expected = [token for token, _ in itertools.groupby(text) if token != 0]
        assert found["tokens"][row].tolist() == expected + [0] * (12 - len(expected))
        assert found["length"][row] == len(expected)


def test_another_blank_is_another_token():
    tokens, lengths, scores = best_path(
        **{"logits_BSV": paths([5, 0, 5, 0])["logits"], "lengths_B": np.array([4])}, blank=5
    )
    assert (tokens[0, :2].tolist(), tokens[0, 2:].tolist(), lengths.tolist()) == ([0, 0], [5] * 10, [2])
    assert float(scores[0]) == pytest.approx(4 * float(jax.nn.log_softmax(20 * jnp.eye(SIZE)[0])[0]), abs=1e-6)


def test_the_end_token_is_no_label():
    data = batch(rows=2)
    data["targets"] = np.asarray([[5, 5, END, PAD], [7, END, PAD, PAD]], np.int32)
    data["target_mask"] = np.asarray([[1, 1, 1, 0], [1, 1, 0, 0]], np.float32)
    right = paths([5, 0, 5, 5], [0, 7])
    loss, metrics = CTC.score(right, data)
    assert float(loss.compute()) < 1e-3
    assert float(loss.weight) == 3
    assert float(metrics["impossible"].compute()) == 0
    assert float(CTC.measure(right, data)["exact"].compute()) == 1
    for wrong in (paths([5, 5, 5], [0, 7]), paths([5, 0, 5, 7], [0, 7]), paths([5, 0, 5], [7, 3])):
        assert float(CTC.measure(wrong, data)["exact"].compute()) == 0.5
    assert float(CTC.measure(paths([5, 0, 5], [7], frames=3), data)["exact"].compute()) == 1


def test_what_cannot_be_aligned_has_no_loss_and_is_counted():
    data = batch(rows=3)
    data["targets"] = np.asarray([[5, 5, END, PAD]] * 3, np.int32)
    data["target_mask"] = np.asarray([[1, 1, 1, 0]] * 3, np.float32)
    outputs = paths([5, 0, 5], [5, 5], [5, 5])
    loss, metrics = CTC.score(outputs, data)
    assert (float(loss.weight), float(metrics["impossible"].total)) == (2, 2)
    data["mask"] = np.asarray([1, 1, 0], np.float32)
    loss, metrics = CTC.score(outputs, data)
    assert (float(loss.weight), float(metrics["impossible"].total)) == (2, 1)
    gradient = jax.grad(lambda x: CTC.score({**outputs, "logits": x}, data)[0].total)(outputs["logits"])
    assert np.isfinite(gradient).all()
    assert not np.asarray(gradient[1:]).any()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "task"), [(CONFORMER, CTC), (WHISPER, WRITTEN)], ids=["conformer", "whisper"])
def test_a_few_rows_are_learned_by_heart(model, task):
    data = batch(rows=4, frames=16, width=3)
    data["lengths"][:] = 16
    learner = supervised(model, task, optimizer(rule=adam(), learning_rate=3e-3))
    state = learner.init(jax.random.key(0), data)
    step = jax.jit(learner.step)
    for _ in range(200):
        state, _ = step(state, data)
    found = jax.device_get(task.decode(jax.jit(learner.predict)(state, data)))
    for row in range(4):
        expected = data["targets"][row][: int(data["target_mask"][row].sum()) - 1].tolist()
        assert found["tokens"][row, : found["length"][row]].tolist() == expected


@functools.cache
def trained():
    variables = WHISPER.init(jax.random.key(1), **WRITTEN.inputs(batch()), train=False)
    return jax.tree.map(lambda leaf: leaf * 4, variables)


@pytest.mark.slow
def test_greedy_predictions_are_those_of_the_whole_model():
    variables, data = trained(), batch()
    found = WRITTEN.decode(jax.jit(functools.partial(WRITTEN.predict, WHISPER))(variables, data))
    assert found["tokens"].shape == (3, 6)
    whole = jax.jit(functools.partial(WHISPER.apply, train=False))
    for row in range(3):
        ids = [BEGIN]
        while len(ids) <= 6 and (len(ids) == 1 or ids[-1] != END):
            targets = np.asarray([ids + [PAD] * (7 - len(ids))], np.int32)
            logits = whole(variables, data["mel"][row : row + 1], targets)
            ids.append(int(jnp.argmax(logits[0, len(ids) - 1])))
        expected = [token for token in ids[1:] if token != END]
        length = int(found["length"][row])
        assert found["tokens"][row, :length].tolist() == expected
        assert set(found["tokens"][row, length:].tolist()) <= {PAD}


@pytest.mark.slow
def test_beams_are_no_worse_than_greed():
    variables, data = trained(), batch()
    wide = dataclasses.replace(WRITTEN, beams=SIZE - 1, longest=2, length_penalty=0.0)
    greedy = dataclasses.replace(wide, beams=1)
    best, first = (jax.jit(functools.partial(task.predict, WHISPER))(variables, data) for task in (wide, greedy))
    assert (np.asarray(best.scores) >= np.asarray(first.scores) - 1e-4).all()


@pytest.mark.slow
def test_the_learner_predicts_and_evaluates_in_half_precision():
    data = batch()
    for model, task, names in (
        (WHISPER, WRITTEN, {"loss", "accuracy", "nll", "perplexity"}),
        (CONFORMER, CTC, {"loss", "impossible", "exact"}),
    ):
        learner = supervised(model, task, optimizer(rule=adam()), precision=Precision(compute="bfloat16"))
        state = learner.init(jax.random.key(0), data)
        found = task.decode(learner.predict(state, data))
        assert found["score"].dtype == jnp.float32
        assert set(learner.evaluate(state, data)) == names


def report_of(**changes):
    texts = ("ab a", "b")
    records = Records(fields={"text": texts}, places=texts)
    return TranscriptionReport(tokenizer=characters(["ab "]), records=records, **changes)


def test_the_report_counts_over_the_whole_pass():
    report = report_of()
    ids = [report.tokenizer.encode(text) for text in ("a a", "bb")]
    tokens = np.zeros((2, 4), np.int32)
    for row, one in zip(tokens, ids):
        row[: len(one)] = one
    said = report.tokenizer.encode("ab a").tolist()
    data = {
        "record": np.asarray([0, 1]),
        "targets": np.asarray([[*said, END], [report.tokenizer.encode("b")[0], END, 0, 0, 0]]),
        "target_mask": np.asarray([[1] * 5, [1, 1, 0, 0, 0]]),
    }
    decoded = {"tokens": tokens, "length": np.asarray([3, 2])}
    parts = [
        ({name: value[row : row + 1] for name, value in decoded.items()},
         {name: value[row : row + 1] for name, value in data.items()})
        for row in (0, 1)
    ]  # fmt: skip
    expected = {"wer": pytest.approx(100 * 2 / 3), "cer": pytest.approx(100 * 2 / 5)}
    assert report([(decoded, data)]) == expected == report(parts)
    assert report.statistics(parts).shape == (2, 4)
    assert dataclasses.replace(report, records=None)([(decoded, data)]) == expected
    assert set(report.names) == set(report.signatures) == set(expected)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="blank=9"):
        CtcTranscription(vocabulary_size=9, blank=9)
    for changes in ({"longest": 0}, {"begin": 9}, {"beams": 0}):
        with pytest.raises(ValueError, match=next(iter(changes))):
            dataclasses.replace(WRITTEN, **changes)
    with pytest.raises(ConfigError, match="vocab_size=9"):
        CTC.score(paths([5], classes=8), batch())
    with pytest.raises(ConfigError, match="MLP cannot be searched: it has no `encode`"):
        WRITTEN.predict(MLP(num_classes=2), {}, batch())
    with pytest.raises(ConfigError, match="longest=8 or less"):
        dataclasses.replace(WRITTEN, longest=9).predict(WHISPER, {}, batch())
    with pytest.raises(ConfigError, match="no field 'said'"):
        report_of(text_field="said")
    with pytest.raises(ValueError, match="normalizer"):
        report_of(normalizer="letters")


@pytest.mark.parametrize("task", [CTC, WRITTEN], ids=["ctc", "written"])
def test_bad_rows_are_found_before_training(task):
    data = batch()
    assert task.check(data) == []
    data["targets"][1, 0] = 9
    data["lengths"][2] = 0
    found = dict(task.check(data))
    assert set(found) == {1, 2}
    assert "token 9" in found[1]
    data["targets"][0, 0] = 0
    assert (0 in dict(task.check(data))) == (task is CTC)
    for name in ("mel", "targets_in"):
        with pytest.raises(DataError, match=name):
            task.check({key: value for key, value in data.items() if key != name})
