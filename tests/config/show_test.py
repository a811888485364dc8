import dataclasses

from ml_collections import ConfigDict

from jaxdl.config import ABSENT, diff, flatten, ref, show, spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    classes: int = 10
    names: tuple = ()
    table: dict | None = None


def test_leaves_are_in_order_and_tuples_of_plain_values_are_whole():
    config = spec(Task, names=("a", ref(2)), table={"x": {}, "y": (spec(Task), ("b",))})
    leaves = {leaf.key: leaf.value for leaf in flatten(config)}
    assert leaves == {
        "call": f"{__name__}:Task",
        "classes": 10,
        "names": ("a", 2),
        "table.x": {},
        "table.y.0.call": f"{__name__}:Task",
        "table.y.0.classes": 10,
        "table.y.0.names": (),
        "table.y.0.table": None,
        "table.y.1": ("b",),
    }
    assert next(iter(leaves)) == "call"


def test_lines_are_aligned_and_end_with_the_origin():
    config = spec(Task, classes=3)
    lines = show(config).splitlines()
    assert len({line.index(" = ") for line in lines}) == 1
    assert len({line.index("  # ") for line in lines}) == 1
    assert [line.partition("  # ")[2] for line in lines][1].startswith("tests/config/show_test.py:")
    assert lines[2].split() == ["names", "=", "()", "#", "default", "of", f"{__name__}:Task"]
    assert show(ConfigDict({"a": 1})) == "a = 1"
    assert show(ConfigDict()) == ""


def test_a_text_cannot_move_the_cursor():
    shown = show(ConfigDict({"a": "\x1b[2J\n", "b": ("\r",)}))
    assert shown.splitlines() == [r"a = '\u001b[2J\n'", r"b = ('\r',)"]


def test_differences_count_value_and_type():
    a = ConfigDict({"same": 1, "kind": 1, "value": (1, 2), "gone": None, "flag": True})
    b = ConfigDict({"same": 1, "kind": 1.0, "value": (1, 3), "new": "x", "flag": 1})
    assert diff(a, b) == [
        ("flag", True, 1),
        ("gone", None, ABSENT),
        ("kind", 1, 1.0),
        ("value", (1, 2), (1, 3)),
        ("new", ABSENT, "x"),
    ]
    assert diff(a, a) == []
    assert repr(ABSENT) == "(absent)"


def test_the_place_does_not_count_as_a_difference():
    one = spec(Task, classes=3)
    other = spec(Task, classes=3)
    assert flatten(one) != flatten(other)
    assert diff(one, other) == []
