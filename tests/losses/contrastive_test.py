import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.losses import info_nce

FEW = settings(max_examples=15, deadline=None)
LOSS = jax.jit(info_nce)


@jax.jit
@functools.partial(jax.grad, argnums=(0, 1), has_aux=True)
def gradient(first, second, mask, same):
    """The gradient of the summed loss, and the loss."""
    loss = info_nce(first, second, scale=5.0, mask=mask, same=same)
    return loss.sum(), loss


def vectors(rows, seed=0, features=5):
    found = np.random.default_rng(seed).normal(size=(2, rows, features)).astype(np.float32)
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def test_equals_torch_and_so_does_its_gradient():
    torch = pytest.importorskip("torch")
    first, second = vectors(6)
    theirs = [torch.tensor(x, requires_grad=True) for x in (first, second)]
    logits = 7.0 * theirs[0] @ theirs[1].T
    cost = torch.nn.functional.cross_entropy
    expected = sum(cost(x, torch.arange(6), reduction="none") for x in (logits, logits.T)) / 2
    np.testing.assert_allclose(LOSS(first, second, scale=7.0), expected.detach(), rtol=1e-5)
    expected.sum().backward()
    found = jax.grad(lambda *x: info_nce(*x, scale=7.0).sum(), argnums=(0, 1))(first, second)
    for ours, x in zip(found, theirs):
        np.testing.assert_allclose(ours, x.grad, rtol=1e-4, atol=1e-5)


def test_equals_the_loss_of_clip_in_transformers():
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12, "hidden_size": 8}
    config = transformers.CLIPConfig(
        text_config={**sizes, "vocab_size": 20, "max_position_embeddings": 6, "eos_token_id": 19},
        vision_config={**sizes, "image_size": 8, "patch_size": 4},
        projection_dim=6,
    )
    model = transformers.CLIPModel(config).eval()
    tokens = torch.cat([torch.randint(3, 19, (5, 5)), torch.full((5, 1), 19)], dim=1)
    with torch.no_grad():
        outputs = model(input_ids=tokens, pixel_values=torch.randn(5, 3, 8, 8), return_loss=True)
        scale = model.logit_scale.exp().item()
    found = LOSS(outputs.image_embeds.numpy(), outputs.text_embeds.numpy(), scale=scale)
    np.testing.assert_allclose(found.mean(), outputs.loss.item(), rtol=1e-5)


def test_all_that_belong_together_are_right_in_equal_shares():
    torch = pytest.importorskip("torch")
    first, second = vectors(5, seed=1)
    ids = np.asarray([0, 1, 0, 2, 1])
    same = torch.tensor(ids[:, None] == ids).float()
    logits = torch.tensor(3.0 * first @ second.T)
    cost = torch.nn.functional.cross_entropy
    shares = same / same.sum(dim=1, keepdim=True)
    expected = (cost(logits, shares, reduction="none") + cost(logits.T, shares, reduction="none")) / 2
    for given_as in (ids, same.numpy() != 0, (same - torch.eye(5)).numpy()):
        np.testing.assert_allclose(LOSS(first, second, scale=3.0, same=given_as), expected, rtol=1e-5)


def test_a_matrix_that_goes_one_way_is_turned_for_the_other_direction():
    first, second = vectors(3, seed=2)
    same = np.eye(3, dtype=bool)
    same[0, 1] = True  # The second of row 1 is right for the first of row 0.
    logs = jax.nn.log_softmax(first @ second.T), jax.nn.log_softmax(second @ first.T)
    expected = [
        -((logs[0][0, 0] + logs[0][0, 1]) / 2 + logs[1][0, 0]) / 2,
        -(logs[0][1, 1] + (logs[1][1, 0] + logs[1][1, 1]) / 2) / 2,
        -(logs[0][2, 2] + logs[1][2, 2]) / 2,
    ]
    np.testing.assert_allclose(LOSS(first, second, same=same), expected, rtol=1e-5)


@FEW
@given(st.sampled_from([(1, 0), (1, 4), (5, 2)]), st.integers(0, 99))
def test_padding_changes_nothing(sizes, seed):
    rows, padding = sizes
    first, second = vectors(rows, seed)
    ids = np.random.default_rng(seed).integers(0, 3, rows).astype(np.int32)
    plain = LOSS(first, second, scale=5.0, same=ids)
    order = np.random.default_rng(seed).permutation(rows + padding)
    wide = [np.concatenate([x, np.full((padding, 5), np.nan, np.float32)])[order] for x in (first, second)]
    mask = (np.arange(rows + padding) < rows).astype(np.float32)[order]
    wide_ids = np.concatenate([ids, np.zeros(padding, np.int32)])[order]

    grads, found = gradient(*wide, mask, wide_ids)
    np.testing.assert_allclose(found[np.argsort(order)][:rows], plain, rtol=1e-5, atol=1e-6)
    assert (np.asarray(found)[mask == 0] == 0).all()
    assert all((np.asarray(x)[mask == 0] == 0).all() and np.isfinite(x).all() for x in grads)


@FEW
@given(st.permutations(range(6)), st.integers(0, 99))
def test_the_order_of_the_rows_does_not_matter(order, seed):
    first, second = vectors(6, seed)
    ids, order = np.asarray([0, 1, 1, 2, 3, 0]), np.asarray(order)
    plain = LOSS(first, second, scale=4.0, same=ids)
    found = LOSS(first[order], second[order], scale=4.0, same=ids[order])
    np.testing.assert_allclose(found, plain[order], rtol=1e-5)


def test_both_sides_count_alike_and_distinct_ids_are_no_ids():
    first, second = vectors(4)
    plain = LOSS(first, second)
    np.testing.assert_allclose(LOSS(second, first), plain, rtol=1e-6)
    np.testing.assert_array_equal(LOSS(first, second, same=np.arange(4)), plain)


def test_a_batch_of_padding_alone_is_zero_with_zero_gradients():
    first, second = vectors(3)
    mask = np.zeros(3, np.float32)
    loss, grads = jax.value_and_grad(lambda x: info_nce(x, second, mask=mask).sum())(first)
    assert loss == 0
    np.testing.assert_array_equal(grads, 0)


def test_computes_in_single_precision():
    first, second = (jnp.asarray(x, jnp.bfloat16) for x in vectors(3))
    assert info_nce(first, second, scale=jnp.asarray(3, jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"second_BE": np.ones((4, 5))}, r"\(3, 5\) and \(4, 5\)"),
        ({"mask": np.ones((3, 1))}, r"mask .*\(3,\), not \(3, 1\)"),
        ({"same": np.ones(3)}, r"float32 \(3,\)"),
        ({"same": np.ones((3, 2), np.int32)}, r"int32 \(3, 2\)"),
    ],
)
def test_what_does_not_belong_together_is_refused(options, message):
    first, second = vectors(3)
    with pytest.raises(ValueError, match=message):
        info_nce(**{"first_BE": first, "second_BE": second, **options})
