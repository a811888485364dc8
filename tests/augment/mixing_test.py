import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.augment import CutMix, Mixup
from jaxdl.augment.mixing import soft_labels

ROWS = 400
# Every image is filled with the number of its row, so that a pixel tells where it comes from.
IMAGE = np.broadcast_to(np.arange(ROWS, dtype=np.float32)[:, None, None, None], (ROWS, 10, 12, 1))
BATCH = {"image": IMAGE, "label": np.arange(ROWS, dtype=np.int32), "mask": np.ones(ROWS, np.float32)}


def apply(augmentation, batch=BATCH):
    out = jax.jit(augmentation)(jax.random.key(0), batch)
    return np.asarray(out["image"]), np.asarray(out["label"])


def test_mixup_blends_labels_as_it_blends_images():
    image, label = apply(Mixup(num_classes=ROWS, alpha=1.0))
    np.testing.assert_allclose(label.sum(1), np.ones(ROWS), rtol=1e-5)
    assert ((label > 0).sum(1) <= 2).all()
    np.testing.assert_allclose(image[:, 0, 0, 0], label @ np.arange(ROWS), rtol=1e-3)
    shares = label[np.arange(ROWS), np.arange(ROWS)]
    # Beta(1, 1) is uniform: mean 1/2 and deviation 0.29, within four standard errors of 400 draws.
    assert abs(shares.mean() - 0.5) < 0.06
    assert abs(shares.std() - 0.29) < 0.03


@pytest.mark.parametrize(("alpha", "spread"), [(0.1, (0.35, 0.5)), (100.0, (0.0, 0.06))])
def test_alpha_decides_how_evenly_mixup_blends(alpha, spread):
    _, label = apply(Mixup(num_classes=ROWS, alpha=alpha))
    shares = label[np.arange(ROWS), np.arange(ROWS)]
    assert spread[0] < shares.std() < spread[1]


def test_mixup_scales_bytes():
    image, _ = apply(Mixup(num_classes=4), {"image": np.full((4, 2, 2, 1), 255, np.uint8), "label": np.arange(4)})
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, np.ones_like(image), rtol=1e-6)


def test_cutmix_labels_say_how_many_pixels_come_from_where():
    image, label = apply(CutMix(num_classes=ROWS))
    for row in range(ROWS):
        sources, counts = np.unique(image[row], return_counts=True)
        expected = np.zeros(ROWS)
        expected[sources.astype(int)] = counts / 120
        np.testing.assert_allclose(label[row], expected, atol=1e-6)


def test_cutmix_pastes_one_rectangle():
    image, _ = apply(CutMix(num_classes=ROWS))
    pasted = image[..., 0] != np.arange(ROWS)[:, None, None]
    for pixels in pasted[pasted.any((1, 2))]:
        assert pixels.sum() == pixels.any(1).sum() * pixels.any(0).sum()
    # Half of the area is drawn on average; cutting at the edge keeps 0.25 to 0.45 of it.
    assert 0.2 < pasted.mean() < 0.45


@pytest.mark.parametrize("make", [Mixup, CutMix])
def test_soft_labels_mix_as_class_ids_do(make):
    soft = BATCH | {"label": np.eye(ROWS, dtype=np.float32)}
    for ours, expected in zip(apply(make(num_classes=ROWS), soft), apply(make(num_classes=ROWS))):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("make", [Mixup, CutMix])
def test_padding_neither_gives_nor_takes(make):
    mask = (np.arange(ROWS) % 2).astype(np.float32)
    image = np.where(mask[:, None, None, None] > 0, IMAGE, np.nan)
    mixed, label = apply(make(num_classes=ROWS, alpha=1.0), BATCH | {"image": image, "mask": mask})
    assert np.isfinite(mixed[mask > 0]).all()
    assert np.isnan(mixed[mask == 0]).all()
    np.testing.assert_array_equal(label[mask == 0], 0)
    np.testing.assert_array_equal(label[:, mask == 0], 0)
    np.testing.assert_allclose(label[mask > 0].sum(1), np.ones(ROWS // 2), rtol=1e-5)


def test_a_class_that_does_not_exist_becomes_nan():
    soft = soft_labels(np.array([0, -1, 2]), 2)
    np.testing.assert_array_equal(jnp.isnan(soft).any(1), [False, True, True])


@pytest.mark.parametrize("make", [Mixup, CutMix])
def test_alpha_must_be_positive(make):
    with pytest.raises(ValueError, match="not 0"):
        make(num_classes=2, alpha=0.0)
