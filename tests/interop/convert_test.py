import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl import trees
from jaxdl.errors import CheckpointError, ConfigError
from jaxdl.interop.choices import Choices
from jaxdl.interop.convert import to_ours, to_theirs
from jaxdl.interop.layout import SPLIT, STACK, TRANSPOSE, Ignored, Prefix, Rule, Tied, num_batches_tracked

LAYOUT = (
    Prefix(("bert.", "")),
    Rule(
        tuple(f"layers/block_{{i}}/{name}/kernel" for name in ("query", "key", "value")),
        "{prefix}h.{i}.attn.weight",
        TRANSPOSE.then(SPLIT(1, 3)),
    ),
    Rule("experts/kernel", "{prefix}experts.{e}.weight", TRANSPOSE.then(STACK())),
    Rule("embedding", "{prefix}wte"),
    Rule("head/kernel", "head.weight", TRANSPOSE, optional=True),
    Rule("batch_stats/norm/mean", "{prefix}bn.running_mean"),
    num_batches_tracked("{prefix}bn.num_batches_tracked", "{prefix}bn.running_mean"),
    Ignored("{prefix}position_ids", "a count"),
    Tied("decoder.weight", "{prefix}wte"),
)


def shapes(layers=2, experts=11, classes=7, width=4):
    params = {
        "layers": {
            f"block_{i}": {name: {"kernel": (width, width)} for name in ("query", "key", "value")}
            for i in range(layers)
        },
        "experts": {"kernel": (experts, width, 5)},
        "embedding": (9, width),
        "head": {"kernel": (width, classes)},
    }
    tree = {"params": params, "batch_stats": {"norm": {"mean": (width,)}}}
    is_shape = lambda x: isinstance(x, tuple)  # noqa: E731
    return jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, np.float32), tree, is_leaf=is_shape)


def filled(template, seed=0):
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(leaf.dtype), template)


@pytest.fixture
def template():
    return shapes()


@pytest.fixture
def theirs(template):
    return to_theirs(filled(template), LAYOUT)[0]


def equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for name, leaf in trees.flatten(one).items():
        np.testing.assert_array_equal(leaf, trees.flatten(other)[name], err_msg=name)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 13), st.integers(1, 12), st.sampled_from(["bert.", ""]), st.integers(1, 5))
def test_round_trips_are_bit_equal(layers, experts, prefix, width):
    variables = filled(shapes(layers, experts, width=width))
    tensors, report = to_theirs(variables, LAYOUT, prefix=prefix)
    assert not report.unexplained
    assert all(tensor.flags.c_contiguous for tensor in tensors.values())
    again, report = to_ours(tensors, shapes(layers, experts, width=width), LAYOUT)
    equal(again, variables)
    assert not report.unexplained
    twice, _ = to_theirs(again, LAYOUT, prefix=prefix)
    assert twice.keys() == tensors.keys()
    assert all(twice[name].tobytes() == tensors[name].tobytes() for name in tensors)


def test_values_land_where_the_layout_says(template):
    variables = filled(template)
    tensors, _ = to_theirs(variables, LAYOUT)
    block = variables["params"]["layers"]["block_1"]
    np.testing.assert_array_equal(tensors["bert.h.1.attn.weight"][4:8], block["key"]["kernel"].T)
    np.testing.assert_array_equal(tensors["bert.experts.10.weight"], variables["params"]["experts"]["kernel"][10].T)
    np.testing.assert_array_equal(tensors["head.weight"], variables["params"]["head"]["kernel"].T)
    assert tensors["bert.bn.num_batches_tracked"].dtype == np.int64
    assert "decoder.weight" not in tensors
    assert "bert.position_ids" not in tensors


def test_a_missing_tensor_is_refused_with_the_nearest_name(theirs, template):
    theirs["bert.h.1.attention.weight"] = theirs.pop("bert.h.1.attn.weight")
    with pytest.raises(
        CheckpointError, match=r"(?s)block_1/query/kernel.*bert\.h\.1\.attn\.weight.*nearest: "
    ) as error:
        to_ours(theirs, template, LAYOUT, source="x.safetensors")
    assert "x.safetensors" in str(error.value)


def test_an_extra_tensor_is_refused(theirs, template):
    theirs["bert.extra"] = np.zeros(3)
    with pytest.raises(CheckpointError, match=r"extra  bert\.extra"):
        to_ours(theirs, template, LAYOUT)
    _, report = to_ours(theirs, template, LAYOUT, strict=False)
    assert [line.theirs for line in report.unexplained] == [("bert.extra",)]
    _, report = to_ours(theirs, template, LAYOUT, choices=Choices(skip=(r"bert\.extra",)))
    assert not report.unexplained


def test_another_shape_is_refused(theirs, template):
    theirs["bert.wte"] = np.zeros((10, 4), np.float32)
    with pytest.raises(
        CheckpointError, match=r"misshapen  \(9, 4\)  embedding <- bert.wte  \(the file has \(10, 4\)\)"
    ):
        to_ours(theirs, template, LAYOUT)


def test_a_tensor_that_cannot_be_split_is_refused(theirs, template):
    theirs["bert.h.0.attn.weight"] = np.zeros((13, 4), np.float32)
    with pytest.raises(CheckpointError, match="misshapen"):
        to_ours(theirs, template, LAYOUT)


def test_an_optional_head_may_be_missing_on_either_side(theirs, template):
    del theirs["head.weight"]
    tree, report = to_ours(theirs, template, LAYOUT)
    assert isinstance(tree["params"]["head"]["kernel"], jax.ShapeDtypeStruct)
    assert report.count()["initialised"] == 1
    theirs["head.weight"] = np.zeros((3, 3))
    del template["params"]["head"]
    _, report = to_ours(theirs, template, LAYOUT)
    assert report.count()["left out"] == 1


