"""Every model keeps the contract, and the contract finds models that do not."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from jaxdl.models import MLP, CifarResNet, LeNet, ResNet
from jaxdl.nn import BatchNorm, Dense
from tests.models.contract import check_contract

IMAGE = {"image": (4, 16, 16, 3)}
MODELS = {
    "mlp": MLP(num_classes=5, widths=(8, 6), normalization="batch", dropout_rate=0.2),
    "mlp_layer": MLP(num_classes=5, widths=(8,), normalization="layer", activation="silu"),
    "lenet": LeNet(num_classes=5, channels=(3, 4), dense_width=6, batch_norm=True, dropout_rate=0.2),
    "resnet_18": ResNet(num_classes=5, depth=18, width=2, stem="cifar", zero_init_residual=False),
    "cifar_resnet": CifarResNet(
        num_classes=5, depth=8, width=2, shortcut="projection", stochastic_depth_rate=0.4, zero_init_residual=False
    ),
}
# A hidden layer's bias before batch normalization is subtracted again with the mean.
EXEMPT = {"mlp": {"hidden_.*/bias": "batch normalization subtracts it"}}
each_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "resnet_18" else ()) for name in MODELS]
)


@each_model
def test_the_model_keeps_the_contract(name):
    _, logits = check_contract(MODELS[name], IMAGE, exempt=EXEMPT[name] if name in EXEMPT else {})
    assert logits.shape == (4, 5)


@each_model
def test_an_unknown_activation_is_refused_at_construction(name):
    with pytest.raises(ValueError, match="Did you mean 'relu'"):
        MODELS[name].clone(activation="relo")


class Tagger(nn.Module):
    """A model of tokens with a dict of outputs, which breaks its promises one by one."""

    breaks: str = ""
    dropout_rate: float = 0.0
    dtype: str | None = None

    @nn.compact
    def __call__(self, tokens, token_mask, *, train):
        x = nn.Embed(11, 6, dtype=self.dtype, name="embed")(tokens)
        x = jax.nn.tanh(Dense(6, dtype=self.dtype, name=None if self.breaks == "name" else "dense")(x))
        if self.breaks == "gradient":
            x = x + 0 * self.param("idle", nn.initializers.ones, (1, 1, 6))
        if self.breaks == "rows":
            x = x - x.mean(0, keepdims=True)
        if self.breaks == "evaluation":
            x = BatchNorm(name="norm")(x, train=True)
        if self.breaks == "half":
            x = Dense(6, param_dtype=self.dtype or "float32", name="half")(x)
        x = nn.Dropout(0.5 if self.breaks == "random" else self.dropout_rate, deterministic=not train)(x)
        return {"tags": Dense(3, dtype=self.dtype, name="tags")(x), "length": token_mask.sum(1)}


TEXT = {"tokens": ((4, 5), "int32"), "token_mask": jnp.asarray([[1, 1, 1, 0, 0], [1] * 5, [1, 0, 0, 0, 0], [1] * 5])}


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_models_of_tokens_with_several_outputs_and_no_statistics_fit(rate):
    _, outputs = check_contract(Tagger(dropout_rate=rate), TEXT, vocabulary=11)
    assert outputs["tags"].shape == (4, 5, 3)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        ("name", "without a name of their own: \\['Dense_0'\\]"),
        ("gradient", "no gradient reaches idle"),
        ("rows", "row 0 depends on what the other rows are"),
        ("evaluation", "evaluation changed batch_stats/norm"),
        ("half", "half precision changed the type of variables"),
        ("random", "training depends on the dropout key"),
    ],
)
def test_a_broken_promise_is_found(breaks, says):
    with pytest.raises(AssertionError, match=says):
        check_contract(Tagger(breaks=breaks), TEXT, vocabulary=11)


def test_exemptions_are_held_to_what_they_say():
    check_contract(Tagger(breaks="gradient"), TEXT, vocabulary=11, exempt={"idle": "it is multiplied by zero"})
    with pytest.raises(AssertionError, match="tags/bias is exempt but does get a gradient"):
        check_contract(Tagger(), TEXT, vocabulary=11, exempt={"tags/.*": "none"})
    with pytest.raises(AssertionError, match="match no parameter"):
        check_contract(Tagger(), TEXT, vocabulary=11, exempt={"nothing": "none"})


def test_integers_need_a_bound():
    with pytest.raises(AssertionError, match="vocabulary"):
        check_contract(Tagger(), TEXT)
