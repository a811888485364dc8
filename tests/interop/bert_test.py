import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import CheckpointError, ConfigError
from jaxdl.interop.choices import Choices
from jaxdl.interop.convert import to_ours
from jaxdl.interop.families import bert
from jaxdl.models.bert import Bert
from jaxdl.models.text_heads import TextClassifier

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import assert_close, check_gradients, make, read, saved, shapes  # noqa: E402

TINY = {
    "vocab_size": 40,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
    "max_position_embeddings": 16,
}
# No zeros: PyTorch gives the embedding of padding, which is 0 here, no gradient.
TOKENS = np.random.default_rng(0).integers(1, 40, (3, 9)).astype(np.int32)
MASK = (np.arange(9)[None] < np.array([9, 4, 6])[:, None]).astype(np.int32)
TYPES = (np.arange(9)[None] >= np.array([3, 2, 4])[:, None]).astype(np.int32)
INPUTS = {"tokens": jnp.asarray(TOKENS), "token_mask": jnp.asarray(MASK), "token_types": jnp.asarray(TYPES)}
THEIRS = {
    "input_ids": torch.tensor(TOKENS, dtype=torch.long),
    "attention_mask": torch.tensor(MASK),
    "token_type_ids": torch.tensor(TYPES, dtype=torch.long),
}


def test_the_encoder_equals_theirs_with_padding_and_types_and_so_do_gradients(tmp_path):
    reference = make(transformers.BertModel, transformers.BertConfig(**TINY))
    tensors, config = saved(reference, tmp_path / "model")
    model = bert.model_from(config)
    assert isinstance(model, Bert)
    variables = read(model, tensors, bert.layout(), INPUTS)
    outputs, expected = model.apply(variables, **INPUTS, train=False), reference(**THEIRS)
    assert_close(outputs["hidden"], expected.last_hidden_state)
    assert_close(outputs["pooled"], expected.pooler_output)
    plain = model.apply(variables, INPUTS["tokens"], train=False)
    assert_close(plain["hidden"], reference(THEIRS["input_ids"]).last_hidden_state)

    def ours(outputs):
        return jnp.sum(outputs["hidden"][1, :4] ** 2) + jnp.sum(outputs["pooled"] ** 3)

    def theirs(outputs):
        return (outputs.last_hidden_state[1, :4] ** 2).sum() + (outputs.pooler_output**3).sum()

    check_gradients(model, variables, bert.layout(), INPUTS, ours, theirs, THEIRS, reference, tmp_path / "gradients")


def test_the_scanned_encoder_reads_the_same_file(tmp_path):
    reference = make(transformers.BertModel, transformers.BertConfig(**TINY, hidden_act="gelu_new"))
    tensors, config = saved(reference, tmp_path)
    model = bert.model_from(config).clone(scan=True, remat=True)
    variables = read(model, tensors, bert.layout(), INPUTS)
    assert_close(model.apply(variables, **INPUTS, train=False)["hidden"], reference(**THEIRS).last_hidden_state)


def test_the_classifier_equals_theirs(tmp_path):
    config = transformers.BertConfig(**TINY, num_labels=5)
    tensors, config = saved(make(transformers.BertForSequenceClassification, config), tmp_path)
    model = bert.model_from(config)
    assert (model.num_classes, model.pooling) == (5, "pooled")
    variables = read(model, tensors, bert.layout(head="classifier"), INPUTS)
    reference = transformers.BertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert_close(model.apply(variables, **INPUTS, train=False), reference(**THEIRS).logits)


def test_the_span_extractor_equals_theirs_where_there_is_text(tmp_path):
    reference = make(transformers.BertForQuestionAnswering, transformers.BertConfig(**TINY))
    tensors, config = saved(reference, tmp_path)
    model = bert.model_from(config)
    variables = read(model, tensors, bert.layout(head="span"), INPUTS)
    outputs, expected = model.apply(variables, **INPUTS, train=False), reference(**THEIRS)
    real = torch.tensor(MASK) != 0
    assert_close(outputs["start"][MASK != 0], expected.start_logits[real])
    assert_close(outputs["end"][MASK != 0], expected.end_logits[real])
    assert (outputs["end"][MASK == 0] < -1e8).all()