def test_tied_weights_must_repeat(theirs, template):
    theirs["decoder.weight"] = theirs["bert.wte"].copy()
    assert to_ours(theirs, template, LAYOUT)[1].count()["tied"] == 1
    theirs["decoder.weight"][0, 0] += 1
    with pytest.raises(CheckpointError, match="untied weights"):
        to_ours(theirs, template, LAYOUT)


def test_tied_weights_are_written_on_request(template):
    layout = (*LAYOUT[:-1], Tied("decoder.weight", "{prefix}wte", write=True))
    tensors, _ = to_theirs(filled(template), layout)
    np.testing.assert_array_equal(tensors["decoder.weight"], tensors["bert.wte"])


def test_skip_keeps_the_values_of_the_template(theirs, template):
    fresh = filled(template, seed=1)
    tree, report = to_ours(theirs, fresh, LAYOUT, choices=Choices(skip=("head/.*",)))
    np.testing.assert_array_equal(tree["params"]["head"]["kernel"], fresh["params"]["head"]["kernel"])
    assert not np.array_equal(tree["params"]["embedding"], fresh["params"]["embedding"])
    assert report.count()["skipped"] == 1


def test_part_of_a_split_can_be_skipped(theirs, template):
    fresh = filled(template, seed=1)
    tree, _ = to_ours(theirs, fresh, LAYOUT, choices=Choices(skip=(".*/value/kernel",)))
    block, old = tree["params"]["layers"]["block_0"], fresh["params"]["layers"]["block_0"]
    np.testing.assert_array_equal(block["value"]["kernel"], old["value"]["kernel"])
    assert not np.array_equal(block["key"]["kernel"], old["key"]["kernel"])


def test_map_renames_before_the_layout(theirs, template):
    wrapped = {f"module.{name}": tensor for name, tensor in theirs.items()}
    tree, _ = to_ours(wrapped, template, LAYOUT, choices=Choices(map=((r"module\.(.*)", r"\1"),)))
    equal(tree, filled(template))


def test_without_a_layout_the_names_are_ours(template):
    variables = filled(template)
    flat = {name.removeprefix("params/"): leaf for name, leaf in trees.flatten(variables).items()}
    tree, report = to_ours(flat, template, None)
    equal(tree, variables)
    assert set(report.count()) == {"copied"}
    del flat["embedding"]
    with pytest.raises(CheckpointError, match="embedding"):
        to_ours(flat, template, None)


def test_rows_are_copied_and_the_rest_stays_fresh(theirs, template):
    fresh = filled(shapes(classes=9), seed=1)
    choices = Choices(resize=(("head/kernel", "rows"),))
    tree, report = to_ours(theirs, fresh, LAYOUT, choices=choices)
    kernel = tree["params"]["head"]["kernel"]
    np.testing.assert_array_equal(kernel[:, :7], theirs["head.weight"].T)
    np.testing.assert_array_equal(kernel[:, 7:], fresh["params"]["head"]["kernel"][:, 7:])
    assert "first 7 of 7 to 9 copied, 2 initialised" in str(report)
    tree, _ = to_ours(theirs, shapes(classes=9), LAYOUT, choices=choices)
    assert tree["params"]["head"]["kernel"].shape == (4, 7)


def test_types_are_cast_and_said(theirs, template):
    import ml_dtypes

    theirs["bert.wte"] = theirs["bert.wte"].astype(ml_dtypes.bfloat16)
    tree, report = to_ours(theirs, template, LAYOUT)
    assert tree["params"]["embedding"].dtype == np.float32
    assert "bfloat16 to float32" in str(report)


def test_patterns_that_match_nothing_are_refused(theirs, template):
    for choices in (Choices(skip=("haed/.*",)), Choices(resize=("haed",)), Choices(map=(("haed", "x"),))):
        with pytest.raises(ConfigError, match="haed"):
            to_ours(theirs, template, LAYOUT, choices=choices)


def test_wrong_patterns_and_methods_are_refused():
    with pytest.raises(ConfigError, match="regular expression"):
        Choices(skip=("(",))
    with pytest.raises(ConfigError, match="cubic"):
        Choices(resize=(("x", "cubic"),))


def test_two_names_may_not_become_one(theirs, template):
    with pytest.raises(ConfigError, match="same name"):
        to_ours(theirs, template, LAYOUT, choices=Choices(map=((".*", "x"),)))


def test_writing_refuses_what_no_rule_knows(template):
    variables = filled(template)
    variables["params"]["novel"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="novel"):
        to_theirs(variables, LAYOUT)
    del variables["params"]["novel"], variables["params"]["layers"]["block_1"]["key"]
    with pytest.raises(CheckpointError, match="without layers/block_1/key/kernel"):
        to_theirs(variables, LAYOUT)


def test_the_report_groups_layers(theirs, template):
    _, report = to_ours(theirs, template, LAYOUT)
    lines = str(report).splitlines()
    assert len(lines) == 7
    assert "2 x (4, 4)" in lines[0]
    assert "layers/block_{0..1}/query/kernel" in lines[0]
    assert "bert.experts.{0..10}.weight" in lines[1]
    assert len(report.table(verbose=True).splitlines()) == 8
    assert report.json()["count"] == report.count()


def test_gradients_go_the_same_way(template):
    """A layout moves gradients as it moves weights."""
    variables = filled(template)
    tensors, _ = to_theirs(variables, LAYOUT)
    doubled, _ = to_ours({name: 2 * tensor for name, tensor in tensors.items()}, template, LAYOUT)
    equal(doubled, jax.tree.map(lambda leaf: 2 * leaf, variables))
