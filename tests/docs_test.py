"""What the documentation shows works: its Python runs, its commands parse, and its links lead somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jaxdl import cli, config
from jaxdl.train import Experiment

ROOT = Path(__file__).parents[1]
FILES = [*sorted((ROOT / "docs").glob("*.md")), *(path for path in [ROOT / "README.md"] if path.exists())]
BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")
# Words in place of a path of the reader's own.
PLACEHOLDERS = ("FOLDER", "RUN", "FILE")


def blocks(path, info):
    """`(first line, text)` of the blocks that begin with ```info."""
    text = path.read_text()
    return [
        (text[: found.start()].count("\n") + 2, found["text"])
        for found in BLOCK.finditer(text)
        if found["info"].strip() == info
    ]


def commands():
    """Every `jaxdl ...` in the shell blocks, as one parameter each."""
    for path in FILES:
        for line, text in blocks(path, "sh"):
            for number, command in enumerate(text.splitlines()):
                for part in re.split(r"&&|\|", command):
                    words = shlex.split(part, comments=True)
                    if words and Path(words[0]).name == "jaxdl":
                        yield pytest.param(words[1:], id=f"{path.name}:{line + number}")


def names(paths):
    return [path.name for path in paths]


WITH_PYTHON = [path for path in FILES if blocks(path, "python")]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty working folder that has the configs and experiments of this repository."""
    for name in ("configs", "experiments"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", WITH_PYTHON, ids=names(WITH_PYTHON))
def test_python_blocks_run_in_order(path, project, monkeypatch):
    module = type(sys)(f"docs_{path.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for line, text in blocks(path, "python"):
        # As many empty lines as stand before it, so that a traceback gives the line of the document.
        exec(compile("\n" * (line - 1) + text, str(path), "exec"), vars(module))


@pytest.mark.parametrize("words", list(commands()))
def test_commands_parse_and_their_configs_take_the_flags(words, project):
    words, overrides = cli.split_overrides(words)
    parser, _ = cli._parser()
    try:
        options = parser.parse_args(words)
    except SystemExit:
        pytest.fail(f"jaxdl {shlex.join(words)} does not parse")
    assert options.verb in cli.VERBS
    file, _, argument = getattr(options, "config", "").partition(".py:")
    if not file or file.endswith(".json"):
        assert options.verb not in ("train", "config") or file.startswith("runs/")
        return
    path = file if file.endswith(".py") else f"{file}.py"
    assert (ROOT / path).is_file(), f"there is no {path}"
    if not any(word in argument for word in PLACEHOLDERS):
        tree = config.override(config.load(options.config), overrides)
        config.check(tree, Experiment)


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_links_and_named_files_exist(path):
    text = path.read_text()
    for target in LINK.findall(text):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"
    for name in re.findall(r"`((?:configs|docs|experiments|tests|benchmarks|jaxdl)/[\w/.-]*)`", text):
        assert (ROOT / name).exists(), f"{path.name} names {name}"


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_every_block_says_what_it_is(path):
    infos = {found["info"].strip() for found in BLOCK.finditer(path.read_text())}
    assert infos <= {"python", "python no-run", "sh", "text", "json"}


def flags():
    rows = re.findall(r"^\| `(--config\.[^`]+)` \|", (ROOT / "docs" / "configs.md").read_text(), re.MULTILINE)
    return [row.replace("\\|", "|") for row in rows]


@pytest.mark.parametrize("flag", flags())
def test_each_form_of_a_flag_sets_something(flag, project):
    _, settings = cli.split_overrides(shlex.split(flag))
    assert len(settings) == 1
    file = "imagenet_resnet50" if "transforms" in flag else "digits_cnn"
    before = config.load(f"configs/vision/{file}.py")
    after = config.override(before, settings)
    config.check(after, Experiment)
    assert config.diff(before, after)


def test_the_help_names_every_verb():
    found = subprocess.run([sys.executable, "-m", "jaxdl", "--help"], capture_output=True, text=True, check=True)
    assert all(verb in found.stdout for verb in cli.VERBS)
