import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn

from jaxdl.errors import DataError
from jaxdl.tasks import Classification

random = np.random.default_rng(0)
LOGITS = (2 * random.normal(size=(20, 7))).astype(np.float32)
BATCH = {
    "image": random.integers(0, 256, (20, 4, 5, 3)).astype(np.uint8),
    "label": random.integers(0, 7, 20).astype(np.int32),
    "mask": (np.arange(20) < 16).astype(np.float32),
}
TASK = Classification(num_classes=7)


def loss(task, batch, logits=LOGITS):
    return float(task.score(logits, batch)[0].compute())


def values(metrics):
    return {name: np.asarray(metric.compute()) for name, metric in metrics.items()}


def with_soft_labels(batch):
    return batch | {"label": np.eye(7, dtype=np.float32)[batch["label"]]}


def test_bytes_are_scaled_and_normalized_per_channel():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    image = Classification(num_classes=7, mean=mean, std=std).inputs(BATCH)["image"]
    assert image.dtype == jnp.float32
    np.testing.assert_allclose(image, (BATCH["image"] / 255 - np.array(mean)) / np.array(std), atol=1e-6)


def test_floats_are_taken_as_they_are():
    floats = (BATCH["image"] / 255).astype(np.float32)
    np.testing.assert_allclose(TASK.inputs({"image": floats})["image"], TASK.inputs(BATCH)["image"], atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0, 4.0, 0.5, 0.25, 1.5)])
def test_softmax_loss_is_the_mean_of_torch_over_real_rows(smoothing, weights):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(LOGITS[:16]),
        torch.tensor(BATCH["label"][:16]).long(),
        None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
    )
    task = Classification(num_classes=7, label_smoothing=smoothing, class_weights=weights)
    assert loss(task, BATCH) == pytest.approx(expected.item(), rel=1e-5)


def test_sigmoid_loss_is_the_mean_of_torch_over_real_rows_and_classes():
    torch = pytest.importorskip("torch")
    target = 0.9 * torch.eye(7)[torch.tensor(BATCH["label"][:16]).long()] + 0.1 / 7
    expected = torch.nn.functional.binary_cross_entropy_with_logits(torch.tensor(LOGITS[:16]), target)
    assert loss(Classification(num_classes=7, loss="sigmoid", label_smoothing=0.1), BATCH) == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0, 4.0, 0.5, 0.25, 1.5)])
