import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.config import build, flatten, from_json, ref, spec, to_json
from jaxdl.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    number: float = 0.0
    items: tuple = ()
    text: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner
    inners: tuple = ()
    table: dict = dataclasses.field(default_factory=dict)
    flag: bool = False


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
nested = st.recursive(scalars, lambda below: st.lists(below, max_size=3).map(tuple), max_leaves=5)
inners = st.builds(
    lambda number, items, text: spec(Inner, number=number, items=items, text=text),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(nested, max_size=3).map(tuple),
    st.none() | st.text(max_size=5),
)
keys = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=4).filter(lambda key: key != "call")
outers = st.builds(
    lambda inner, many, table, flag: spec(Outer, inner=inner, inners=many, table=table, flag=flag),
    inners,
    st.lists(inners, max_size=2).map(tuple),
    st.dictionaries(keys, inners, max_size=2),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(outers)
def test_comes_back_equal(config):
    text = to_json(config)
    back = from_json(text)
    assert repr(build(back)) == repr(build(config))
    assert to_json(back) == text
    assert flatten(back) == flatten(config)
    assert back.is_locked


@pytest.mark.parametrize("number", [0.1, -0.0, 1e-310, 1.7976931348623157e308, 2.0**-1074, 1 / 3])
def test_floats_come_back_to_the_last_bit(number):
    back = from_json(to_json(spec(Inner, number=number))).number
    assert math.copysign(1, back) == math.copysign(1, number)
    assert back.hex() == number.hex()


def test_references_become_their_values():
    size = ref(4)
    back = from_json(to_json(spec(Outer, inner=spec(Inner, number=size), inners=(size * 2,))))
    assert build(back) == Outer(inner=Inner(number=4), inners=(8,))


@pytest.mark.parametrize("value", [math.nan, math.inf, (1, (math.nan,))])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ConfigError, match=r"^items: .* not finite.*json_test\.py"):
        to_json(spec(Inner, items=value))


def document(**changes):
    return json.dumps({"version": 1, "config": {"a": 1}, "origins": {}} | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[]", "it has no version"),
        ("3", "it has no version"),
        ("{}", "it has no version"),
        (document(version=2), "version 2 of the format, and this jaxdl reads version 1"),
        (document(version="1"), "version '1'"),
        (document(version=True), "version True"),
        ('{"version": 1}', "must hold version, config and origins"),
        (document(more=1), "must hold version, config and origins"),
        (document(config=[]), "must hold version, config and origins"),
        (document(origins=[]), "its origins are not an object"),
        (document(origins={"a": 3}), "origin of 'a' is not a line of text"),
        (document(origins={"a": "\x1b[2J"}), "origin of 'a' is not a line of text"),
        (document(config={"call": 3}), "call: the name of a callable must be a string"),
        (document(config={"a": [{"call": None}]}), "a.0.call: the name of a callable"),
        (document(config={"a.b": 1}), "without dots"),
        (document(config={"": 1}), "without dots"),
        (document(config={"\n": 1}), "printable"),
        ('{"version": 1, "config": {"a": 1, "a": 2}, "origins": {}}', "'a' stands twice"),
        ('{"version": 1, "config": {"a": NaN}, "origins": {}}', "NaN, which is not a finite number"),
        ('{"version": 1, "config": {"a": [-Infinity]}, "origins": {}}', "-Infinity"),
        ('{"version": 1, "config": {"a": 1e999}, "origins": {}}', "a: a number is not finite"),
        ('{"version": 1, "config": {"a": ' + "1" * 5000 + '}, "origins": {}}', "not JSON"),
        ('{"version": 1, "config": {"a": ' + "[" * 40 + "]" * 40 + '}, "origins": {}}', "nested deeper than"),
        ("[" * 100_000, "nested"),
        ('{"version": 1, "config": {"a": ' + '{"a":' * 5000 + "1" + "}" * 5000 + '}, "origins": {}}', "nested"),
        (" " * (2**24 + 1), "the limit is"),
    ],
)
def test_what_is_no_saved_config_is_refused(text, message):
    with pytest.raises(ConfigError) as caught:
        from_json(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 500


def test_origins_of_keys_that_are_not_there_are_ignored():
    config = from_json(document(origins={"b.c": "x.py:1", "a": "x.py:2", "a.0": "x.py:3"}))
    assert flatten(config) == [("a", 1, "x.py:2")]


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        scalars,
        lambda below: (
            st.lists(below, max_size=3)
            | st.dictionaries(
                st.text(max_size=4) | st.sampled_from(["call", "version", "config", "origins"]), below, max_size=4
            )
        ),
        max_leaves=10,
    )
)
def test_any_document_is_read_or_refused(data):
    for text in (json.dumps(data), json.dumps({"version": 1, "config": data, "origins": {}})):
        try:
            flatten(from_json(text))
        except ConfigError:
            continue
