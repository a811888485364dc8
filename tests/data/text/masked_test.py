import numpy as np
import pytest

from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource
from jaxdl.data.text.masked import MaskedRows

LENGTH = 40


def rows(count=500):
    rng = np.random.default_rng(0)
    tokens = rng.integers(6, 100, (count, LENGTH)).astype(np.int32)
    mask = np.ones((count, LENGTH), np.float32)
    mask[:, 30:] = 0
    return ArraySource(arrays={"tokens": tokens, "token_mask": mask})


def masked(count=500, **changes):
    return MaskedRows(source=rows(count), vocabulary_size=100, mask_token=4, random_from=6, **changes)


def test_the_shares_are_those_of_bert():
    source = masked(2000)
    found = source.gather(np.arange(2000))
    chosen = found["target_mask"] == 1
    assert not chosen[:, 30:].any()
    assert chosen[:, :30].mean() == pytest.approx(0.15, abs=0.005)
    tokens, targets = found["tokens"][chosen], found["targets"][chosen]
    assert (tokens == 4).mean() == pytest.approx(0.8, abs=0.02)
    assert (tokens == targets).mean() == pytest.approx(0.1, abs=0.02)
    others = tokens[(tokens != 4) & (tokens != targets)]
    assert others.min() >= 6
    assert others.max() < 100
    np.testing.assert_array_equal(found["tokens"][~chosen], found["targets"][~chosen])
    per_row = chosen[:, :30].sum(axis=1)
    assert per_row.std() == pytest.approx(np.sqrt(30 * 0.15 * 0.85), rel=0.1), "rows are hidden independently"
    assert abs(np.corrcoef(chosen[:-1, :30].ravel(), chosen[1:, :30].ravel())[0, 1]) < 0.02


def test_a_row_is_the_same_in_every_batch():
    source = masked()
    whole = source.gather(np.arange(500))
    some = source.gather(np.array([7, 400, 7]))
    for name, value in some.items():
        np.testing.assert_array_equal(value, whole[name][[7, 400, 7]])
    np.testing.assert_array_equal(source[7]["tokens"], some["tokens"][0])
    assert some["tokens"].dtype == some["targets"].dtype == np.int32
    assert (masked(seed=1).gather(np.arange(500))["target_mask"] != whole["target_mask"]).any()


def test_some_tokens_are_never_hidden():
    found = masked(never=tuple(range(6, 60))).gather(np.arange(500))
    assert found["targets"][found["target_mask"] == 1].min() >= 60


def test_serves_a_pipeline():
    batch = Pipeline(source=masked(), batch_size=8)[3]
    assert set(batch) == {"tokens", "targets", "target_mask", "token_mask", "mask"}


def test_refuses_what_cannot_be_gathered():
    with pytest.raises(TypeError, match="A list cannot gather rows"):
        MaskedRows(source=[{}], vocabulary_size=100, mask_token=4)
    with pytest.raises(ValueError, match="rate must be in"):
        masked(rate=2.0)
    with pytest.raises(ValueError, match="random_from must be in"):
        MaskedRows(source=rows(), vocabulary_size=100, mask_token=4, random_from=100)
