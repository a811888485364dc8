import numpy as np

from jaxdl.data.validation import non_finite, out_of_range


def test_out_of_range_finds_rows_and_values():
    labels = np.array([0, -1, 9, 10, 2**40])
    assert [row for row, _ in out_of_range(labels, 0, 10)] == [1, 3, 4]
    assert "1099511627776" in out_of_range(labels, 0, 10)[2][1]
    assert out_of_range(np.arange(10), 0, 10) == []


def test_out_of_range_of_tokens_shows_the_first_wrong_one():
    tokens = np.zeros((3, 4), np.uint16)
    tokens[1, 2:] = (500, 600)
    assert out_of_range(tokens, 0, 100, "token") == [(1, "token 500 is outside [0, 100)")]


def test_out_of_range_refuses_nan():
    assert [row for row, _ in out_of_range(np.array([0.5, np.nan]), 0, 1)] == [1]


def test_non_finite_names_the_field_and_the_place():
    x = np.zeros((3, 2, 2), np.float32)
    x[1, 0, 1] = np.inf
    x[2, 1, 0] = np.nan
    assert non_finite({"x": x, "label": np.zeros(3, int)}) == [
        (1, "field 'x' holds inf at (0, 1)"),
        (2, "field 'x' holds nan at (1, 0)"),
    ]
