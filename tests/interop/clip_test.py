import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop.families import clip
from jaxdl.models.clip import CLIP, ClipText, clip_vit

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import assert_close, check_gradients, make, read, saved, shapes  # noqa: E402

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 36, "projection_dim": 10}
TEXT = {**SIZES, "hidden_size": 24, "vocab_size": 40, "max_position_embeddings": 9}
IMAGES = {**SIZES, "hidden_size": 30, "image_size": 12, "patch_size": 4}
IMAGE = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)
LENGTHS = np.array([9, 4, 6])[:, None]
TOKENS = np.random.default_rng(1).integers(3, 38, (3, 9))
# Each text ends with 39 and is padded with the same.
TOKENS = np.where(np.arange(9)[None] < LENGTHS - 1, TOKENS, 39).astype(np.int32)
MASK = (np.arange(9)[None] < LENGTHS).astype(np.int32)
INPUTS = {"image": jnp.asarray(IMAGE), "tokens": jnp.asarray(TOKENS), "token_mask": jnp.asarray(MASK)}
THEIRS = {
    "pixel_values": torch.tensor(IMAGE).permute(0, 3, 1, 2),
    "input_ids": torch.tensor(TOKENS, dtype=torch.long),
    "attention_mask": torch.tensor(MASK),
}


def configured(end, **options):
    text, image = {**TEXT, "eos_token_id": end, **options}, {**IMAGES, **options}
    return transformers.CLIPConfig(text_config=text, vision_config=image, projection_dim=10)


@pytest.mark.parametrize(("end", "act"), [(39, "quick_gelu"), (2, "gelu")])
def test_both_towers_equal_theirs_and_so_do_gradients(tmp_path, end, act):
    reference = make(transformers.CLIPModel, configured(end, hidden_act=act))
    tensors, config = saved(reference, tmp_path / "model")
    model = clip.model_from(config)
    assert model.text_encoder.end_token == (39 if end == 39 else None)
    variables = read(model, tensors, clip.layout(), INPUTS)
    outputs, expected = model.apply(variables, **INPUTS, train=False), reference(**THEIRS)
    assert_close(outputs["image"], expected.image_embeds)
    assert_close(outputs["text"], expected.text_embeds)
    logits = outputs["scale"] * outputs["image"] @ outputs["text"].T
    assert_close(logits, expected.logits_per_image, atol=5e-5)
    if end == 2:
        return

    def ours(outputs):
        return jnp.sum(jnp.tanh(outputs["scale"] * outputs["image"] @ outputs["text"].T / 10) ** 3)

    def theirs(outputs):
        return ((outputs.logits_per_image / 10).tanh() ** 3).sum()

    check_gradients(model, variables, clip.layout(), INPUTS, ours, theirs, THEIRS, reference, tmp_path / "gradients")


def test_options_that_are_not_implemented_are_refused_by_name():
    with pytest.raises(ConfigError, match="architectures='CLIPTextModel'"):
        clip.model_from({"architectures": ["CLIPTextModel"]})


def test_full_size_has_the_shapes_of_theirs():
    with torch.device("meta"):
        reference = transformers.CLIPModel(transformers.CLIPConfig())
    inputs = {
        "image": jax.ShapeDtypeStruct((1, 224, 224, 3), "float32"),
        "tokens": jax.ShapeDtypeStruct((1, 77), "int32"),
    }
    model = CLIP(image_encoder=clip_vit(patch_size=32), text_encoder=ClipText())
    ours = shapes(model, inputs)["params"]
    assert trees.count(ours) == sum(parameter.numel() for parameter in reference.parameters()) == 151_277_313
    expected = sorted(tuple(sorted(parameter.shape)) for parameter in reference.parameters())
    assert sorted(tuple(sorted(leaf.shape)) for leaf in trees.flatten(ours).values()) == expected
