import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import CheckpointError, ConfigError
from jaxdl.interop.convert import to_ours
from jaxdl.interop.families import family, t5
from jaxdl.models.t5 import T5

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import assert_close, check_gradients, make, read, saved, shapes  # noqa: E402

TINY = {
    "vocab_size": 40,
    "d_model": 24,
    "d_kv": 6,
    "d_ff": 36,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 3,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 16,
}
RANDOM = np.random.default_rng(0)
TOKENS, TARGETS = (RANDOM.integers(1, 40, (3, count)).astype(np.int32) for count in (25, 21))
MASK = (np.arange(25)[None] < np.array([25, 9, 16])[:, None]).astype(np.int32)
INPUTS = {"tokens": jnp.asarray(TOKENS), "targets": jnp.asarray(TARGETS), "token_mask": jnp.asarray(MASK)}
THEIRS = {
    "input_ids": torch.tensor(TOKENS, dtype=torch.long),
    "decoder_input_ids": torch.tensor(TARGETS, dtype=torch.long),
    "attention_mask": torch.tensor(MASK),
}


def reference_of(*, untied=False, **options):
    config = transformers.T5Config(**TINY, tie_word_embeddings=not untied, **options)
    reference = make(transformers.T5ForConditionalGeneration, config)
    if untied:
        reference.lm_head.weight = torch.nn.Parameter(0.2 * torch.randn(40, 24))
    return reference


def layout_of(model):
    return family("t5").layout(model)


def logits_of(model, variables, **others):
    return jax.jit(lambda variables: model.apply(variables, **INPUTS, **others, train=False))(variables)


def ours(logits):
    return jnp.sum(jnp.sin(logits))


def theirs(outputs):
    return outputs.logits.sin().sum()


@pytest.mark.parametrize(
    "options",
    [{}, {"untied": True, "feed_forward_proj": "gated-gelu"}],
    ids=["1.0", "1.1"],
)
def test_logits_and_gradients_equal_theirs(tmp_path, options):
    reference = reference_of(**options)
    tensors, config = saved(reference, tmp_path / "model")
    model = t5.model_from(config)
    assert isinstance(model, T5)
    assert (model.tie_embeddings, model.gated) == ((False, True) if options else (True, False))
    variables = read(model, tensors, layout_of(model), INPUTS)
    assert_close(logits_of(model, variables), reference(**THEIRS).logits, atol=2e-5)
    context = model.apply(variables, INPUTS["tokens"], token_mask=INPUTS["token_mask"], method="encode")
    assert_close(context, reference(**THEIRS).encoder_last_hidden_state)
    layout = layout_of(model)
    check_gradients(model, variables, layout, INPUTS, ours, theirs, THEIRS, reference, tmp_path / "gradients", 2e-5)


def test_the_scanned_model_with_padded_targets_equals_theirs(tmp_path):
    reference = reference_of(feed_forward_proj="gated-silu", layer_norm_epsilon=1e-3)
    tensors, config = saved(reference, tmp_path)
    model = t5.model_from(config).clone(scan=True, remat=True)
    variables = read(model, tensors, layout_of(model), INPUTS)
    mask = (np.arange(21)[None] < np.array([21, 4, 6])[:, None]).astype(np.int32)
    found = logits_of(model, variables, target_mask=jnp.asarray(mask))
    expected = reference(**THEIRS, decoder_attention_mask=torch.tensor(mask)).logits
    assert_close(found[mask != 0], expected[torch.tensor(mask != 0)], atol=2e-5)


def test_a_tied_model_that_does_not_scale_equals_theirs(tmp_path):
    config = transformers.T5Config(**TINY, tie_word_embeddings=False)
    tensors, config = saved(make(transformers.T5ForConditionalGeneration, config), tmp_path)
    reference = transformers.T5ForConditionalGeneration.from_pretrained(tmp_path, attn_implementation="eager").eval()
    model = t5.model_from(config).clone(tie_embeddings=True)
    assert model.scale_logits is False
    variables = read(model, tensors, layout_of(model), INPUTS)
    assert_close(logits_of(model, variables), reference(**THEIRS).logits, atol=5e-5)


