"""The catalogue of faults names tests that exist, and leaves out no entry."""

import ast
import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def rows(name):
    return [line for line in (ROOT / "docs" / name).read_text().splitlines() if line.startswith("| C")]


@functools.cache
def names_in(path):
    return {node.name for node in ast.walk(ast.parse((ROOT / path).read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_entry_is_there_once_with_a_test():
    numbers = [int(re.match(r"\| C(\d+) \|", row)[1]) for row in rows("failures.md")]
    assert numbers == list(range(1, 37))
    for row in rows("failures.md"):
        assert len(row.split(" | ")) == 4, row
        assert NAMED.search(row), row


def test_every_named_test_exists():
    named = NAMED.findall((ROOT / "docs" / "failures.md").read_text())
    assert len(named) > 80
    missing = [(path, test) for path, test in named if not (ROOT / path).is_file() or test not in names_in(path)]
    assert missing == []


def test_slow_ones_are_marked_and_no_others():
    text = (ROOT / "docs" / "failures.md").read_text()
    for path, test in NAMED.findall(text):
        module = ast.parse((ROOT / path).read_text())
        node = next(node for node in ast.walk(module) if isinstance(node, ast.FunctionDef) and node.name == test)
        of_all = [one for one in module.body if isinstance(one, ast.Assign) and "pytestmark" in ast.unparse(one)]
        is_slow = any("mark.slow" in ast.unparse(one) for one in (*node.decorator_list, *of_all))
        assert (f"`{path}::{test}` (slow)" in text) == is_slow, (path, test)


def test_security_names_files_that_exist():
    text = (ROOT / "docs" / "security.md").read_text()
    for path, _ in NAMED.findall(text):
        assert (ROOT / path).is_file(), path
