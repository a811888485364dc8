import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

from jaxdl import optim
from jaxdl.optim.muon import orthogonalize

COEFFICIENTS = (3.4445, -4.775, 2.0315)
STEPS = 20


def run_torch(start, gradients, **settings):
    torch = pytest.importorskip("torch")
    param = torch.tensor(np.swapaxes(start, 0, 1).copy(), requires_grad=True)  # torch has (out, in)
    optimizer = torch.optim.Muon([param], lr=0.02, **settings)
    for gradient in gradients:
        param.grad = torch.tensor(np.swapaxes(gradient, 0, 1).copy())
        optimizer.step()
    return np.swapaxes(param.detach().numpy(), 0, 1)


def run_ours(optimizer, start, gradients):
    with jax.enable_x64(True):
        params = {"kernel": jnp.asarray(start)}
        state = optimizer.init(params)
        for gradient in gradients:
            updates, state = optimizer.update({"kernel": jnp.asarray(gradient)}, state, params)
            params = optax.apply_updates(params, updates)
        return np.asarray(params["kernel"])


@pytest.mark.parametrize("shape", [(5, 3), (3, 7), (4, 4)])
@pytest.mark.parametrize(("scaling", "adjust"), [("width", "original"), ("rms", "match_rms_adamw")])
@pytest.mark.parametrize("nesterov", [True, False])
def test_equals_torch_at_equal_precision(shape, scaling, adjust, nesterov, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    random = np.random.default_rng(0)
    start, gradients = random.standard_normal(shape), random.standard_normal((STEPS, *shape))
    theirs = run_torch(start, gradients, weight_decay=0.1, adjust_lr_fn=adjust, nesterov=nesterov)
    rule = optim.muon(scaling=scaling, nesterov=nesterov)
    ours = run_ours(optim.optimizer(rule=rule, learning_rate=0.02, weight_decay=0.1), start, gradients)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_is_near_torch_as_it_is():
    random = np.random.default_rng(0)
    start, gradients = random.standard_normal((6, 4)), random.standard_normal((STEPS, 6, 4))
    theirs = run_torch(start, gradients, weight_decay=0.0)
    ours = run_ours(optim.optimizer(rule=optim.muon(), learning_rate=0.02), start, gradients)
    np.testing.assert_allclose(ours, theirs, atol=0.05 * np.abs(theirs - start).max())


def test_orthogonalize_equals_optax():
    matrix = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    numbers = {"kernel": contrib.MuonDimensionNumbers()}
    transformation = contrib.scale_by_muon(nesterov=False, weight_dimension_numbers=numbers)
    theirs, _ = transformation.update({"kernel": jnp.asarray(matrix)}, transformation.init({"kernel": matrix}))
    np.testing.assert_allclose(orthogonalize(matrix, COEFFICIENTS, 5), theirs["kernel"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_orthogonalize_keeps_singular_vectors(shape):
    matrix = np.random.default_rng(0).standard_normal(shape)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = np.diag(left.T @ np.asarray(orthogonalize(matrix, COEFFICIENTS, 5)) @ right.T)
    assert (values > 0.5).all()
    assert (values < 1.5).all()


def test_convolution_is_the_matrix_of_its_inputs_and_outputs():
    gradient = np.random.default_rng(0).standard_normal((3, 3, 2, 5))
    rule = optim.muon()
    as_kernel, _ = rule.update({"kernel": jnp.asarray(gradient)}, rule.init({"kernel": jnp.asarray(gradient)}))
    flat = {"kernel": jnp.asarray(gradient.reshape(18, 5))}
    as_matrix, _ = rule.update(flat, rule.init(flat))
    np.testing.assert_array_equal(as_kernel["kernel"].reshape(18, 5), as_matrix["kernel"])


def test_vectors_and_named_parameters_go_to_adam():
    gradients = {"dense": {"bias": jnp.ones(3), "kernel": jnp.ones((3, 3))}, "head": {"kernel": jnp.full((3, 2), 2.0)}}
    rule, adam = optim.muon(adam_names=("head/.*",)), optim.adam()
    ours, _ = rule.update(gradients, rule.init(gradients))
    theirs, _ = adam.update(gradients, adam.init(gradients))
    np.testing.assert_array_equal(ours["dense"]["bias"], theirs["dense"]["bias"])
    np.testing.assert_array_equal(ours["head"]["kernel"], theirs["head"]["kernel"])
    assert not np.allclose(ours["dense"]["kernel"], theirs["dense"]["kernel"])


def test_only_adam_keeps_a_second_moment():
    params = {"bias": jnp.zeros(3), "kernel": jnp.zeros((50, 50))}
    assert sum(leaf.size for leaf in jax.tree.leaves(optim.muon().init(params))) == 50 * 50 + 3 + 3 + 1


def test_zero_gradient_gives_zero():
    params = {"kernel": jnp.ones((3, 3))}
    rule = optim.muon()
    updates, _ = rule.update(jax.tree.map(jnp.zeros_like, params), rule.init(params))
    np.testing.assert_array_equal(updates["kernel"], np.zeros((3, 3)))


def test_names_that_match_nothing_are_an_error():
    params = {"bias": jnp.zeros(3), "kernel": jnp.zeros((3, 3))}
    with pytest.raises(ValueError, match=r"adam_names \['haed/\.\*'\] of muon match no parameter"):
        optim.optimizer(rule=optim.muon(adam_names=("haed/.*",))).init(params)
    optim.optimizer(rule=optim.muon(adam_names=("kernel",))).init(params)


def test_bad_settings():
    with pytest.raises(ValueError, match="scaling is 'depth'; it must be 'width' or 'rms'"):
        optim.muon(scaling="depth")
    with pytest.raises(ValueError, match=r"momentum is 1\.0"):
        optim.muon(momentum=1.0)
