import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.augment.masking import MaskTokens
from jaxdl.errors import ConfigError, DataError
from jaxdl.learners import augmented, supervised
from jaxdl.metrics import add
from jaxdl.models.bert import Bert
from jaxdl.models.text_heads import MaskedLanguageModel
from jaxdl.optim import adam, optimizer
from jaxdl.tasks.masked_language_modeling import MaskedLanguageModeling

pytestmark = pytest.mark.slow  # Many programs to compile.

TASK = MaskedLanguageModeling(vocabulary_size=20)


def batch(rows=4, length=6):
    rng = np.random.default_rng(0)
    tokens = rng.integers(6, 20, (rows, length)).astype(np.int32)
    return {
        "tokens": tokens,
        "targets": rng.integers(6, 20, (rows, length)).astype(np.int32),
        "target_mask": rng.integers(0, 2, (rows, length)).astype(np.float32),
        "token_mask": np.ones((rows, length), np.float32),
        "mask": np.array([1] * (rows - 1) + [0], np.float32),
    }


def test_the_loss_is_torchs_over_hidden_tokens():
    torch = pytest.importorskip("torch")
    data, outputs = batch(), jax.random.normal(jax.random.key(0), (4, 6, 20))
    counted = (data["target_mask"] * data["mask"][:, None]) == 1
    targets = torch.tensor(np.where(counted, data["targets"], -100)).long().reshape(-1)
    theirs = torch.nn.functional.cross_entropy(torch.tensor(np.asarray(outputs)).reshape(-1, 20), targets)
    found = TASK.measure(outputs, data)
    np.testing.assert_allclose(found["nll"].compute(), theirs.item(), rtol=1e-5)
    np.testing.assert_allclose(found["perplexity"].compute(), np.exp(theirs.item()), rtol=1e-5)
    right = np.argmax(outputs, -1) == data["targets"]
    np.testing.assert_allclose(found["accuracy"].compute(), right[counted].mean(), rtol=1e-6)


def test_measures_of_parts_add_up():
    data, outputs = batch(), jax.random.normal(jax.random.key(0), (4, 6, 20))
    parts = [
        TASK.measure(outputs[rows], {name: x[rows] for name, x in data.items()}) for rows in (slice(0, 1), slice(1, 4))
    ]
    whole = TASK.measure(outputs, data)
    for name, metric in add(*parts).items():
        np.testing.assert_allclose(metric.compute(), whole[name].compute(), rtol=1e-5)


def model():
    encoder = Bert(
        vocab_size=20, max_length=6, num_types=0, features=16, num_layers=1, num_heads=2, hidden=32, pooler=False
    )
    return MaskedLanguageModel(encoder=encoder)


def test_logits_at_places_are_those_of_all():
    data, network = batch(), model()
    variables = network.init(jax.random.key(0), data["tokens"], train=False)
    places = jnp.array([[1, 3], [0, 0], [5, 2], [4, 1]])
    whole = network.apply(variables, data["tokens"], train=False)
    some = network.apply(variables, data["tokens"], places=places, train=False)
    np.testing.assert_allclose(some, jnp.take_along_axis(whole, places[..., None], axis=1), atol=1e-5)


def test_learns_what_stands_where():
    """Every row is one of four patterns, so that a hidden token follows from the others."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(6, 20, (4, 6)).astype(np.int32)
    tokens = patterns[rng.integers(0, 4, 64)]
    plain = {"tokens": tokens, "token_mask": np.ones(tokens.shape, np.float32), "mask": np.ones(64, np.float32)}
    hide = MaskTokens(vocabulary_size=20, mask_token=4, random_from=6, rate=0.3, limit=4)
    learner = augmented(supervised(model(), TASK, optimizer(rule=adam(), learning_rate=1e-2)), hide)
    state = learner.init(jax.random.key(0), plain)
    step = jax.jit(learner.step)
    for _ in range(100):
        state, metrics = step(state, plain)
    assert metrics["accuracy"].compute() > 0.7
    fixed = MaskTokens(vocabulary_size=20, mask_token=4, random_from=6, rate=0.3)(jax.random.key(9), plain)
    assert learner.evaluate(state, fixed)["accuracy"].compute() > 0.7


def test_says_what_is_missing():
    data, outputs = batch(), jnp.zeros((4, 6, 20))
    with pytest.raises(ConfigError, match=r"train with augment=MaskTokens"):
        TASK.score(outputs, {name: x for name, x in data.items() if name != "targets"})
    with pytest.raises(ConfigError, match="gives 10 numbers for a token, but the vocabulary has 20"):
        TASK.score(outputs[..., :10], data)
    assert TASK.check(data) == []
    data["targets"] = np.where(np.arange(6) == 2, 20, data["targets"])
    assert [row for row, _ in TASK.check(data)] == [0, 1, 2, 3]
    with pytest.raises(DataError, match="needs 'tokens', integers"):
        TASK.check({"tokens": np.zeros((2, 3), np.float32)})
    with pytest.raises(ValueError, match="vocabulary_size must be at least 2"):
        MaskedLanguageModeling(vocabulary_size=1)


def test_decodes_the_likeliest():
    outputs = jax.nn.one_hot(jnp.array([[3, 5]]), 20)
    assert TASK.decode(outputs)["token"].tolist() == [[3, 5]]
