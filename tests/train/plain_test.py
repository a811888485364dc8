"""What is saved beside a state comes back, and what is not that is told."""

import ml_dtypes
import numpy as np
import pytest

from jaxdl.checkpoint import Restored
from jaxdl.errors import CheckpointError
from jaxdl.train import EarlyStopping
from jaxdl.train.hooks import Log
from jaxdl.train.hooks.save import recall, remembered
from jaxdl.train.plain import from_plain, read, to_plain
from jaxdl.train.resume import first_moment

TREE = {
    "a": np.asarray([[1.5, np.nan]], np.float32),
    "b": np.asarray(2.5, ml_dtypes.bfloat16),
    "c": np.asarray([True]),
    "d": np.asarray([2**40]),
}


def test_arrays_come_back():
    back = from_plain(to_plain(TREE), TREE)
    for name, value in TREE.items():
        assert back[name].dtype == value.dtype
        np.testing.assert_array_equal(back[name], value)
    assert from_plain(to_plain(TREE), {**TREE, "a": np.zeros(2, np.float32)}) is None
    assert from_plain(to_plain(TREE)[1:], TREE) is None


ONE = {"dtype": "float32", "shape": [2], "values": [1, 2]}


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        {},
        [1],
        [{}],
        [{**ONE, "dtype": "S999999999"}],
        [{**ONE, "dtype": "O"}],
        [{**ONE, "dtype": 3}],
        [{**ONE, "shape": [3]}],
        [{**ONE, "shape": [-1]}],
        [{**ONE, "shape": 2}],
        [{**ONE, "values": "12"}],
        [{**ONE, "values": ["1", "2"]}],
        [{**ONE, "values": [10**400, 0]}],
        [{**ONE, "dtype": "int8", "values": [300, 0]}],
        [{**ONE, "dtype": "int8", "values": [float("nan"), 0]}],
    ],
)
def test_what_is_no_array_is_told(damaged):
    assert len(read([ONE])) == 1
    with pytest.raises(ValueError, match=r"array|NaN"):
        read(damaged)
    with pytest.raises(CheckpointError, match="The hook 0-Log cannot go on"):
        recall([Log(5, print)], {"0-Log": {"window": damaged}})


@pytest.mark.parametrize(
    "memory", [None, [], "x", *({"0-EarlyStopping": one} for one in (None, {}, {"best": "1", "bad": 0}))]
)
def test_what_hooks_do_not_remember_is_told(memory):
    with pytest.raises(CheckpointError, match=r"checkpoint remembers of (hooks|it)"):
        recall([EarlyStopping("test/loss", mode="min")], memory)


def test_what_hooks_remember_comes_back():
    hook = EarlyStopping("test/loss", mode="min")
    recall([hook], {"0-EarlyStopping": {"best": float("nan"), "bad": 2}, "1-Other": 3})
    assert hook.bad == 2
    assert remembered([hook])["0-EarlyStopping"]["bad"] == 2


@pytest.mark.parametrize("info", [{}, {"hooks": {}}, {"stopped": None}, {"hooks": {}, "stopped": 3}])
def test_a_checkpoint_that_does_not_say_how_to_go_on_is_told(info):
    with pytest.raises(CheckpointError, match="the checkpoint of step 7 says of its run is damaged"):
        first_moment(None, None, Restored(step=7, state=None, info=info, metrics={}), (), None)
