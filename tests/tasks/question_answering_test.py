import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.data.text import train_tokenizer
from jaxdl.data.text.squad import Question, Questions
from jaxdl.data.text.windows import AnswerWindows
from jaxdl.errors import DataError
from jaxdl.metrics import add
from jaxdl.tasks.question_answering import AnswerReport, QuestionAnswering, WrittenAnswerReport, best_answers, best_span

TASK = QuestionAnswering()
CONTEXT = "Ann wrote the book in Rome while Ben slept in Paris all of that summer"
TOKENIZER = train_tokenizer([CONTEXT, "who wrote it"], kind="wordpiece", vocabulary_size=200)
QUESTIONS = Questions(
    questions=(
        Question(id="1", question="who wrote it", context=CONTEXT, answers=((0, "Ann"),)),
        Question(id="2", question="where", context=CONTEXT, answers=((46, "Paris"),)),
        Question(id="3", question="why", context=CONTEXT),
    )
)
WINDOWS = AnswerWindows(questions=QUESTIONS, tokenizer=TOKENIZER, length=20, overlap=4, max_question=4)


def logits(batch, strength=8.0):
    """What a model would say that knows the answers."""
    one_hot = {name: np.eye(batch["tokens"].shape[1])[batch[name]] for name in ("start", "end")}
    return {name: jnp.asarray(strength * value, jnp.float32) for name, value in one_hot.items()}


def every():
    rows = WINDOWS.gather(np.arange(len(WINDOWS)))
    return rows | {"mask": np.ones(len(WINDOWS), np.float32)}


def test_the_loss_is_torchs_mean_of_both_ends():
    torch = pytest.importorskip("torch")
    batch = every()
    batch["mask"][-1] = 0
    outputs = {
        name: jax.random.normal(jax.random.key(i), batch["tokens"].shape) for i, name in enumerate(("start", "end"))
    }
    real = batch["mask"] != 0
    theirs = [
        torch.nn.functional.cross_entropy(
            torch.tensor(np.asarray(outputs[name]))[real], torch.tensor(batch[name])[real].long()
        )
        for name in ("start", "end")
    ]
    loss, metrics = TASK.score(outputs, batch)
    np.testing.assert_allclose(loss.compute(), sum(theirs).item() / 2, rtol=1e-5)
    right = [np.argmax(outputs[name], 1) == batch[name] for name in ("start", "end")]
    np.testing.assert_allclose(metrics["span_accuracy"].compute(), (right[0] & right[1])[real].mean())


def test_measures_of_parts_add_up():
    batch = every()
    outputs = {name: jax.random.normal(jax.random.key(1), batch["tokens"].shape) for name in ("start", "end")}
    halves = [
        TASK.measure({n: x[part] for n, x in outputs.items()}, {n: x[part] for n, x in batch.items()})
        for part in (slice(0, 2), slice(2, None))
    ]
    whole = TASK.measure(outputs, batch)
    for name, metric in add(*halves).items():
        np.testing.assert_allclose(metric.compute(), whole[name].compute(), rtol=1e-5)


def test_the_best_span_is_that_of_an_exhaustive_search():
    rng = np.random.default_rng(0)
    for _ in range(20):
        start, end = rng.normal(size=(2, 15))
        left, right, longest = 3, 12, int(rng.integers(1, 6))
        best = max((start[a] + end[b], a, b) for a in range(left, right) for b in range(a, min(a + longest, right)))
        found = best_span(start, end, (left, right), longest)
        assert found[:2] == best[1:]
        assert found[2] == pytest.approx(best[0])


def test_a_model_that_knows_gets_all_points():
    batch = every()
    decoded = {name: np.asarray(x) for name, x in TASK.decode(logits(batch)).items()}
    report = AnswerReport(windows=WINDOWS)
    found = report([(decoded, batch)])
    assert set(found) == set(report.names)
    assert found["exact_match"] == found["f1"] == found["exact_match_unanswerable"] == 100
    halves = [
        ({n: x[part] for n, x in decoded.items()}, {n: x[part] for n, x in batch.items()})
        for part in (slice(2, None), slice(0, 2))
    ]
    assert report(halves) == found, "neither batches nor their order count"
    assert report.statistics([(decoded, batch)]).shape[0] == 3


def test_windows_of_a_question_make_one_answer_and_its_place():
    batch = every()
    decoded = {name: np.asarray(x) for name, x in TASK.decode(logits(batch)).items()}
    rows = [(int(w), decoded["start"][w], decoded["end"][w]) for w in batch["window"]]
    assert len(WINDOWS) > len(QUESTIONS)
    found = best_answers(WINDOWS, rows)
    assert [found[number].text for number in range(3)] == ["Ann", "Paris", ""]
    assert CONTEXT[slice(*found[1].span)] == "Paris"
    assert found[2].span == (0, 0)
    forced = best_answers(WINDOWS, rows, no_answer=False)
    assert all(forced[number].text for number in range(3))
    never = best_answers(WINDOWS, rows, threshold=100.0)
    assert never[2].text
    always = best_answers(WINDOWS, rows, threshold=-100.0)
    assert {one.text for one in always.values()} == {""}


def test_the_question_is_never_the_answer():
    length = WINDOWS.length
    start = np.zeros(length)
    start[1] = start[length - 1] = 50.0
    found = best_answers(WINDOWS, [(0, start, start)], no_answer=False)
    left, right = WINDOWS.context_tokens(0)
    assert left > 1
    assert found[0].span.begin >= 0
    assert CONTEXT[slice(*found[0].span)] == found[0].text
    assert right <= length


def test_token_types_are_given_where_asked():
    assert set(TASK.inputs(every())) == {"tokens", "token_mask", "token_types"}
    assert set(QuestionAnswering(token_types=False).inputs(every())) == {"tokens", "token_mask"}


def test_check_names_rows_and_keys():
    batch = every()
    assert TASK.check(batch) == []
    batch["start"], batch["end"] = batch["start"].copy(), batch["end"].copy()
    batch["start"][1], batch["end"][1] = 5, 3
    batch["end"][2] = 99
    assert [row for row, _ in TASK.check(batch)] == [1, 2]
    assert "the answer spans the places 5 to 3" in TASK.check(batch)[0][1]
    del batch["end"]
    with pytest.raises(DataError, match="Question answering needs 'end'"):
        TASK.check(batch)


def test_written_answers_are_scored_by_the_questions_of_their_records():
    report = WrittenAnswerReport(tokenizer=TOKENIZER, questions=QUESTIONS)
    said = [TOKENIZER.encode(text) for text in ("Ann", "in Rome", "")]
    tokens = np.stack([np.pad(ids, (0, 8 - len(ids))) for ids in said])
    decoded = {"tokens": tokens, "length": np.asarray([len(ids) for ids in said])}
    assert report([(decoded, {"record": np.asarray([0, 1, 2])})]) == {
        "exact_match": pytest.approx(200 / 3),
        "f1": pytest.approx(200 / 3),
        "exact_match_answerable": 50,
        "f1_answerable": 50,
        "exact_match_unanswerable": 100,
    }
    turned = {name: values[::-1] for name, values in decoded.items()}
    batches = [(turned, {"record": np.asarray([2, 1, 0])})]
    assert report(batches)["exact_match"] == pytest.approx(200 / 3)
    assert report.values(report.statistics(batches).sum(axis=0)) == report(batches)
