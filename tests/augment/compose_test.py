"""What every augmentation promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxdl.augment import CutMix, Mixup, RandAugment, RandomCrop, RandomErasing, RandomFlip, compose

random = np.random.default_rng(0)
BATCH = {
    "image": random.integers(0, 256, (16, 8, 6, 3)).astype(np.uint8),
    "label": random.integers(0, 5, 16).astype(np.int32),
    "mask": (np.arange(16) < 13).astype(np.float32),
    "index": np.arange(16),
}
AUGMENTATIONS = {
    "crop": RandomCrop(padding=2),
    "flip": RandomFlip(),
    "erasing": RandomErasing(probability=0.7, fill=None),
    "mixup": Mixup(num_classes=5),
    "cutmix": CutMix(num_classes=5),
    "randaugment": RandAugment(num_ops=1),
    "composed": compose((RandomFlip(), Mixup(num_classes=5))),
}
pytestmark = pytest.mark.parametrize("name", AUGMENTATIONS)
COMPILED = {name: jax.jit(augmentation) for name, augmentation in AUGMENTATIONS.items()}


def augment(name, seed=0, batch=BATCH):
    return COMPILED[name](jax.random.key(seed), batch)


def test_the_key_alone_decides(name):
    first, again, other = augment(name), augment(name), augment(name, seed=1)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first["image"] != other["image"]).any()


def test_shapes_stay_and_entries_of_no_concern_are_untouched(name):
    out = augment(name)
    assert out["image"].shape == BATCH["image"].shape
    assert out["image"].dtype == (jnp.float32 if name in ("mixup", "composed") else jnp.uint8)
    np.testing.assert_array_equal(out["mask"], BATCH["mask"])
    np.testing.assert_array_equal(out["index"], BATCH["index"])


def test_sharding_changes_nothing(name):
    sharding = NamedSharding(jax.make_mesh((8,), ("data",), (AxisType.Auto,)), P("data"))
    sharded = COMPILED[name](jax.random.key(0), jax.device_put(BATCH, sharding))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), sharded, augment(name))


def test_padding_never_reaches_a_real_row(name):
    junk = random.integers(0, 256, (3, 8, 6, 3)).astype(np.uint8)
    spoilt = BATCH | {
        "image": np.concatenate([BATCH["image"][:13], junk]),
        "label": np.r_[BATCH["label"][:13], -1, 99, 3].astype(np.int32),
    }
    clean, dirty = augment(name), augment(name, batch=spoilt)
    for entry in ("image", "label"):
        np.testing.assert_array_equal(clean[entry][:13], dirty[entry][:13])
    assert jnp.isfinite(dirty["label"]).all()


def test_it_traces_once(name):
    COMPILED[name].clear_cache()
    for seed in range(3):
        augment(name, seed)
    assert COMPILED[name]._cache_size() == 1
