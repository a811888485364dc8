import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.losses import ctc, least_frames


def example(seed, frames=9, classes=5, labels=4, rows=3, blank=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, frames + 1, rows)
    counts = random.integers(0, labels + 1, rows)
    ids = np.asarray([one for one in range(classes) if one != blank])
    return {
        "logits_BSV": random.normal(size=(rows, frames, classes)).astype(np.float32) * 2,
        "lengths_B": lengths.astype(np.int32),
        "labels_BT": random.choice(ids, (rows, labels)).astype(np.int32),
        "label_mask_BT": (np.arange(labels)[None] < counts[:, None]).astype(np.float32),
    }


def by_torch(logits, lengths, labels, mask, blank):
    logs = torch.log_softmax(torch.tensor(logits), dim=-1).transpose(0, 1)
    counts = torch.tensor(mask.sum(axis=1), dtype=torch.int64)
    lengths = torch.tensor(lengths, dtype=torch.int64)
    return torch.nn.functional.ctc_loss(
        logs, torch.tensor(labels, dtype=torch.int64), lengths, counts, blank=blank, reduction="none"
    ).numpy()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 4))
def test_it_is_torch_s(seed, blank):
    data = example(seed, blank=blank)
    found = np.asarray(ctc(**data, blank=blank))
    expected = by_torch(*data.values(), blank)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    needed = least_frames(data["labels_BT"], data["label_mask_BT"])
    np.testing.assert_array_equal(np.isinf(expected), data["lengths_B"] < needed)


def test_it_is_the_sum_over_all_paths():
    logits = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    logs = np.asarray(jax.nn.log_softmax(logits))
    total = 0.0
    for path in itertools.product(range(3), repeat=4):
        tokens = [token for token, _ in itertools.groupby(path) if token != 0]
        if tokens == [2, 1]:
            total += math.exp(sum(logs[frame, token] for frame, token in enumerate(path)))
    found = ctc(logits[None], np.array([4]), np.array([[2, 1, 1]]), np.array([[1, 1, 0]]))
    assert float(found[0]) == pytest.approx(-math.log(total), rel=1e-5)


def test_its_gradient_is_torch_s_and_none_where_it_is_impossible():
    data = example(7)
    data["lengths_B"] = np.asarray([9, 7, 1], np.int32)
    data["label_mask_BT"] = np.asarray([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]], np.float32)

    def total(logits):
        loss = ctc(**{**data, "logits_BSV": logits})
        return jnp.sum(jnp.where(jnp.isinf(loss), 0, loss))

    found = jax.grad(total)(jnp.asarray(data["logits_BSV"]))
    logits = torch.tensor(data["logits_BSV"], requires_grad=True)
    counts = torch.tensor(data["label_mask_BT"].sum(axis=1), dtype=torch.int64)
    loss = torch.nn.functional.ctc_loss(
        torch.log_softmax(logits, dim=-1).transpose(0, 1),
        torch.tensor(data["labels_BT"], dtype=torch.int64),
        torch.tensor(data["lengths_B"], dtype=torch.int64),
        counts,
        reduction="sum",
        zero_infinity=True,
    )
    loss.backward()
    np.testing.assert_allclose(found, logits.grad.numpy(), atol=1e-4)
    assert not np.asarray(found[2]).any()


def test_padding_has_no_influence():
    data = example(1)
    other = {name: value.copy() for name, value in data.items()}
    for row, length in enumerate(data["lengths_B"]):
        other["logits_BSV"][row, length:] = 50
    other["labels_BT"][data["label_mask_BT"] == 0] = 1
    np.testing.assert_allclose(ctc(**data), ctc(**other), rtol=1e-6)


def test_it_is_computed_in_float32():
    data = example(2)
    low = ctc(**{**data, "logits_BSV": jnp.asarray(data["logits_BSV"], jnp.bfloat16)})
    assert low.dtype == jnp.float32


def test_shapes_must_fit():
    data = example(0)
    for changes in ({"lengths_B": np.ones(2)}, {"labels_BT": np.ones(3)}, {"label_mask_BT": np.ones((3, 2))}):
        with pytest.raises(ValueError, match="needed, not"):
            ctc(**{**data, **changes})
    with pytest.raises(ValueError, match="a blank below 5"):
        ctc(**data, blank=5)
