import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop.convert import to_ours
from jaxdl.interop.families import gpt2
from jaxdl.models.gpt2 import GPT2

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import assert_close, check_gradients, make, read, saved, shapes  # noqa: E402

TINY = {"vocab_size": 40, "n_positions": 16, "n_embd": 24, "n_layer": 2, "n_head": 3}
TOKENS = np.random.default_rng(0).integers(0, 40, (3, 9)).astype(np.int32)
INPUTS = {"tokens": jnp.asarray(TOKENS)}
THEIRS = {"input_ids": torch.tensor(TOKENS, dtype=torch.long)}


def reference_of(kind=transformers.GPT2LMHeadModel, **options):
    return make(kind, transformers.GPT2Config(**TINY, **options))


def test_logits_and_gradients_equal_theirs(tmp_path):
    reference = reference_of()
    tensors, config = saved(reference, tmp_path / "model")
    model = gpt2.model_from(config)
    assert isinstance(model, GPT2)
    variables = read(model, tensors, gpt2.layout(tie_embeddings=model.tie_embeddings), INPUTS)
    logits = jax.jit(lambda variables: model.apply(variables, **INPUTS, train=False))(variables)
    assert_close(logits, reference(**THEIRS).logits)

    def ours(logits):
        return jnp.sum(jnp.sin(logits))

    def theirs(outputs):
        return outputs.logits.sin().sum()

    check_gradients(
        model,
        variables,
        gpt2.layout(tie_embeddings=model.tie_embeddings),
        INPUTS,
        ours,
        theirs,
        THEIRS,
        reference,
        tmp_path / "gradients",
    )


@pytest.mark.parametrize(
    "options",
    [{"n_inner": 20, "activation_function": "relu"}, {"tie_word_embeddings": False, "layer_norm_epsilon": 1e-3}],
    ids=["sizes", "untied"],
)
def test_other_configs_equal_theirs(tmp_path, options):
    reference = reference_of(**options)
    tensors, config = saved(reference, tmp_path)
    model = gpt2.model_from(config).clone(scan=True, remat=True)
    variables = read(model, tensors, gpt2.layout(tie_embeddings=model.tie_embeddings), INPUTS)
    logits = jax.jit(lambda variables: model.apply(variables, **INPUTS, train=False))(variables)
    assert_close(logits, reference(**THEIRS).logits)


def test_padding_on_either_side_equals_theirs(tmp_path):
    reference = reference_of()
    tensors, config = saved(reference, tmp_path)
    model = gpt2.model_from(config)
    variables, _ = to_ours(tensors, shapes(model, INPUTS), gpt2.layout(tie_embeddings=model.tie_embeddings))
    behind = (np.arange(9)[None] < np.array([9, 4, 6])[:, None]).astype(np.int32)
    for mask in (behind, behind[:, ::-1].copy()):
        places = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
        found = model.apply(
            variables, **INPUTS, token_mask=jnp.asarray(mask), positions=jnp.asarray(places), train=False
        )
        expected = reference(
            **THEIRS, attention_mask=torch.tensor(mask), position_ids=torch.tensor(places, dtype=torch.long)
        ).logits
        real = mask != 0
        assert_close(found[real], expected[torch.tensor(real)])


def test_a_file_of_the_bare_model_with_masks_of_old_is_read(tmp_path):
    tensors, config = saved(reference_of(transformers.GPT2Model), tmp_path)
    old = {"h.0.attn.bias": np.tril(np.ones((1, 1, 16, 16), bool)), "h.1.attn.masked_bias": np.float32(-1e4)}
    model = gpt2.model_from(config)
    read(model, tensors, gpt2.layout(tie_embeddings=model.tie_embeddings), INPUTS, prefix="")
    _, report = to_ours({**tensors, **old}, shapes(model, INPUTS), gpt2.layout(tie_embeddings=model.tie_embeddings))
    assert sum(line.word == "ignored" for line in report.lines) == 2


def test_what_they_generate_greedily_is_what_the_cache_gives(tmp_path):
    reference = reference_of(bos_token_id=0, eos_token_id=None)
    tensors, config = saved(reference, tmp_path)
    model = gpt2.model_from(config)
    variables, _ = to_ours(tensors, shapes(model, INPUTS), gpt2.layout(tie_embeddings=model.tie_embeddings))
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    expected = reference.generate(**THEIRS, attention_mask=torch.ones(3, 9, dtype=torch.long), **options)
    step = jax.jit(lambda tokens, cache: model.apply(variables, tokens, cache=cache, train=False))
    logits, cache = step(INPUTS["tokens"], model.empty_cache(3, 16))
    found = [jnp.argmax(logits[:, -1:], axis=-1)]
    for _ in range(5):
        logits, cache = step(found[-1], cache)
        found.append(jnp.argmax(logits[:, -1:], axis=-1))
    np.testing.assert_array_equal(jnp.concatenate(found, axis=1), expected[:, 9:])


@pytest.mark.parametrize(
    "change",
    [
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
        {"add_cross_attention": True},
        {"embd_pdrop": 0.3},
        {"architectures": ["GPT2DoubleHeadsModel"]},
        {"activation_function": "prelu"},
    ],
)
def test_what_is_not_implemented_is_refused_by_name(change):
    with pytest.raises(ConfigError, match=f"{next(iter(change))}="):
        gpt2.model_from({**TINY, **change})


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ({}, 124_439_808),
        ({"n_embd": 1024, "n_layer": 24, "n_head": 16}, 354_823_168),
        ({"n_embd": 1280, "n_layer": 36, "n_head": 20}, 774_030_080),
        ({"n_embd": 1600, "n_layer": 48, "n_head": 25}, 1_557_611_200),
    ],
    ids=["small", "medium", "large", "xl"],
)
def test_published_sizes_have_their_tensors(size, count):
    config = transformers.GPT2Config(**size)
    with torch.device("meta"):
        reference = transformers.GPT2LMHeadModel(config)
    model = gpt2.model_from(config.to_dict())
    made = shapes(model, {"tokens": jnp.zeros((1, 4), jnp.int32)})
    assert trees.count(made["params"]) == sum(leaf.numel() for leaf in reference.parameters()) == count
    # Arrays that take no memory: one number, repeated.
    tensors = {name: np.broadcast_to(np.float32(0), tuple(x.shape)) for name, x in reference.named_parameters()}
    _, report = to_ours(tensors, made, gpt2.layout(tie_embeddings=model.tie_embeddings))
    assert {line.word for line in report.lines} == {"copied", "split"}
