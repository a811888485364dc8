import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.augment.masking import MaskTokens

MASK = MaskTokens(vocabulary_size=100, mask_token=4, random_from=6, never=(0, 1, 2))


def batch(rows=64, length=50):
    rng = np.random.default_rng(0)
    tokens = rng.integers(6, 100, (rows, length), np.int32)
    tokens[:, 0] = 2
    mask = (np.arange(length)[None] < rng.integers(10, length, rows)[:, None]).astype(np.float32)
    return {"tokens": np.where(mask, tokens, 0).astype(np.int32), "token_mask": mask, "mask": np.ones(rows, np.float32)}


def test_the_shares_are_those_of_bert():
    data = batch(2000)
    found = jax.jit(MASK)(jax.random.key(1), data)
    chosen = np.asarray(found["target_mask"]) == 1
    could = (data["token_mask"] == 1) & (data["tokens"] != 2)
    assert not chosen[~could].any()
    assert chosen[could].mean() == pytest.approx(0.15, abs=0.005)
    np.testing.assert_array_equal(found["targets"], data["tokens"])
    tokens = np.asarray(found["tokens"])
    np.testing.assert_array_equal(tokens[~chosen], data["tokens"][~chosen])
    same = tokens[chosen] == data["tokens"][chosen]
    assert (tokens[chosen] == 4).mean() == pytest.approx(0.8, abs=0.02)
    assert same.mean() == pytest.approx(0.1 + 0.1 / 94, abs=0.02)
    others = tokens[chosen][(tokens[chosen] != 4) & ~same]
    assert others.min() >= 6
    assert len(np.unique(others)) > 80, "a random token is any of the vocabulary"


def test_a_limit_gives_the_places_that_are_asked_for():
    data = batch()
    limited = MaskTokens(vocabulary_size=100, mask_token=4, random_from=6, never=(0, 2), rate=0.3, limit=5)
    found = {name: np.asarray(x) for name, x in limited(jax.random.key(0), data).items()}
    assert found["places"].shape == found["targets"].shape == found["target_mask"].shape == (64, 5)
    asked = found["target_mask"] == 1
    assert 3 < asked.sum(axis=1).mean() <= 5
    rows = np.repeat(np.arange(64)[:, None], 5, axis=1)
    np.testing.assert_array_equal(data["tokens"][rows, found["places"]], found["targets"])
    changed = found["tokens"] != data["tokens"]
    elsewhere = np.ones_like(changed)
    elsewhere[rows[asked], found["places"][asked]] = False
    assert not changed[elsewhere].any(), "nothing is hidden that is not asked for"
    assert all(len(set(row[kept])) == kept.sum() for row, kept in zip(found["places"], asked))
    with pytest.raises(ValueError, match="masked by a limit already"):
        limited(jax.random.key(0), found)


def test_without_the_limit_in_reach_it_hides_the_same():
    data = batch()
    whole = MASK(jax.random.key(3), data)
    limited = MaskTokens(vocabulary_size=100, mask_token=4, random_from=6, never=(0, 1, 2), limit=50)
    np.testing.assert_array_equal(whole["tokens"], limited(jax.random.key(3), data)["tokens"])


def test_a_row_depends_on_its_number_and_the_key_alone():
    data = batch()
    whole = MASK(jax.random.key(5), data)
    half = MASK(jax.random.key(5), {name: x[:7] for name, x in data.items()})
    np.testing.assert_array_equal(whole["tokens"][:7], half["tokens"])
    other = MASK(jax.random.key(6), data)
    assert (np.asarray(other["target_mask"]) != np.asarray(whole["target_mask"])).any()


def test_masked_rows_are_masked_anew_from_what_they_were():
    data = batch()
    once = MASK(jax.random.key(0), data)
    again = MASK(jax.random.key(1), once)
    np.testing.assert_array_equal(again["targets"], data["tokens"])
    np.testing.assert_array_equal(again["tokens"], MASK(jax.random.key(1), data)["tokens"])


def test_padding_may_hold_anything():
    data = {"tokens": jnp.zeros((1, 4), jnp.int32), "token_mask": jnp.zeros((1, 4)), "mask": jnp.zeros(1)}
    assert not np.asarray(MASK(jax.random.key(0), data)["target_mask"]).any()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"rate": 0.0}, "rate must be in"),
        ({"masked": 0.8, "random": 0.3}, "masked [+] random at most 1"),
        ({"random_from": 100}, "random_from and mask_token"),
        ({"mask_token": -1}, "random_from and mask_token"),
        ({"limit": 0}, "limit must be at least 1"),
    ],
)
def test_refuses_what_makes_no_sense(wrong, reason):
    with pytest.raises(ValueError, match=reason):
        MaskTokens(**({"vocabulary_size": 100, "mask_token": 4} | wrong))
