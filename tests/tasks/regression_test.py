import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as sklearn

from jaxdl.errors import DataError
from jaxdl.tasks import Regression

random = np.random.default_rng(0)
OUTPUTS = random.normal(size=(10, 2)).astype(np.float32)
BATCH = {
    "features": random.normal(size=(10, 4)).astype(np.float32),
    "target": random.normal(size=(10, 2)).astype(np.float32),
    "mask": (np.arange(10) < 7).astype(np.float32),
}


@pytest.mark.parametrize(("kind", "name"), [("l2", "mse_loss"), ("l1", "l1_loss"), ("huber", "huber_loss")])
def test_loss_is_the_mean_of_torch_over_real_rows(kind, name):
    torch = pytest.importorskip("torch")
    expected = getattr(torch.nn.functional, name)(torch.tensor(OUTPUTS[:7]), torch.tensor(BATCH["target"][:7]))
    assert Regression(loss=kind).score(OUTPUTS, BATCH)[0].compute() == pytest.approx(expected.item(), rel=1e-5)


def test_measures_equal_scikit_learn():
    metrics = Regression().measure(OUTPUTS, BATCH)
    assert metrics["mse"].compute() == pytest.approx(
        sklearn.mean_squared_error(BATCH["target"][:7], OUTPUTS[:7]), rel=1e-5
    )
    assert metrics["mae"].compute() == pytest.approx(
        sklearn.mean_absolute_error(BATCH["target"][:7], OUTPUTS[:7]), rel=1e-5
    )


def test_loss_is_of_standardized_targets_and_measures_are_in_their_units():
    task = Regression(mean=(10.0,), std=(4.0,))
    batch = {"target": jnp.array([14.0]), "mask": jnp.ones(1)}
    loss, metrics = task.score(jnp.array([[0.0]]), batch)
    assert loss.compute() == 1
    assert metrics["mae"].compute() == 4
    assert task.decode(jnp.array([[0.5]]))["target"].item() == 12


def test_inputs_go_by_the_name_that_models_know():
    np.testing.assert_array_equal(Regression().inputs(BATCH)["image"], BATCH["features"])
    image = Regression(feature="image").inputs({"image": np.full((1, 2, 2, 1), 51, np.uint8)})["image"]
    np.testing.assert_allclose(image, np.full((1, 2, 2, 1), 0.2), rtol=1e-6)


def test_the_check_names_real_rows():
    features, target = BATCH["features"].copy(), BATCH["target"].copy()
    features[1, 2], target[3, 0], target[9] = np.inf, np.nan, np.nan
    assert Regression().check(BATCH) == []
    assert Regression().check(BATCH | {"features": features, "target": target}) == [
        (1, "features is not finite"),
        (3, "target is not finite"),
    ]


@pytest.mark.parametrize(
    ("batch", "message"),
    [({"mask": np.ones(3)}, "features"), (BATCH | {"target": np.array(["a"] * 10)}, "target must be numbers")],
)
def test_a_batch_of_the_wrong_form_is_refused(batch, message):
    with pytest.raises(DataError, match=message):
        Regression().check(batch)


@pytest.mark.parametrize("change", [{"loss": "l3"}, {"feature": "text"}, {"delta": 0.0}, {"std": (-1.0,)}])
def test_bad_choices_are_refused_at_construction(change):
    with pytest.raises(ValueError, match=str(next(iter(change)))):
        Regression(**change)
