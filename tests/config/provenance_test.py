import datetime
import importlib.metadata
import json
import platform
import shutil
import subprocess

import pytest

from jaxdl.config.provenance import provenance, revision

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", folder, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_holds_versions_devices_and_command(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "canary-4711")
    found = provenance(["TFRT_CPU_0"], argv=["jaxdl", "train", "--workdir", "a b"])
    assert found["devices"] == ["TFRT_CPU_0"]
    assert found["command"] == "jaxdl train --workdir 'a b'"
    assert found["versions"]["python"] == platform.python_version()
    for name in ("jaxdl", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        assert found["versions"][name] == importlib.metadata.version(name)
    date = datetime.datetime.fromisoformat(found["date"])
    assert date.utcoffset() == datetime.timedelta(0)
    assert abs(datetime.datetime.now(datetime.UTC) - date) < datetime.timedelta(minutes=5)
    text = json.dumps(found)
    assert json.loads(text) == found
    assert "canary-4711" not in text
    assert "SECRET_TOKEN" not in text


@needs_git
def test_the_revision_of_a_repository_and_whether_it_has_changes(tmp_path, monkeypatch):
    repository = tmp_path / "code"
    repository.mkdir()
    git(repository, "init", "-q")
    assert revision(str(repository)) == {"revision": None, "dirty": False}
    (repository / "configs").mkdir()
    (repository / "configs" / "x.py").write_text("1")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "x")
    head = git(repository, "rev-parse", "HEAD")
    assert revision(str(repository)) == {"revision": head, "dirty": False}
    (repository / "new").write_text("1")
    monkeypatch.chdir(tmp_path)
    found = provenance(config_path="code/configs/x.py")
    assert found["config_git"] == {"revision": head, "dirty": True}


def test_no_git_is_no_error(tmp_path, monkeypatch):
    assert revision(str(tmp_path / "missing")) is None
    assert revision(str(tmp_path)) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(str(tmp_path)) is None
    assert provenance()["git"] is None


def test_a_git_that_hangs_or_fails_is_no_error(tmp_path, monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    assert revision(str(tmp_path)) is None
