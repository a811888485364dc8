import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from sklearn import metrics as sklearn

from jaxdl.metrics import add
from jaxdl.metrics.classification import F1, CalibrationError, ConfusionMatrix, class_of, top_k_accuracy

CLASSES, ROWS = 6, 64


def example(seed, rows=ROWS):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, CLASSES)).astype(np.float32)
    return logits, random.integers(0, CLASSES, rows).astype(np.int32)


@jax.jit
def states(logits, labels, mask):
    return {
        "top_1": top_k_accuracy(logits, labels, mask),
        "top_3": top_k_accuracy(logits, labels, mask, k=3),
        "confusion": ConfusionMatrix.of(jnp.argmax(logits, -1), labels, mask, num_classes=CLASSES),
        "calibration": CalibrationError.of(jax.nn.softmax(logits), labels, mask),
    }


def values(states):
    return {name: np.asarray(state.compute()) for name, state in states.items()}


def assert_same(actual, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), actual, expected)


@pytest.mark.parametrize("k", range(1, CLASSES + 1))
def test_top_k_equals_scikit_learn(k):
    logits, labels = example(0)
    expected = sklearn.top_k_accuracy_score(labels, logits, k=k, labels=range(CLASSES)) if k < CLASSES else 1.0
    assert top_k_accuracy(logits, labels, k=k).compute() == pytest.approx(expected)


def test_top_1_agrees_with_argmax_on_ties():
    logits = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    assert top_k_accuracy(logits, jnp.array([0, 1, 2])).total == 1
    assert top_k_accuracy(logits, jnp.array([0, 1, 2]), k=2).total == 2


@pytest.mark.parametrize("label", [0, 1, 2, -1, 3])
def test_a_nan_or_a_class_that_does_not_exist_is_never_right(label):
    nan = jnp.array([[jnp.nan, 1.0, 2.0]])
    assert top_k_accuracy(nan, jnp.array([0]), k=3).total == 0
    assert top_k_accuracy(nan, jnp.array([2]), k=1).total == 0
    good = top_k_accuracy(jnp.array([[0.0, 1.0, 2.0]]), jnp.array([label]), k=3)
    assert (good.total, good.weight) == (float(0 <= label < 3), 1)


def test_soft_labels_count_by_their_likeliest_class():
    logits, labels = example(1)
    soft = 0.6 * np.eye(CLASSES, dtype=np.float32)[labels] + 0.4 / CLASSES
    np.testing.assert_array_equal(class_of(soft), labels)
    assert top_k_accuracy(logits, soft).total == top_k_accuracy(logits, labels).total


@pytest.mark.parametrize("k", [0, CLASSES + 1])
def test_k_outside_the_classes_is_refused(k):
    with pytest.raises(ValueError, match=f"not {k}"):
        top_k_accuracy(*example(0), k=k)


def test_confusion_matrix_equals_scikit_learn():
    logits, labels = example(2)
    predictions = logits.argmax(-1)
    state = ConfusionMatrix.of(predictions, labels, num_classes=CLASSES)
    np.testing.assert_array_equal(state.compute(), sklearn.confusion_matrix(labels, predictions))
    expected = sklearn.f1_score(labels, predictions, average="macro")
    assert F1(counts=state.counts).compute() == pytest.approx(expected, abs=1e-6)


def test_confusion_matrix_leaves_out_classes_that_do_not_exist():
    state = ConfusionMatrix.of(jnp.array([0, 1, 2, -1]), jnp.array([-1, 2, 1, 0]), num_classes=2)
    np.testing.assert_array_equal(state.compute(), np.zeros((2, 2)))


def test_confusion_matrix_counts_exactly_beyond_single_precision():
    state = ConfusionMatrix(counts=jnp.full((2, 2), 2**24, jnp.int32))
    assert (
        int(add(state, ConfusionMatrix.of(jnp.array([1]), jnp.array([0]), num_classes=2)).compute()[0, 1]) == 2**24 + 1
    )


def expected_calibration_error(probabilities, labels, num_bins):
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for low in np.arange(num_bins) / num_bins:
        inside = (confidence > low) & (confidence <= low + 1 / num_bins)
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return error


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_calibration_error_equals_the_loop_of_its_definition(num_bins):
    logits, labels = example(3, rows=500)
    probabilities = np.asarray(jax.nn.softmax(3 * logits))
    state = CalibrationError.of(probabilities, labels, num_bins=num_bins)
    assert state.compute() == pytest.approx(expected_calibration_error(probabilities, labels, num_bins), abs=1e-6)


def test_calibration_error_of_certainty():
    sure = jnp.eye(4)
    assert CalibrationError.of(sure, jnp.arange(4)).compute() == 0
    assert CalibrationError.of(sure, jnp.array([1, 1, 2, 3])).compute() == pytest.approx(0.25)


def test_nothing_counted_is_zero_or_nan_everywhere():
    logits, labels = example(4)
    for value in jax.tree.leaves(values(states(logits, labels, np.zeros(ROWS)))):
        np.testing.assert_array_equal(np.nan_to_num(value), np.zeros_like(value))


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(st.integers(0, 2**16), st.integers(0, ROWS), st.integers(0, 2**16))
def test_any_order_split_and_padding_give_the_same(seed, cut, shuffle):
    logits, labels = example(seed)
    expected = values(states(logits, labels, np.ones(ROWS)))
    order = np.random.default_rng(shuffle).permutation(ROWS)
    padding = np.full((ROWS, CLASSES), np.nan, np.float32), np.full(ROWS, -1, np.int32)
    parts = []
    for rows in (order[:cut], order[cut:]):
        filler = ROWS - len(rows)
        padded = [np.concatenate([full[rows], junk[:filler]]) for full, junk in zip((logits, labels), padding)]
        parts.append(states(*padded, np.r_[np.ones(len(rows)), np.zeros(filler)]))
    assert_same(values(add(*parts)), expected)


def test_a_sharded_batch_gives_the_same():
    logits, labels = example(5)
    mask = (np.arange(ROWS) % 5 > 0).astype(np.float32)
    sharding = NamedSharding(jax.make_mesh((8,), ("data",), (AxisType.Auto,)), P("data"))
    assert_same(values(states(*jax.device_put((logits, labels, mask), sharding))), values(states(logits, labels, mask)))
