import jax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.optim import merge, partition
from jaxdl.trees import names

PARAMS = {
    "encoder": {"block_0": {"kernel": 1, "bias": 2}, "norm": {"scale": 3}},
    "head": {"kernel": 4, "bias": 5},
}
keys = st.sampled_from(["a", "b", "c"])
trees = st.recursive(st.integers(), lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(tree=st.dictionaries(keys, trees, min_size=1), data=st.data())
def test_merge_is_the_inverse_of_partition(tree, data):
    leaf_names = names(tree)
    chosen = data.draw(st.lists(st.sampled_from(leaf_names), unique=True)) if leaf_names else []
    if leaf_names and len(chosen) == len(leaf_names):
        chosen = chosen[1:]
    trainable, frozen = partition(tree, chosen)
    assert merge(trainable, frozen) == tree
    assert merge(frozen, trainable) == tree
    assert sorted(names(frozen)) == sorted(chosen)
    assert len(names(trainable)) == len(leaf_names) - len(chosen)


def test_frozen_subtrees_leave_no_trace():
    trainable, frozen = partition(PARAMS, ("encoder/.*", ".*bias"))
    assert trainable == {"head": {"kernel": 4}}
    assert frozen == {"encoder": PARAMS["encoder"], "head": {"bias": 5}}


def test_nothing_frozen():
    assert partition(PARAMS, ()) == (PARAMS, {})


def test_the_input_is_not_changed_and_not_shared():
    trainable, _ = partition(PARAMS, ())
    trainable["head"]["kernel"] = 0
    assert PARAMS["head"]["kernel"] == 4
    merged = merge({"head": PARAMS["head"]}, {})
    merged["extra"] = 1
    assert "extra" not in PARAMS


def test_works_under_grad():
    def loss(trainable, frozen):
        params = merge(trainable, frozen)
        return params["a"]["x"] ** 2 * params["b"]["y"]

    trainable, frozen = partition({"a": {"x": 3.0}, "b": {"y": 5.0}}, ("b/y",))
    assert jax.grad(loss)(trainable, frozen) == {"a": {"x": 30.0}}


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("encoder",), r"'encoder' matches no parameter; write 'encoder/\.\*'"),
        (("encodr/.*",), r"'encodr/\.\*' matches no parameter. The nearest names are .*"),
        (("head/kernal",), r"The nearest names are head/kernel"),
        (("zzz",), r"'zzz' matches no parameter. The nearest names are encoder/block_0/bias"),
        ((".*",), "match every parameter"),
        (("encoder/.*", "head/.*"), "match every parameter"),
        (("(",), r"'\(' is not a regular expression"),
    ],
)
def test_errors(patterns, message):
    with pytest.raises(ValueError, match=message):
        partition(PARAMS, patterns)


def test_merging_what_overlaps_is_an_error():
    with pytest.raises(ValueError, match="head/bias is in both"):
        merge(PARAMS, {"head": {"bias": 1}})
