"""Encoders under new heads, from folders that transformers wrote and from our own files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config, interop, trees
from jaxdl.config import spec
from jaxdl.errors import ConfigError
from jaxdl.interop.encoders import encoder_from
from jaxdl.models import MLP
from jaxdl.models.bert import Bert
from jaxdl.models.text_heads import MaskedLanguageModel, TextClassifier

TOKENS = np.array([[2, 5, 7, 3], [2, 9, 3, 0]], np.int32)
MASK = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], np.float32)
SIZES = {"vocab_size": 20, "max_length": 8, "features": 8, "num_layers": 1, "num_heads": 2, "hidden": 16}


def filled(path, *, pooler=False):
    """A classifier of texts with the encoder of a path, and the encoder's parameters in it."""
    encoder, init = encoder_from(path, pooler=pooler)
    model = config.build(spec(TextClassifier, encoder=encoder, num_classes=3, pooling="pooled" if pooler else "mean"))
    fresh = jax.jit(lambda: model.init(jax.random.key(7), TOKENS, token_mask=MASK, train=False))()
    found, report = interop.apply(config.build(init), fresh, model=model)
    kept = [name for line in report.lines if line.word in ("kept", "skipped") for name in line.ours]
    return model, found, kept


@pytest.mark.parametrize("pooler", [False, True])
def test_the_encoder_of_a_masked_model(tmp_path, pooler):
    trained = MaskedLanguageModel(encoder=Bert(**SIZES, pooler=True))
    variables = trained.init(jax.random.key(0), TOKENS, train=False)
    path = tmp_path / "masked.safetensors"
    interop.save(path, trained, variables)
    model, found, kept = filled(path, pooler=pooler)
    assert model.encoder.pooler is pooler
    theirs, ours = (trees.flatten(tree["params"]["encoder"]) for tree in (variables, found))
    assert ours
    for name, leaf in ours.items():
        np.testing.assert_array_equal(leaf, theirs[name])
    assert {"head/kernel", "head/bias"} <= set(kept)


def test_a_folder_of_hugging_face(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    settings = transformers.BertConfig(
        vocab_size=20, max_position_embeddings=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, attn_implementation="eager",
    )  # fmt: skip
    theirs = transformers.BertModel(settings).eval()
    theirs.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = theirs(torch.tensor(TOKENS).long(), attention_mask=torch.tensor(MASK)).last_hidden_state.numpy()
    model, found, kept = filled(tmp_path)
    encoder = {"params": jax.tree.map(jnp.asarray, found["params"]["encoder"])}
    hidden = model.encoder.apply(encoder, TOKENS, token_mask=MASK, train=False)["hidden"]
    np.testing.assert_allclose(np.asarray(hidden)[MASK == 1], expected[MASK == 1], atol=1e-5)
    assert sorted(kept) == ["head/bias", "head/kernel"]


def test_models_without_an_encoder_are_refused(tmp_path):
    model = MLP(num_classes=2, widths=(4,))
    path = tmp_path / "mlp.safetensors"
    interop.save(path, model, model.init(jax.random.key(0), jnp.zeros((1, 2, 2, 1)), train=False))
    with pytest.raises(ConfigError, match="MLP, which has no `encoder`"):
        encoder_from(path)
