import numpy as np
import pytest

from jaxdl.interop.resize import grid, guess, resized


def table(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(("old", "new"), [(4, 6), (6, 4), (3, 7)])
def test_a_grid_is_resized_as_by_torch(old, new):
    torch = pytest.importorskip("torch")
    positions = table(1, 1 + old * old, 5)
    found, said = resized(positions, (1, 1 + new * new, 5), "grid")
    plane = torch.from_numpy(positions[:, 1:].reshape(1, old, old, 5)).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(plane, (new, new), mode="bicubic", antialias=True)
    np.testing.assert_allclose(found[:, 1:], expected.permute(0, 2, 3, 1).reshape(1, -1, 5).numpy(), atol=2e-5)
    np.testing.assert_array_equal(found[:, :1], positions[:, :1])
    assert f"bicubic from {old} x {old} to {new} x {new}" in said


def test_a_grid_without_class_token_and_without_batch():
    found, _ = resized(table(16, 5), (36, 5), "grid")
    assert found.shape == (36, 5)


def test_constants_stay_constants():
    for method, shape in (("grid", (37, 3)), ("linear", (33, 3))):
        found, _ = resized(np.ones((17, 3), np.float32), shape, method)
        np.testing.assert_allclose(found, np.ones(shape), atol=1e-6)


def test_a_sequence_is_resized_as_by_torch():
    torch = pytest.importorskip("torch")
    positions = table(8, 3)
    found, _ = resized(positions, (16, 3), "linear")
    expected = torch.nn.functional.interpolate(torch.from_numpy(positions.T)[None], 16, mode="linear")[0].numpy().T
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rows_are_cut_or_kept():
    words = table(7, 3)
    np.testing.assert_array_equal(resized(words, (5, 3), "rows")[0], words[:5])
    found, said = resized(words, (9, 3), "rows")
    np.testing.assert_array_equal(found, words)
    assert "2 initialised" in said


def test_what_differs_in_more_than_one_axis_is_not_resized():
    assert resized(table(7, 3), (5, 4), "rows") is None
    assert resized(table(7), (7, 1), "rows") is None
    assert resized(table(7, 3), (11, 3), "grid") is None


def test_the_method_follows_from_the_name():
    assert guess("position_embedding", (197, 4), (577, 4)) == "grid"
    assert guess("position_embedding/embedding", (512, 4), (1024, 4)) == "linear"
    assert guess("token_embedding/embedding", (16, 4), (25, 4)) == "rows"
    assert grid(198, 578) == (2, 14, 24)
    assert grid(5, 7) is None
