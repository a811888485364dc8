import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.models import LeNet


@pytest.mark.parametrize(("shape", "flat"), [((8, 8, 1), 4 * 64), ((28, 28, 1), 49 * 64), ((32, 32, 3), 64 * 64)])
def test_fits_any_image_and_has_the_parameters_of_its_plan(shape, flat):
    variables = jax.eval_shape(
        lambda: LeNet(num_classes=10).init(jax.random.key(0), jnp.ones((1, *shape)), train=False)
    )
    convolutions = 9 * shape[-1] * 32 + 32 + 9 * 32 * 64 + 64
    assert trees.count(variables["params"]) == convolutions + flat * 128 + 128 + 128 * 10 + 10


@pytest.mark.parametrize("batch_norm", [False, True])
def test_equals_torch(batch_norm):
    torch = pytest.importorskip("torch")
    image = jax.random.normal(jax.random.key(0), (3, 12, 12, 2))
    model = LeNet(num_classes=4, channels=(3, 5), kernel_size=5, dense_width=6, batch_norm=batch_norm)
    variables = jax.jit(lambda key: model.init(key, image, train=False))(jax.random.key(1))
    params = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), variables["params"])
    ops = torch.nn.functional
    x = torch.tensor(np.asarray(image)).permute(0, 3, 1, 2)
    for index in range(2):
        conv = params[f"conv_{index}"]
        x = ops.conv2d(x, conv["kernel"].permute(3, 2, 0, 1), conv.get("bias"), padding=2)
        if batch_norm:
            x = ops.batch_norm(x, None, None, *(params[f"norm_{index}"][k] for k in ("scale", "bias")), training=True)
        x = ops.max_pool2d(ops.relu(x), 2)
    x = x.permute(0, 2, 3, 1).flatten(1)
    x = ops.relu(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    expected = x @ params["head"]["kernel"] + params["head"]["bias"]
    logits, _ = jax.jit(lambda v: model.apply(v, image, train=True, mutable=["batch_stats"]))(variables)
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_an_image_too_small_for_the_pooling_is_refused():
    with pytest.raises(ValueError, match="larger than the image"):
        LeNet(num_classes=2).init(jax.random.key(0), jnp.ones((1, 3, 3, 1)), train=False)
