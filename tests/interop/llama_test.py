import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop.convert import to_ours
from jaxdl.interop.families import llama
from jaxdl.models.llama import Llama

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import assert_close, check_gradients, make, read, saved, shapes  # noqa: E402

TINY = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
}
TOKENS = np.random.default_rng(0).integers(0, 40, (3, 11)).astype(np.int32)
INPUTS = {"tokens": jnp.asarray(TOKENS)}
THEIRS = {"input_ids": torch.tensor(TOKENS, dtype=torch.long)}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def logits_of(model, variables, **others):
    return jax.jit(lambda variables: model.apply(variables, **INPUTS, **others, train=False))(variables)


def test_logits_and_gradients_equal_theirs(tmp_path):
    reference = make(transformers.LlamaForCausalLM, transformers.LlamaConfig(**TINY))
    tensors, config = saved(reference, tmp_path / "model")
    model = llama.model_from(config)
    assert isinstance(model, Llama)
    variables = read(model, tensors, llama.layout(tie_embeddings=model.tie_embeddings), INPUTS)
    assert_close(logits_of(model, variables), reference(**THEIRS).logits)

    def ours(logits):
        return jnp.sum(jnp.sin(logits))

    def theirs(outputs):
        return outputs.logits.sin().sum()

    check_gradients(
        model,
        variables,
        llama.layout(tie_embeddings=model.tie_embeddings),
        INPUTS,
        ours,
        theirs,
        THEIRS,
        reference,
        tmp_path / "gradients",
    )


@pytest.mark.parametrize(
    "options",
    [
        {"rope_parameters": LLAMA3, "tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 700.0}, "num_key_value_heads": 4},
        {"attention_bias": True, "mlp_bias": True, "hidden_act": "gelu", "num_key_value_heads": 1},
        {"head_dim": 10, "rms_norm_eps": 1e-2},
    ],
    ids=["llama3", "linear", "biases", "wide"],
)
def test_other_configs_equal_theirs(tmp_path, options):
    reference = make(transformers.LlamaForCausalLM, transformers.LlamaConfig(**{**TINY, **options}))
    tensors, config = saved(reference, tmp_path)
    model = llama.model_from(config).clone(scan=True)
    variables = read(model, tensors, llama.layout(tie_embeddings=model.tie_embeddings), INPUTS)
    assert_close(logits_of(model, variables), reference(**THEIRS).logits)


@pytest.mark.parametrize("window", [4, None])
def test_mistral_with_its_window_equals_theirs(tmp_path, window):
    config = transformers.MistralConfig(**TINY, sliding_window=window)
    reference = make(transformers.MistralForCausalLM, config)
    tensors, config = saved(reference, tmp_path)
    model = llama.model_from({**config, "sliding_window": window})
    assert model.window == window
    variables = read(model, tensors, llama.layout(tie_embeddings=model.tie_embeddings), INPUTS)
    assert_close(logits_of(model, variables), reference(**THEIRS).logits)


def test_padding_behind_equals_theirs(tmp_path):
    reference = make(transformers.LlamaForCausalLM, transformers.LlamaConfig(**TINY))
    tensors, config = saved(reference, tmp_path)
    model = llama.model_from(config)
    variables, _ = to_ours(tensors, shapes(model, INPUTS), llama.layout(tie_embeddings=model.tie_embeddings))
    mask = (np.arange(11)[None] < np.array([11, 4, 6])[:, None]).astype(np.int32)
    found = logits_of(model, variables, token_mask=jnp.asarray(mask))
    expected = reference(**THEIRS, attention_mask=torch.tensor(mask)).logits
    assert_close(found[mask != 0], expected[torch.tensor(mask != 0)])


def test_a_file_of_the_bare_model_with_frequencies_of_old_is_read(tmp_path):
    config = transformers.LlamaConfig(**TINY, tie_word_embeddings=True)
    tensors, config = saved(make(transformers.LlamaModel, config), tmp_path)
    model = llama.model_from(config)
    read(model, tensors, llama.layout(tie_embeddings=model.tie_embeddings), INPUTS, prefix="")
    old = {"layers.0.self_attn.rotary_emb.inv_freq": np.ones(3, np.float32)}
    _, report = to_ours({**tensors, **old}, shapes(model, INPUTS), llama.layout(tie_embeddings=model.tie_embeddings))
    assert sum(line.word == "ignored" for line in report.lines) == 1


def test_configs_of_before_rope_parameters_say_the_same():
    new = llama.model_from({**TINY, "rope_parameters": LLAMA3})
    scaling = {key: value for key, value in LLAMA3.items() if key != "rope_theta"}
    assert llama.model_from({**TINY, "rope_theta": 500.0, "rope_scaling": scaling}) == new
    assert (new.rope_base, new.rope_factor, new.rope_original_length) == (500.0, 8.0, 32)
    older = llama.model_from({**TINY, "rope_scaling": {"type": "linear", "factor": 2.0}})
    assert (older.rope_factor, older.rope_original_length) == (2.0, None)


@pytest.mark.parametrize(
    "change",
    [
        {"pretraining_tp": 2},
        {"rope_type": "yarn"},
        {"partial_rotary_factor": 0.5},
        {"architectures": ["LlamaForSequenceClassification"]},
        {"hidden_act": "prelu"},
    ],
)
def test_what_is_not_implemented_is_refused_by_name(change):
    name = next(iter(change))
    config = (
        {**TINY, "rope_parameters": change} if name in ("rope_type", "partial_rotary_factor") else {**TINY, **change}
    )
    with pytest.raises(ConfigError, match=f"{name}="):
        llama.model_from(config)


def test_a_scaled_rotary_embedding_without_its_factor_is_refused():
    with pytest.raises(ConfigError, match=r"'linear'.*factor"):
        llama.model_from({**TINY, "rope_scaling": {"type": "linear"}})


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ({}, 6_738_415_616),
        ({"vocab_size": 128_256, "num_key_value_heads": 8, "intermediate_size": 14_336}, 8_030_261_248),
        (
            {
                "vocab_size": 49_152,
                "hidden_size": 576,
                "intermediate_size": 1536,
                "num_hidden_layers": 30,
                "num_attention_heads": 9,
                "num_key_value_heads": 3,
                "tie_word_embeddings": True,
            },
            134_515_008,
        ),
    ],
    ids=["llama-2-7b", "llama-3-8b", "smollm2-135m"],
)
def test_published_sizes_have_their_tensors(size, count):
    config = transformers.LlamaConfig(**size)
    with torch.device("meta"):
        reference = transformers.LlamaForCausalLM(config)
    model = llama.model_from(config.to_dict())
    made = shapes(model, {"tokens": jnp.zeros((1, 4), jnp.int32)})
    assert trees.count(made["params"]) == sum(leaf.numel() for leaf in reference.parameters()) == count
    # Arrays that take no memory: one number, repeated.
    tensors = {name: np.broadcast_to(np.float32(0), tuple(x.shape)) for name, x in reference.named_parameters()}
    _, report = to_ours(tensors, made, llama.layout(tie_embeddings=model.tie_embeddings))
    assert {line.word for line in report.lines} == {"copied", "transposed"}
