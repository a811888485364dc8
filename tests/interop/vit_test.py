import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import trees
from jaxdl.errors import ConfigError
from jaxdl.interop.choices import Choices
from jaxdl.interop.convert import to_ours
from jaxdl.interop.families import deit, vit
from jaxdl.models.vit import ViT

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import assert_close, check_gradients, make, read, saved, shapes  # noqa: E402

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 36,
    "image_size": 12,
    "patch_size": 4,
}
IMAGE = np.random.default_rng(0).normal(size=(2, 12, 12, 3)).astype(np.float32)
INPUTS = {"image": jnp.asarray(IMAGE)}
THEIRS = {"pixel_values": torch.tensor(IMAGE).permute(0, 3, 1, 2)}


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_the_classifier_equals_theirs_and_so_do_gradients(tmp_path, qkv_bias):
    config = transformers.ViTConfig(**TINY, num_labels=5, qkv_bias=qkv_bias)
    reference = make(transformers.ViTForImageClassification, config)
    tensors, config = saved(reference, tmp_path / "model")
    model = vit.model_from(config)
    assert model.num_classes == 5
    variables = read(model, tensors, vit.layout(), INPUTS)
    assert_close(model.apply(variables, **INPUTS, train=False), reference(**THEIRS).logits)

    def ours(logits):
        return jnp.sum(logits**3)

    def theirs(outputs):
        return (outputs.logits**3).sum()

    check_gradients(model, variables, vit.layout(), INPUTS, ours, theirs, THEIRS, reference, tmp_path / "gradients")


def test_the_bare_model_gives_the_state_of_the_class_token(tmp_path):
    config = transformers.ViTConfig(**TINY)
    reference = make(lambda config: transformers.ViTModel(config, add_pooling_layer=False), config)
    tensors, config = saved(reference, tmp_path)
    model = vit.model_from(config)
    variables = read(model, tensors, vit.layout(), INPUTS, prefix="")
    assert_close(model.apply(variables, **INPUTS, train=False), reference(**THEIRS).last_hidden_state[:, 0])


def test_other_image_sizes_interpolate_the_positions(tmp_path):
    reference = make(transformers.ViTForImageClassification, transformers.ViTConfig(**TINY))
    tensors, config = saved(reference, tmp_path)
    model = vit.model_from(config)
    larger = np.random.default_rng(1).normal(size=(2, 24, 24, 3)).astype(np.float32)
    template = shapes(model, {"image": jnp.asarray(larger)})
    variables, _ = to_ours(tensors, template, vit.layout(), choices=Choices(resize=("position_embedding",)))
    assert variables["params"]["position_embedding"].shape == (37, 24)
    np.testing.assert_allclose(
        variables["params"]["position_embedding"][0], tensors["vit.embeddings.position_embeddings"][0, 0]
    )
    assert jnp.isfinite(model.apply(variables, larger, train=False)).all()


def test_deit_equals_theirs_and_so_do_gradients(tmp_path):
    config = transformers.DeiTConfig(**TINY, num_labels=5)
    reference = make(transformers.DeiTForImageClassificationWithTeacher, config)
    tensors, config = saved(reference, tmp_path / "model")
    model = deit.model_from(config)
    variables = read(model, tensors, deit.layout(), INPUTS)
    expected = reference(**THEIRS)
    assert_close(model.apply(variables, **INPUTS, train=False), expected.logits)
    heads = model.apply(variables, **INPUTS, train=False, method="heads")
    assert_close(heads[0], expected.cls_logits)
    assert_close(heads[1], expected.distillation_logits)

    def ours(logits):
        return jnp.sum(logits**3)

    def theirs(outputs):
        return (outputs.logits**3).sum()

    check_gradients(model, variables, deit.layout(), INPUTS, ours, theirs, THEIRS, reference, tmp_path / "gradients")


@pytest.mark.parametrize("option", [{"hidden_act": "gelu_10"}, {"architectures": ["ViTForMaskedImageModeling"]}])
def test_options_that_are_not_implemented_are_refused_by_name(option):
    with pytest.raises(ConfigError, match=f"{next(iter(option))}="):
        vit.model_from({**TINY, **option})


@pytest.mark.parametrize(
    ("model", "kind", "config"),
    [
        (ViT(num_classes=1000), "ViTForImageClassification", "ViTConfig"),
        (ViT(num_classes=1000, distilled=True), "DeiTForImageClassificationWithTeacher", "DeiTConfig"),
    ],
)
def test_full_sizes_have_the_shapes_of_theirs(model, kind, config):
    with torch.device("meta"):
        reference = getattr(transformers, kind)(getattr(transformers, config)(num_labels=1000))
    ours = shapes(model, {"image": jax.ShapeDtypeStruct((1, 224, 224, 3), "float32")})["params"]
    assert trees.count(ours) == sum(parameter.numel() for parameter in reference.parameters())
    expected = sorted(
        tuple(sorted(size for size in parameter.shape if size > 1)) for parameter in reference.parameters()
    )
    found = [tuple(sorted(size for size in leaf.shape if size > 1)) for leaf in trees.flatten(ours).values()]
    assert sorted(found) == expected