def test_repeated_embeddings_are_checked(tmp_path):
    tensors, config = saved(reference_of(), tmp_path)
    model = t5.model_from(config)
    repeated = tensors | {"encoder.embed_tokens.weight": tensors["shared.weight"]}
    _, report = to_ours(repeated, shapes(model, INPUTS), layout_of(model))
    assert sum(line.word == "tied" for line in report.lines) == 1
    with pytest.raises(CheckpointError, match="untied"):
        to_ours(tensors | {"lm_head.weight": 2 * tensors["shared.weight"]}, shapes(model, INPUTS), layout_of(model))


def test_what_they_generate_greedily_is_what_the_cache_gives(tmp_path):
    reference = reference_of(decoder_start_token_id=0, eos_token_id=None)
    tensors, config = saved(reference, tmp_path)
    model = t5.model_from(config)
    variables, _ = to_ours(tensors, shapes(model, INPUTS), layout_of(model))
    expected = reference.generate(
        THEIRS["input_ids"],
        attention_mask=THEIRS["attention_mask"],
        max_new_tokens=12,
        do_sample=False,
        use_cache=False,
    )

    @jax.jit
    def decode(variables, targets, context, cache):
        options = {"token_mask": INPUTS["token_mask"], "cache": cache, "train": False, "method": "decode"}
        logits, cache = model.apply(variables, targets, context, **options)
        return jnp.argmax(logits[:, -1:], axis=-1), cache

    context = model.apply(variables, INPUTS["tokens"], token_mask=INPUTS["token_mask"], method="encode")
    found, cache = [jnp.zeros((3, 1), jnp.int32)], model.empty_cache(3, 12)
    for step in range(12):
        token, cache = decode(variables, found[-1], context if step == 0 else None, cache)
        found.append(token)
    np.testing.assert_array_equal(jnp.concatenate(found, axis=1), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"feed_forward_proj": "gated-prelu"},
        {"is_encoder_decoder": False},
        {"architectures": ["T5ForQuestionAnswering"]},
    ],
)
def test_what_is_not_implemented_is_refused_by_name(change):
    with pytest.raises(ConfigError, match=f"{next(iter(change))}="):
        t5.model_from({**TINY, **change})


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ({}, 60_506_624),
        ({"d_model": 768, "d_ff": 3072, "num_layers": 12, "num_heads": 12}, 222_903_552),
        ({"d_model": 1024, "d_ff": 4096, "num_layers": 24, "num_heads": 16}, 737_668_096),
        ({"d_ff": 1024, "num_layers": 8, "num_heads": 6, "feed_forward_proj": "gated-gelu"}, 76_961_152),
        (
            {"d_model": 768, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "feed_forward_proj": "gated-gelu"},
            247_577_856,
        ),
    ],
    ids=["small", "base", "large", "v1.1-small", "v1.1-base"],
)
def test_published_sizes_have_their_tensors(size, count):
    gated = "feed_forward_proj" in size
    config = transformers.T5Config(**size, tie_word_embeddings=not gated)
    with torch.device("meta"):
        reference = transformers.T5ForConditionalGeneration(config)
        if gated:
            reference.lm_head.weight = torch.nn.Parameter(torch.empty_like(reference.lm_head.weight))
    model = t5.model_from(config.to_dict())
    tokens = jnp.zeros((1, 4), jnp.int32)
    made = shapes(model, {"tokens": tokens, "targets": tokens})
    assert trees.count(made["params"]) == sum(leaf.numel() for leaf in reference.parameters()) == count
    # Arrays that take no memory: one number, repeated.
    tensors = {name: np.broadcast_to(np.float32(0), tuple(x.shape)) for name, x in reference.named_parameters()}
    _, report = to_ours(tensors, made, layout_of(model))
    assert {line.word for line in report.lines} == {"copied", "transposed"}
