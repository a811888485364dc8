import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.config._literal import Call, parse, render
from jaxdl.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12_000", -12000),
        ("1e-3", 0.001),
        ("1e4", 10000.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("true", True),
        ("False", False),
        ("null", None),
        ("None", None),
        ("word", "word"),
        ("two words, and more", "two words, and more"),
        ("0123", "0123"),
        ("/data/x y:z=1", "/data/x y:z=1"),
        ("yes", "yes"),
        ("'1'", "1"),
        ('"nan"', "nan"),
        ("''", ""),
        (r"'.*\.bias\b'", r".*\.bias\b"),
        (r"'a\'b\\c\n'", "a'b\\c\n"),
        (r"'\u00e9\U0001F600'", "é😀"),
        ("()", ()),
        ("(3)", (3,)),
        ("(1, 2.5, [true, null],)", (1, 2.5, (True, None))),
        ("('.*bias', 0.0)", (".*bias", 0.0)),
        ("{}", {}),
        ("{data: -1, 'fsdp': 2}", {"data": -1, "fsdp": 2}),
        ("(@jax.nn:gelu, jax.nn:relu)", ("@jax.nn:gelu", "jax.nn:relu")),
        ("m.n:F()", Call("m.n:F", {})),
        ("m:F(a=1, b=(x, m:G(c='d')))", Call("m:F", {"a": 1, "b": ("x", Call("m:G", {"c": "d"}))})),
    ],
)
def test_reads(text, value):
    read = parse(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no value after"),
        ("   ", "no value after"),
        ("nan", "not a finite number"),
        ("-Infinity", "not a finite number"),
        ("1e999", "not a finite number"),
        ("(1, inf)", "not a finite number"),
        ("1" * 22, "does not fit in 64 bits"),
        ("9223372036854775808", "does not fit in 64 bits"),
        ("1" * 5000, "does not fit in 64 bits"),
        ("(1, 2", "',' or ')' should be here"),
        ("(1 2)", "',' or ')'"),
        ("(1,,2)", "a value should be here"),
        ("[1)", "',' or ']'"),
        ("(1) 2", "more after the value"),
        ("'open", "end of a string"),
        ("{a 1}", "':' should be here"),
        ("{a: 1, a: 2}", "'a' is given twice"),
        ("{: 1}", "a key should be here"),
        ("m:F(1)", "keyword=value should be here"),
        ("m:F(a=1, a=2)", "'a' is given twice"),
        ("m:F(a=1", "',' or ')'"),
        ("(" * 9 + ")" * 9, "nested deeper than 8"),
        ("(" * 30000, "nested deeper than 8"),
        ("x" * 65537, "too long"),
        ("é" * 40000, "too long"),
        (r"'\U00110000'", "is not a character"),
    ],
)
def test_refuses(text, message):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
values = st.recursive(
    scalars | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def depth(value):
    items = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else None
    return 0 if items is None else 1 + max(map(depth, items), default=0)


@settings(max_examples=150, deadline=None)
@given(values)
def test_reads_back_what_it_writes(value):
    if depth(value) <= 8:
        assert repr(parse(render(value))) == repr(value)


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("()[]{}'\"\\,:=@a1.-e \n") | st.characters(), max_size=40))
def test_any_text_is_read_or_refused(text):
    try:
        value = parse(text)
    except ConfigError:
        return
    assert isinstance(value, (type(None), bool, int, float, str, tuple, dict))


@settings(max_examples=100, deadline=None)
@given(st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=6))
def test_agrees_with_python_on_python_literals(value):
    if depth(parse(repr(value))) <= 8:
        assert render(parse(repr(value))) == render(ast.literal_eval(repr(value)))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_a_rendered_string_is_one_printable_line(text):
    assert render(text).isprintable()
