import jax
import numpy as np
import pytest

from jaxdl.errors import DataError
from jaxdl.tasks import Classification, TextClassification

TASK = TextClassification(num_classes=3, label_smoothing=0.1)


def batch():
    rng = np.random.default_rng(0)
    return {
        "tokens": rng.integers(0, 9, (40, 6), np.int32),
        "token_mask": np.ones((40, 6), np.float32),
        "label": rng.integers(0, 3, 40, np.int32),
        "mask": (np.arange(40) < 35).astype(np.float32),
    }


def test_measures_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    data, outputs = batch(), jax.random.normal(jax.random.key(0), (40, 3))
    measured = {name: metric.compute() for name, metric in TASK.measure(outputs, data).items()}
    truth, predicted = data["label"][:35], np.argmax(outputs, -1)[:35]
    np.testing.assert_allclose(measured["accuracy"], sklearn.accuracy_score(truth, predicted), rtol=1e-6)
    np.testing.assert_allclose(measured["macro_f1"], sklearn.f1_score(truth, predicted, average="macro"), rtol=1e-6)
    np.testing.assert_allclose(measured["matthews"], sklearn.matthews_corrcoef(truth, predicted), rtol=1e-5)


def test_the_loss_is_that_of_classification():
    data, outputs = batch(), jax.random.normal(jax.random.key(0), (40, 3))
    same = Classification(num_classes=3, label_smoothing=0.1)
    np.testing.assert_array_equal(TASK.score(outputs, data)[0].compute(), same.score(outputs, data)[0].compute())
    np.testing.assert_array_equal(TASK.decode(outputs)["label"], same.decode(outputs)["label"])
    assert set(TASK.inputs(data)) == {"tokens", "token_mask"}


def test_bad_rows_are_named():
    data = batch()
    data["label"][3] = 3
    data["token_mask"][5] = 0
    data["label"][39] = -1  # Padding.
    assert TASK.check(data) == [(3, "label 3 is outside [0, 3)"), (5, "there is no token in it")]
    del data["label"]
    with pytest.raises(DataError, match="needs 'label'"):
        TASK.check(data)


def test_settings_out_of_range():
    with pytest.raises(ValueError, match="num_classes"):
        TextClassification(num_classes=1)