def test_the_masked_language_model_equals_theirs_and_so_do_gradients(tmp_path):
    reference = make(transformers.BertForMaskedLM, transformers.BertConfig(**TINY))
    tensors, config = saved(reference, tmp_path / "model")
    model, layout = bert.model_from(config), bert.layout(head="masked")
    variables = read(model, tensors, layout, INPUTS)
    assert_close(model.apply(variables, **INPUTS, train=False), reference(**THEIRS).logits)

    def ours(logits):
        return jnp.sum(jnp.tanh(logits[0]))

    def theirs(outputs):
        return outputs.logits[0].tanh().sum()

    check_gradients(model, variables, layout, INPUTS, ours, theirs, THEIRS, reference, tmp_path / "gradients")


def test_a_bare_encoder_starts_a_classifier_and_a_pretraining_file_a_bare_encoder(tmp_path):
    tensors, config = saved(make(transformers.BertForPreTraining, transformers.BertConfig(**TINY)), tmp_path)
    encoder = bert.model_from(config)
    variables, report = to_ours(tensors, shapes(encoder, INPUTS), bert.layout())
    assert {line.word for line in report.lines} <= {"copied", "transposed", "ignored"}
    model = TextClassifier(encoder=encoder, num_classes=3, pooling="pooled")
    whole, report = to_ours(tensors, shapes(model, INPUTS), bert.layout(head="classifier"))
    assert [line.ours for line in report.lines if line.word == "initialised"] == [("head/kernel",), ("head/bias",)]
    np.testing.assert_array_equal(whole["params"]["encoder"]["pooler"]["bias"], variables["params"]["pooler"]["bias"])


def test_names_of_tensorflow_are_read_by_a_map(tmp_path):
    tensors, config = saved(make(transformers.BertModel, transformers.BertConfig(**TINY)), tmp_path)
    model = bert.model_from(config)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): leaf
        for name, leaf in tensors.items()
    }
    with pytest.raises(CheckpointError, match="LayerNorm"):
        to_ours(old, shapes(model, INPUTS), bert.layout())
    found, _ = to_ours(old, shapes(model, INPUTS), bert.layout(), choices=Choices(map=bert.LEGACY_NAMES))
    expected, _ = to_ours(tensors, shapes(model, INPUTS), bert.layout())
    for name, leaf in trees.flatten(expected).items():
        np.testing.assert_array_equal(trees.flatten(found)[name], leaf)


@pytest.mark.parametrize(
    "option",
    [
        {"hidden_act": "gelu_10"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"architectures": ["BertForTokenClassification"]},
    ],
)
def test_options_that_are_not_implemented_are_refused_by_name(option):
    with pytest.raises(ConfigError, match=f"{next(iter(option))}="):
        bert.model_from({**TINY, **option})


@pytest.mark.parametrize(
    ("model", "size"),
    [
        (Bert(), {}),
        (
            Bert(num_layers=24, features=1024, num_heads=16, hidden=4096),
            {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096},
        ),
    ],
)
def test_full_sizes_have_the_shapes_of_theirs(model, size):
    with torch.device("meta"):
        reference = transformers.BertModel(transformers.BertConfig(**size))
    ours = shapes(model, {"tokens": jnp.ones((1, 4), jnp.int32)})["params"]
    assert trees.count(ours) == sum(parameter.numel() for parameter in reference.parameters())
    expected = sorted(tuple(sorted(parameter.shape)) for parameter in reference.parameters())
    assert sorted(tuple(sorted(leaf.shape)) for leaf in trees.flatten(ours).values()) == expected
