"""What may import what: upward in the list of rooms only, and never a room on the same level."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "jaxdl"
LEVELS = (
    ("config", "errors", "types", "trees", "rng"),
    ("nn", "losses", "metrics", "data", "augment", "checkpoint", "decoding"),
    ("models", "tasks", "optim"),
    ("learners",),
    ("parallel", "inference", "interop", "inspection"),
    ("train",),
    ("cli",),
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
# One door per library: which rooms may import it.
DOORS = {
    "flax.linen": {"nn", "models", "learners", "inspection"},
    "optax": {"optim", "learners", "losses", "inference"},
    "orbax": {"checkpoint"},
    "grain": {"data"},
    "tensorflow_datasets": {"data"},
    "ml_collections": {"config"},
    "tensorflow": set(),
    "pickle": set(),
}
# Files that may catch everything, and why.
BROAD = {"data/text/tokenizer.py": "the tokenizers library raises plain Exception for a file that it cannot read"}
FILES = sorted(
    path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] not in ("__init__.py", "__main__.py")
)


def room_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_upward(path):
    room = room_of(path)
    for name in imported(path):
        if name.startswith("jaxdl.") and name != "jaxdl.__version__":
            other = name.split(".")[1]
            same_level_of_one_file_rooms = LEVEL[room] == 0 and LEVEL[other] == 0
            assert other == room or LEVEL[other] < LEVEL[room] or same_level_of_one_file_rooms, f"{room} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_library_has_its_doors(path):
    for name in imported(path):
        for library, rooms in DOORS.items():
            if name == library or name.startswith(library + "."):
                assert room_of(path) in rooms, f"{path} imports {name}; only {sorted(rooms)} may"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            doc = ast.get_docstring(node, clean=False)
            length = node.end_lineno - node.lineno + 1 - (len(doc.splitlines()) if doc else 0)
            assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_catches_everything(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            kind = "everything" if node.type is None else ast.unparse(node.type)
            broad = kind in ("everything", "Exception", "BaseException")
            assert not broad or str(path.relative_to(ROOT)) in BROAD, f"{path}:{node.lineno} catches {kind}"
