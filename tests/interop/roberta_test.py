import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop.families import roberta
from jaxdl.models.bert import roberta as make_roberta

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import assert_close, check_gradients, make, read, saved, shapes  # noqa: E402

TINY = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
    "max_position_embeddings": 14,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
}
MASK = (np.arange(9)[None] < np.array([9, 4, 6])[:, None]).astype(np.int32)
TOKENS = np.where(MASK, np.random.default_rng(0).integers(2, 40, (3, 9)), 1).astype(np.int32)
INPUTS = {"tokens": jnp.asarray(TOKENS), "token_mask": jnp.asarray(MASK)}
THEIRS = {"input_ids": torch.tensor(TOKENS, dtype=torch.long), "attention_mask": torch.tensor(MASK)}


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_encoder_equals_theirs_with_padding_on_either_side(tmp_path, side):
    reference = make(transformers.RobertaModel, transformers.RobertaConfig(**TINY))
    tensors, config = saved(reference, tmp_path)
    model = roberta.model_from(config)
    assert (model.max_length, model.padding_token) == (12, 1)
    step = 1 if side == "right" else -1
    inputs = {name: array[:, ::step] for name, array in INPUTS.items()}
    theirs = {name: array if step == 1 else array.flip(1) for name, array in THEIRS.items()}
    variables = read(model, tensors, roberta.layout(), inputs)
    outputs, expected = model.apply(variables, **inputs, train=False), reference(**theirs)
    assert_close(outputs["hidden"], expected.last_hidden_state)
    assert_close(outputs["pooled"], expected.pooler_output)


def test_the_classifier_equals_theirs_and_so_do_gradients(tmp_path):
    config = transformers.RobertaConfig(**TINY, num_labels=3)
    reference = make(transformers.RobertaForSequenceClassification, config)
    tensors, config = saved(reference, tmp_path / "model")
    model, layout = roberta.model_from(config), roberta.layout(head="classifier")
    variables = read(model, tensors, layout, INPUTS)
    assert_close(model.apply(variables, **INPUTS, train=False), reference(**THEIRS).logits)

    def ours(logits):
        return jnp.sum(logits**3)

    def theirs(outputs):
        return (outputs.logits**3).sum()

    check_gradients(model, variables, layout, INPUTS, ours, theirs, THEIRS, reference, tmp_path / "gradients")


def test_the_masked_language_model_and_the_span_extractor_equal_theirs(tmp_path):
    reference = make(transformers.RobertaForMaskedLM, transformers.RobertaConfig(**TINY, hidden_act="relu"))
    tensors, config = saved(reference, tmp_path / "masked")
    model = roberta.model_from(config)
    variables = read(model, tensors, roberta.layout(head="masked"), INPUTS)
    assert_close(model.apply(variables, **INPUTS, train=False), reference(**THEIRS).logits, atol=2e-5)
    reference = make(transformers.RobertaForQuestionAnswering, transformers.RobertaConfig(**TINY))
    tensors, config = saved(reference, tmp_path / "span")
    model = roberta.model_from(config)
    variables = read(model, tensors, roberta.layout(head="span"), INPUTS)
    found = model.apply(variables, **INPUTS, train=False)["start"]
    assert_close(found[MASK != 0], reference(**THEIRS).start_logits[torch.tensor(MASK) != 0])


def test_a_table_without_room_for_positions_is_refused():
    with pytest.raises(ConfigError, match="max_position_embeddings=2"):
        roberta.model_from({**TINY, "max_position_embeddings": 2})


def test_full_size_has_the_shapes_of_theirs():
    config = transformers.RobertaConfig(
        vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5
    )
    with torch.device("meta"):
        reference = transformers.RobertaModel(config)
    ours = shapes(make_roberta(pooler=True), {"tokens": jnp.ones((1, 4), jnp.int32)})["params"]
    assert trees.count(ours) == sum(parameter.numel() for parameter in reference.parameters())
    expected = sorted(tuple(sorted(parameter.shape)) for parameter in reference.parameters())
    assert sorted(tuple(sorted(leaf.shape)) for leaf in trees.flatten(ours).values()) == expected