def test_one_hot_labels_change_nothing(kind, weights):
    task = Classification(num_classes=7, loss=kind, label_smoothing=0.1, class_weights=weights)
    soft = with_soft_labels(BATCH)
    assert loss(task, soft) == pytest.approx(loss(task, BATCH), rel=1e-5)
    hard = values(task.measure(LOGITS, BATCH))
    for name, value in values(task.measure(LOGITS, soft)).items():
        np.testing.assert_allclose(value, hard[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_padding_never_counts_and_a_wrong_label_is_seen(kind):
    task = Classification(num_classes=7, loss=kind, class_weights=(1.0,) * 7)
    spoilt = BATCH | {"label": np.where(BATCH["mask"] > 0, BATCH["label"], -1)}
    logits = np.where(BATCH["mask"][:, None] > 0, LOGITS, np.nan)
    assert loss(task, spoilt, logits) == pytest.approx(loss(task, BATCH), rel=1e-6)
    np.testing.assert_equal(values(task.measure(logits, spoilt)), values(task.measure(LOGITS, BATCH)))
    gradient = jax.grad(lambda x: task.score(x, spoilt)[0].total)(LOGITS)
    assert np.isfinite(gradient).all()
    assert not gradient[16:].any()
    assert np.isnan(loss(task, BATCH | {"label": np.full(20, 7)}))


def test_measures_equal_scikit_learn():
    metrics = values(jax.jit(TASK.measure)(LOGITS, BATCH))
    true, logits = BATCH["label"][:16], LOGITS[:16]
    predicted = logits.argmax(-1)
    probabilities = np.asarray(jax.nn.softmax(logits), np.float64)
    expected = {
        "accuracy": sklearn.accuracy_score(true, predicted),
        "top5": sklearn.top_k_accuracy_score(true, logits, k=5, labels=range(7)),
        "macro_f1": sklearn.f1_score(true, predicted, average="macro"),
        "nll": sklearn.log_loss(true, probabilities / probabilities.sum(1, keepdims=True), labels=range(7)),
    }
    for name, value in expected.items():
        assert metrics[name] == pytest.approx(value, rel=1e-5), name
    np.testing.assert_array_equal(metrics["confusion"], sklearn.confusion_matrix(true, predicted, labels=range(7)))
    assert set(metrics) == {*expected, "confusion", "calibration_error"}


def test_accuracies_that_every_guess_reaches_are_left_out():
    metrics = Classification(num_classes=5).measure(LOGITS[:, :5], BATCH)
    assert "accuracy" in metrics
    assert "top5" not in metrics


def test_score_and_measure_agree_on_the_accuracy():
    assert TASK.score(LOGITS, BATCH)[1]["accuracy"] == TASK.measure(LOGITS, BATCH)["accuracy"]


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_predictions(kind):
    decoded = Classification(num_classes=7, loss=kind).decode(jnp.asarray(LOGITS, jnp.bfloat16))
    assert {name: (value.shape, value.dtype.name) for name, value in decoded.items()} == {
        "probabilities": ((20, 7), "float32"),
        "label": ((20,), "int32"),
    }
    np.testing.assert_array_equal(decoded["label"], decoded["probabilities"].argmax(-1))
    if kind == "softmax":
        np.testing.assert_allclose(decoded["probabilities"].sum(-1), np.ones(20), rtol=1e-5)


def test_a_sound_batch_passes_the_check():
    assert TASK.check(BATCH) == []
    assert TASK.check(with_soft_labels(BATCH)) == []
    assert TASK.check(BATCH | {"image": (BATCH["image"] / 255).astype(np.float32)}) == []


def test_the_check_names_real_rows_and_reasons():
    label = BATCH["label"].copy()
    label[[2, 5, 18]] = -1, 7, 99
    assert TASK.check(BATCH | {"label": label}) == [
        (2, "label -1 is outside [0, 7)"),
        (5, "label 7 is outside [0, 7)"),
    ]
    image = (BATCH["image"] / 255).astype(np.float32)
    image[3, 0, 0, 0], image[4, 1, 1, 1], image[19] = np.nan, 255, -1
    (third, reason), (fourth, _) = TASK.check(BATCH | {"image": image})
    assert (third, fourth) == (3, 4)
    assert "nan" in reason
    soft = with_soft_labels(BATCH)["label"].copy()
    soft[7, 2] = 1.5
    assert [row for row, _ in TASK.check(BATCH | {"label": soft})] == [7]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": BATCH["image"][..., 0]}, r"image must be .* not uint8 \(20, 4, 5\)"),
        ({"image": BATCH["image"].astype(np.int64)}, "not int64"),
        ({"label": BATCH["label"].astype(np.float32)}, r"not float32 \(20,\)"),
        ({"label": BATCH["label"][:5]}, r"not int32 \(5,\)"),
        ({"label": np.ones((20, 6), np.float32)}, r"\(20, 7\).*not float32 \(20, 6\)"),
    ],
)
def test_a_batch_of_the_wrong_form_is_refused(change, message):
    with pytest.raises(DataError, match=message):
        TASK.check(BATCH | change)


def test_a_missing_entry_is_named():
    with pytest.raises(DataError, match="'label' in a batch; there is image, mask"):
        TASK.check({name: BATCH[name] for name in ("image", "mask")})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 1}, "not 1"),
        ({"label_smoothing": 1.0}, "not 1.0"),
        ({"class_weights": (1.0,)}, "1 class_weights for 7"),
        ({"loss": "hinge"}, "'hinge'"),
        ({"std": (0.0,)}, "std"),
        ({"top_k": (0,)}, "top_k"),
    ],
)
def test_bad_choices_are_refused_at_construction(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TASK, **change)


def test_channels_must_fit_mean_and_std():
    with pytest.raises(ValueError, match=r"mean holds 2 numbers.*3 channels"):
        Classification(num_classes=7, mean=(0.0, 0.0)).inputs(BATCH)


def test_a_task_is_hashable_and_traces_once():
    traces = []

    @jax.jit
    def score(logits, batch):
        traces.append(logits)
        return TASK.score(logits, batch)

    for _ in range(3):
        score(LOGITS, BATCH)
    assert len(traces) == 1
    assert hash(TASK) == hash(Classification(num_classes=7))


def test_a_model_of_another_number_of_classes_is_refused():
    batch = {"image": np.zeros((2, 4, 4, 1), np.uint8), "label": np.zeros(2, np.int32), "mask": np.ones(2, np.float32)}
    with pytest.raises(ValueError, match="gives 5 numbers for an example, but the task has 10 classes"):
        Classification(num_classes=10).score(np.zeros((2, 5), np.float32), batch)
