"""Residual networks against the published sizes, and against the same networks written in PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.models import CifarResNet, ResNet
from jaxdl.models.resnet import BLOCKS, BottleneckBlock, plan

PUBLISHED = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
PUBLISHED_CIFAR = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}


def count(model, shape):
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, *shape)), train=False))
    return trees.count(variables["params"])


@pytest.mark.parametrize("depth", PUBLISHED)
def test_number_of_parameters_is_the_published_one(depth):
    assert count(ResNet(num_classes=1000, depth=depth), (64, 64, 3)) == PUBLISHED[depth]


@pytest.mark.parametrize("depth", PUBLISHED_CIFAR)
def test_number_of_parameters_in_millions_for_cifar(depth):
    millions = count(CifarResNet(num_classes=10, depth=depth), (32, 32, 3)) / 1e6
    assert millions == pytest.approx(PUBLISHED_CIFAR[depth], abs=0.03)


class Torch:
    """The same network as functions of torch tensors, written out from the paper and from v1.5's one change."""

    def __init__(self, torch, variables, *, train):
        tensor = lambda leaf: torch.tensor(np.asarray(leaf), requires_grad=True)  # noqa: E731
        self.torch, self.train = torch, train
        self.params = jax.tree.map(tensor, variables["params"])
        self.stats = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), variables["batch_stats"])

    def conv(self, x, scope, name, stride=1):
        weight = scope[0][name]["kernel"].permute(3, 2, 0, 1)
        return self.torch.nn.functional.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, x, scope, name):
        p, s = scope[0][name], scope[1][name]
        stats = (None, None) if self.train else (s["mean"], s["var"])
        return self.torch.nn.functional.batch_norm(x, *stats, p["scale"], p["bias"], training=self.train)

    def block(self, x, scope, stride, strides):
        shortcut = x
        for index, here in enumerate(strides):
            x = self.norm(self.conv(x, scope, f"conv_{index}", here), scope, f"norm_{index}")
            x = x if index == len(strides) - 1 else x.relu()
        if "shortcut_conv" in scope[0]:
            shortcut = self.norm(self.conv(shortcut, scope, "shortcut_conv", stride), scope, "shortcut_norm")
        elif shortcut.shape != x.shape:
            padding = (0, 0, 0, 0, 0, x.shape[1] - shortcut.shape[1])
            shortcut = self.torch.nn.functional.pad(shortcut[:, :, ::stride, ::stride], padding)
        return (x + shortcut).relu()

    def __call__(self, image, counts, *, bottleneck=False, large=False):
        root = (self.params, self.stats)
        x = self.torch.tensor(np.asarray(image).transpose(0, 3, 1, 2))
        x = self.norm(self.conv(x, root, "stem_conv", 2 if large else 1), root, "stem_norm").relu()
        if large:
            x = self.torch.nn.functional.max_pool2d(x, 3, 2, padding=1)
        for stage, number in enumerate(counts):
            for index in range(number):
                name = f"stage_{stage}_block_{index}"
                stride = 2 if stage and not index else 1
                strides = (1, stride, 1) if bottleneck else (stride, 1)
                x = self.block(x, (self.params[name], self.stats[name]), stride, strides)
        return x.mean((2, 3)) @ self.params["head"]["kernel"] + self.params["head"]["bias"]


CASES = {
    "basic, imagenet stem": (ResNet(num_classes=3, depth=18, width=2, zero_init_residual=False), (2, 2, 2, 2), 36),
    "bottleneck": (ResNet(num_classes=3, depth=50, width=2, stem="cifar", zero_init_residual=False), (3, 4, 6, 3), 16),
    "pad": (CifarResNet(num_classes=3, depth=14, width=4, zero_init_residual=False), (2, 2, 2), 12),
}


def perturbed(variables):
    """Weights and statistics in double precision and away from their first values, so that each one matters."""
    return jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64) * (1 + 0.1 * np.sin(np.arange(leaf.size)).reshape(leaf.shape)),
        variables,
    )


