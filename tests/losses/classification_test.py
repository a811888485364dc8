import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdl.losses import binary_cross_entropy, class_weight_of, cross_entropy

random = np.random.default_rng(0)
LOGITS = (3 * random.normal(size=(7, 5))).astype(np.float32)
LABELS = random.integers(0, 5, 7)
SOFT = random.dirichlet(np.ones(5), 7).astype(np.float32)
WEIGHTS = (0.5, 1.0, 2.0, 0.1, 3.0)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_equals_torch(soft, smoothing, weights):
    torch = pytest.importorskip("torch")
    labels = SOFT if soft else LABELS
    logits = torch.tensor(LOGITS, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        logits,
        torch.tensor(labels),
        None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
        reduction="none",
    )
    expected.sin().sum().backward()
    loss = lambda x: cross_entropy(x, labels, label_smoothing=smoothing, class_weights=weights)  # noqa: E731
    np.testing.assert_allclose(jax.jit(loss)(LOGITS), expected.detach(), rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda x: jnp.sin(loss(x)).sum())(LOGITS)
    np.testing.assert_allclose(gradient, logits.grad, atol=1e-5)


def test_summed_weights_give_the_weighted_mean_of_torch():
    torch = pytest.importorskip("torch")
    ours = cross_entropy(LOGITS, LABELS, class_weights=WEIGHTS).sum() / class_weight_of(LABELS, WEIGHTS).sum()
    theirs = torch.nn.functional.cross_entropy(torch.tensor(LOGITS), torch.tensor(LABELS), torch.tensor(WEIGHTS))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_equals_optax():
    np.testing.assert_allclose(
        cross_entropy(LOGITS, LABELS), optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS), rtol=1e-5
    )
    smooth = optax.smooth_labels(jnp.eye(5)[LABELS], 0.2)
    np.testing.assert_allclose(
        cross_entropy(LOGITS, LABELS, label_smoothing=0.2), optax.softmax_cross_entropy(LOGITS, smooth), rtol=1e-5
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_hard_label_equals_its_one_hot_row(smoothing):
    options = {"label_smoothing": smoothing, "class_weights": WEIGHTS}
    one_hot = np.eye(5, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(
        cross_entropy(LOGITS, LABELS, **options), cross_entropy(LOGITS, one_hot, **options), rtol=1e-5
    )
    np.testing.assert_allclose(class_weight_of(LABELS, WEIGHTS), class_weight_of(one_hot, WEIGHTS), rtol=1e-6)


@pytest.mark.parametrize("label", [-1, 5, 255])
def test_a_class_that_does_not_exist_gives_nan_and_spoils_no_other_row(label):
    labels = jnp.array([1, label])
    loss, gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda x, y: cross_entropy(x, y))))(LOGITS[:2], labels)
    assert np.isnan(loss).tolist() == [False, True]
    assert jnp.isfinite(gradient[0]).all()
    assert np.isnan(class_weight_of(labels, WEIGHTS)).tolist() == [False, True]


def test_huge_logits_stay_finite():
    loss, gradient = jax.value_and_grad(lambda x: cross_entropy(x, jnp.array([0])).sum())(jnp.array([[-1e30, 1e30]]))
    assert loss == jnp.float32(2e30)
    np.testing.assert_array_equal(gradient, [[-1, 1]])


def test_half_precision_logits_lose_nothing_further():
    half = jnp.asarray(LOGITS, jnp.bfloat16)
    loss = cross_entropy(half, LABELS)
    assert loss.dtype == jnp.float32
    np.testing.assert_array_equal(loss, cross_entropy(half.astype(jnp.float32), LABELS))


def test_leading_axes_are_kept():
    loss = cross_entropy(LOGITS[:6].reshape(2, 3, 5), LABELS[:6].reshape(2, 3), class_weights=WEIGHTS)
    np.testing.assert_allclose(loss.reshape(6), cross_entropy(LOGITS[:6], LABELS[:6], class_weights=WEIGHTS), rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS[:3], r"class ids of shape \(7,\), not \(3,\)"),
        (SOFT[:, :2], r"probabilities of shape \(7, 5\), not \(7, 2\)"),
        (LABELS.astype(np.float32), r"probabilities of shape \(7, 5\), not \(7,\)"),
        (LABELS > 2, "not bool"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        cross_entropy(LOGITS, labels)


def test_a_wrong_number_of_weights_is_refused():
    with pytest.raises(ValueError, match="3 class weights for 5 classes"):
        cross_entropy(LOGITS, LABELS, class_weights=(1.0, 2.0, 3.0))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_binary_equals_torch(weights):
    torch = pytest.importorskip("torch")
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.tensor(10 * LOGITS),
        torch.tensor(SOFT),
        reduction="none",
        pos_weight=None if weights is None else torch.tensor(weights),
    )
    loss = binary_cross_entropy(10 * LOGITS, SOFT, positive_weights=weights)
    np.testing.assert_allclose(loss, expected, rtol=1e-5, atol=1e-6)


def test_binary_equals_optax_also_at_the_extremes():
    logits = jnp.array([-1e4, -50.0, 0.0, 50.0, 1e4])
    for label in (0.0, 0.25, 1.0):
        labels = jnp.full(5, label)
        expected = optax.sigmoid_binary_cross_entropy(logits, labels)
        np.testing.assert_allclose(binary_cross_entropy(logits, labels), expected, rtol=1e-6)


def test_binary_smoothing_moves_the_target_towards_one_half():
    np.testing.assert_allclose(
        binary_cross_entropy(LOGITS, jnp.ones((7, 5)), label_smoothing=0.2),
        binary_cross_entropy(LOGITS, jnp.full((7, 5), 0.9)),
        rtol=1e-6,
    )


def test_binary_refuses_shapes_that_would_broadcast():
    with pytest.raises(ValueError, match=r"\(7, 5\) and labels \(7,\)"):
        binary_cross_entropy(LOGITS, LABELS)
