import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop.convert import to_ours
from jaxdl.interop.families import whisper
from jaxdl.models.whisper import Whisper

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import assert_close, check_gradients, make, read, saved, shapes  # noqa: E402

TINY = {
    "vocab_size": 40,
    "num_mel_bins": 6,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 36,
    "decoder_ffn_dim": 36,
    "max_source_positions": 10,
    "max_target_positions": 12,
    "decoder_start_token_id": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(2, 20, 6)).astype(np.float32)
TOKENS = RANDOM.integers(1, 40, (2, 7)).astype(np.int32)
INPUTS = {"features": jnp.asarray(FEATURES), "targets": jnp.asarray(TOKENS)}
THEIRS = {
    "input_features": torch.tensor(FEATURES.transpose(0, 2, 1)),
    "decoder_input_ids": torch.tensor(TOKENS, dtype=torch.long),
}


def test_outputs_and_gradients_equal_theirs(tmp_path):
    reference = make(transformers.WhisperForConditionalGeneration, transformers.WhisperConfig(**TINY))
    tensors, config = saved(reference, tmp_path / "model")
    model = whisper.model_from(config)
    assert isinstance(model, Whisper)
    variables = read(model, tensors, whisper.layout(), INPUTS)
    outputs = jax.jit(lambda variables: model.apply(variables, **INPUTS, train=False))(variables)
    expected = reference(**THEIRS)
    assert_close(outputs, expected.logits, atol=2e-5)
    context = model.apply(variables, INPUTS["features"], method="encode")
    assert_close(context, expected.encoder_last_hidden_state)

    def ours(logits):
        return jnp.sum(jnp.sin(logits))

    def theirs(outputs):
        return outputs.logits.sin().sum()

    check_gradients(model, variables, whisper.layout(), INPUTS, ours, theirs, THEIRS, reference, tmp_path / "gradients")


def test_the_scanned_model_reads_the_file_of_a_bare_one_too(tmp_path):
    reference = make(transformers.WhisperModel, transformers.WhisperConfig(**TINY))
    tensors, config = saved(reference, tmp_path)
    model = whisper.model_from(config).clone(scan=True)
    variables = read(model, tensors, whisper.layout(), INPUTS, prefix="")
    outputs = jax.jit(lambda variables: model.apply(variables, **INPUTS, train=False))(variables)
    table = variables["params"]["decoder"]["token_embedding"]["embedding"]
    assert_close(outputs, reference(**THEIRS).last_hidden_state @ torch.tensor(np.asarray(table)).T, atol=2e-5)


def test_padded_targets_equal_theirs(tmp_path):
    reference = make(transformers.WhisperForConditionalGeneration, transformers.WhisperConfig(**TINY))
    tensors, config = saved(reference, tmp_path)
    model = whisper.model_from(config)
    variables, _ = to_ours(tensors, shapes(model, INPUTS), whisper.layout())
    mask = (np.arange(7)[None] < np.array([[7], [4]])).astype(np.int32)
    found = model.apply(variables, **INPUTS, target_mask=jnp.asarray(mask), train=False)
    expected = reference(**THEIRS, decoder_attention_mask=torch.tensor(mask)).logits
    assert_close(found[0], expected[0], atol=2e-5)
    assert_close(found[1, :4], expected[1, :4], atol=2e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"scale_embedding": True},
        {"decoder_ffn_dim": 48},
        {"encoder_layerdrop": 0.1},
        {"architectures": ["WhisperForAudioClassification"]},
        {"activation_function": "prelu"},
    ],
)
def test_what_is_not_implemented_is_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        whisper.model_from({**TINY, **change})


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ({}, 37_760_640),
        ({"d_model": 512, "layers": 6, "heads": 8}, 72_593_920),
        ({"d_model": 768, "layers": 12, "heads": 12}, 241_734_912),
        ({"d_model": 1024, "layers": 24, "heads": 16}, 763_857_920),
        ({"d_model": 1280, "layers": 32, "heads": 20}, 1_543_304_960),
        ({"d_model": 1280, "layers": 32, "heads": 20, "num_mel_bins": 128, "vocab_size": 51_866}, 1_543_490_560),
    ],
    ids=["tiny", "base", "small", "medium", "large", "large-v3"],
)
def test_published_sizes_have_their_tensors(size, count):
    size = dict(size)
    width, layers, heads = (size.pop(key, default) for key, default in (("d_model", 384), ("layers", 4), ("heads", 6)))
    sides = {"encoder_layers": layers, "encoder_attention_heads": heads, "encoder_ffn_dim": 4 * width}
    sides |= {key.replace("encoder", "decoder"): value for key, value in sides.items()}
    config = transformers.WhisperConfig(d_model=width, **sides, **size)
    with torch.device("meta"):
        reference = transformers.WhisperForConditionalGeneration(config)
    assert sum(parameter.numel() for parameter in reference.parameters()) == count
    model = whisper.model_from(config.to_dict())
    frames = {"features": jnp.zeros((1, 3000, model.num_mels)), "targets": jnp.zeros((1, 4), jnp.int32)}
    made = shapes(model, frames)
    assert sum(int(np.prod(leaf.shape)) for leaf in trees.flatten(made["params"]).values()) == count
    if count < 50_000_000:
        # One number, repeated: takes no memory of its own.
        tensors = {
            name: np.broadcast_to(np.float32(0), tuple(leaf.shape))
            for name, leaf in reference.state_dict().items()
            if name != "proj_out.weight"
        }
        _, report = to_ours(tensors, made, whisper.layout())
        assert not [line for line in report.lines if line.word in ("initialised", "left out", "ignored", "skipped")]