@pytest.mark.parametrize("case", ["pad", *(pytest.param(name, marks=pytest.mark.slow) for name in list(CASES)[:2])])
@pytest.mark.parametrize("train", [False, True])
def test_outputs_and_gradients_equal_torch(case, train):
    torch = pytest.importorskip("torch")
    model, counts, size = CASES[case]
    image = np.random.default_rng(0).normal(size=(4, size, size, 3))
    single = jnp.asarray(image, jnp.float32)
    variables = perturbed(jax.jit(lambda key: model.init(key, single, train=False))(jax.random.key(1)))
    other = Torch(torch, variables, train=train)
    expected = other(image, counts, large=case == "basic, imagenet stem", bottleneck=case == "bottleneck")
    expected.sin().sum().backward()

    def loss(params):
        logits, _ = model.apply({**variables, "params": params}, image, train=train, mutable=["batch_stats"])
        return jnp.sin(logits).sum(), logits

    # Double precision: a deep network under batch normalization amplifies rounding a thousandfold.
    with jax.enable_x64(True):
        gradients, logits = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    np.testing.assert_allclose(logits, expected.detach(), atol=1e-6)
    theirs = jax.tree.map(lambda leaf: leaf.grad.numpy(), other.params)
    for name, a, b in zip(trees.names(gradients), jax.tree.leaves(gradients), jax.tree.leaves(theirs)):
        np.testing.assert_allclose(a, b, atol=1e-6 * max(1.0, np.abs(b).max()), err_msg=name)


@pytest.mark.parametrize("train", [False, True])
def test_bottleneck_block_equals_torch(train):
    torch = pytest.importorskip("torch")
    block, x = BottleneckBlock(2, 2, zero_init_residual=False), np.random.default_rng(0).normal(size=(3, 6, 6, 5))
    variables = perturbed(block.init(jax.random.key(0), jnp.asarray(x, jnp.float32), False))
    other = Torch(torch, variables, train=train)
    expected = other.block(torch.tensor(x.transpose(0, 3, 1, 2)), (other.params, other.stats), 2, (1, 2, 1))
    with jax.enable_x64(True):
        y, _ = block.apply(variables, x, train, mutable=["batch_stats"])
    np.testing.assert_allclose(y, expected.detach().permute(0, 2, 3, 1), atol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        CifarResNet(num_classes=3, depth=8, width=2),
        pytest.param(ResNet(num_classes=3, depth=18, width=2, stem="cifar"), marks=pytest.mark.slow),
    ],
)
def test_rematerialisation_changes_nothing(model):
    image = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    model = model.clone(stochastic_depth_rate=0.5, zero_init_residual=False)
    variables = jax.jit(lambda key: model.init(key, image, train=False))(jax.random.key(1))
    again = model.clone(remat=True)
    shapes = jax.eval_shape(lambda key: again.init(key, image, train=False), jax.random.key(1))
    assert trees.names(variables) == trees.names(shapes)

    def gradient(model):
        def loss(params):
            rngs = {"dropout": jax.random.key(2)}
            logits, _ = model.apply(
                {**variables, "params": params}, image, train=True, rngs=rngs, mutable=["batch_stats"]
            )
            return jnp.sin(logits).sum()

        return jax.jit(jax.grad(loss))(variables["params"])

    for ours, theirs in zip(jax.tree.leaves(gradient(again)), jax.tree.leaves(gradient(model))):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * max(1.0, float(jnp.abs(theirs).max())))


def test_zero_init_makes_every_block_its_shortcut():
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), (2, 4, 4, 8)))
    block = BottleneckBlock(2)
    y, _ = block.apply(block.init(jax.random.key(1), x, False), x, True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, x)


def test_drop_rate_rises_linearly_to_the_last_block():
    rates = [rate for *_, rate in plan(BLOCKS[50][1], 0.32)]
    np.testing.assert_allclose(rates, np.arange(1, 17) * 0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResNet(num_classes=2, depth=20), "depth.*not 20"),
        (lambda: ResNet(num_classes=2, stem="mnist"), "stem.*'mnist'"),
        (lambda: CifarResNet(num_classes=2, depth=18), r"6 n \+ 2.*not 18"),
        (lambda: CifarResNet(num_classes=2, shortcut="none"), "shortcut.*'none'"),
    ],
)
def test_bad_choices_are_refused_at_construction(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wide_bottlenecks_have_the_published_number_of_parameters():
    assert count(ResNet(num_classes=1000, depth=50, width_factor=2), (64, 64, 3)) == 68_883_240
    with pytest.raises(ValueError, match=r"width_factor.*not 2 for depth 34"):
        ResNet(num_classes=2, depth=34, width_factor=2)


@pytest.mark.parametrize("model", [ResNet(num_classes=None, depth=50, width=2), CifarResNet(num_classes=None)])
def test_without_classes_the_pooled_features_come_out(model):
    image = jnp.zeros((2, 32, 32, 3))
    features, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), image, train=False))
    assert features.shape == (2, 64)
    assert "head" not in variables["params"]
