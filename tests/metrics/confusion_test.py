import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn

from jaxdl.metrics import confusion


def pairs(case):
    random = np.random.default_rng(0)
    match case:
        case "random":
            return random.integers(0, 5, 300), random.integers(0, 5, 300)
        case "good":
            true = random.integers(0, 5, 300)
            return true, np.where(random.random(300) < 0.9, true, random.integers(0, 5, 300))
        case "a class that is never predicted":
            true = random.integers(0, 5, 300)
            return true, np.minimum(true, 3)
        case "a class that never occurs":
            return random.integers(0, 4, 300), random.integers(0, 5, 300)
        case "classes absent on both sides":
            return 2 * random.integers(0, 2, 50), 2 * random.integers(0, 2, 50)
        case "one class":
            return np.zeros(20, int), np.zeros(20, int)


CASES = [
    "random",
    "good",
    "a class that is never predicted",
    "a class that never occurs",
    "classes absent on both sides",
]


def counts_of(true, predicted):
    return jnp.asarray(sklearn.confusion_matrix(true, predicted, labels=range(5)), jnp.int32)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("case", CASES)
def test_scalars_equal_scikit_learn(case):
    true, predicted = pairs(case)
    counts = counts_of(true, predicted)
    for ours, theirs in [
        (confusion.accuracy, sklearn.accuracy_score),
        (confusion.balanced_accuracy, sklearn.balanced_accuracy_score),
        (confusion.matthews_correlation, sklearn.matthews_corrcoef),
        (confusion.cohen_kappa, sklearn.cohen_kappa_score),
    ]:
        np.testing.assert_allclose(ours(counts), theirs(true, predicted), atol=1e-6, err_msg=ours.__name__)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_averages_equal_scikit_learn(case, average):
    true, predicted = pairs(case)
    counts = counts_of(true, predicted)
    for ours, theirs in [
        (confusion.precision, sklearn.precision_score),
        (confusion.recall, sklearn.recall_score),
        (confusion.f1, sklearn.f1_score),
    ]:
        expected = theirs(true, predicted, average=average, zero_division=0)
        np.testing.assert_allclose(ours(counts, average), expected, atol=1e-6, err_msg=ours.__name__)


def test_per_class_values_equal_scikit_learn():
    true, predicted = pairs("good")
    expected = sklearn.precision_recall_fscore_support(true, predicted)
    for ours, theirs in zip((confusion.precision, confusion.recall, confusion.f1), expected):
        np.testing.assert_allclose(ours(counts_of(true, predicted), None), theirs, atol=1e-6)


def test_one_class_alone_has_no_correlation():
    counts = counts_of(*pairs("one class"))
    assert confusion.accuracy(counts) == 1
    assert confusion.matthews_correlation(counts) == 0
    assert confusion.cohen_kappa(counts) == 0


def test_an_unknown_average_is_refused():
    with pytest.raises(ValueError, match="'samples'"):
        confusion.f1(jnp.eye(2), "samples")
