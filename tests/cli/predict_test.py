import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import jaxdl.data.sources as sources
from jaxdl.data.sources import digits


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The first test digits as files, named by their place, half of them below a folder with an odd name."""
    folder = tmp_path_factory.mktemp("images")
    source = digits(split="test")
    (folder / "ünter ordner").mkdir()
    for i in range(40):
        name = f"{i:02d}-{source[i]['label']}.png"
        Image.fromarray(source[i]["image"][..., 0]).save(folder / ("ünter ordner" if i % 2 else "") / name)
    (folder / "notes.txt").write_text("not an image")
    return folder


def lines(out):
    return [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]


def test_a_folder_is_labelled_file_by_file(jaxdl, run, images):
    code, out, err = jaxdl("predict", images, "--workdir", run)
    assert (code, err) == (0, "")
    rows = lines(out)
    assert len(rows) == 40
    right = [row["label"] == row["file"].removesuffix(".png")[-1] for row in rows]
    assert np.mean(right) > 0.85
    for row in rows:
        probabilities = [one["probability"] for one in row["top"]]
        assert len(probabilities) == 3
        assert probabilities == sorted(probabilities, reverse=True)
        assert (row["label"], row["probability"]) == (row["top"][0]["label"], probabilities[0])


def test_the_batch_size_changes_no_label(jaxdl, run, images):
    found = [lines(jaxdl("predict", images, "--workdir", run, "--batch-size", size)[1]) for size in (1, 7, 64)]
    labels = [[(row["file"], row["label"]) for row in rows] for rows in found]
    assert labels[0] == labels[1] == labels[2]


def test_top_may_be_one_or_more_than_there_are(jaxdl, run, images):
    for top, count in ((1, 1), (99, 10)):
        rows = lines(jaxdl("predict", images, "--workdir", run, "--top", top)[1])
        assert {len(row["top"]) for row in rows} == {count}
    assert sum(one["probability"] for one in rows[0]["top"]) == pytest.approx(1, abs=1e-4)


def test_dark_ink_on_light_paper_needs_invert(jaxdl, run, images, tmp_path):
    original = sorted(images.glob("*.png"))
    for path in original:
        Image.fromarray(255 - np.asarray(Image.open(path))).save(tmp_path / path.name)
    plain = lines(jaxdl("predict", *original, "--workdir", run)[1])
    inverted = lines(jaxdl("predict", tmp_path, "--workdir", run, "--invert")[1])
    assert [row["top"] for row in plain] == [row["top"] for row in inverted]


def test_other_sizes_and_colours_are_brought_to_the_models(jaxdl, run, images, tmp_path):
    path = sorted(images.glob("*.png"))[0]
    Image.open(path).convert("RGB").resize((80, 80), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", quality=95)
    (row,) = lines(jaxdl("predict", tmp_path / "large.jpg", "--workdir", run)[1])
    assert row["label"] == path.stem[-1]


def test_broken_files_are_told_and_the_others_labelled(jaxdl, run, images, tmp_path):
    good = sorted(images.glob("*.png"))[0]
    shutil.copy(good, tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(good.read_bytes()[:60])
    (tmp_path / "c.png").write_bytes(b"")
    shutil.copy(good, tmp_path / "d.png")
    code, out, err = jaxdl("predict", tmp_path, "--workdir", run)
    assert (code, err) == (65, "")
    rows = lines(out)
    assert [row["file"][-5:] for row in rows] == ["a.png", "b.png", "c.png", "d.png"]
    assert ["error" in row for row in rows] == [False, True, True, False]
    assert rows[0]["top"] == rows[3]["top"]


def test_paths_without_an_image_are_refused(jaxdl, run, images, tmp_path):
    for path in (images / "missing.png", tmp_path):
        code, out, err = jaxdl("predict", path, "--workdir", run)
        assert (code, out) == (65, "")
        assert str(path) in err
    code, out, _ = jaxdl("predict", images / "notes.txt", "--workdir", run)
    assert (code, list(lines(out)[0])) == (65, ["file", "error"])


def test_neither_training_data_nor_a_writable_folder_is_needed(jaxdl, run, images, tmp_path, monkeypatch):
    expected = jaxdl("predict", images, "--workdir", run)[1]
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)

    def absent(**kwargs):
        raise AssertionError("the training data was asked for")

    monkeypatch.setattr(sources, "digits", absent)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    code, out, _ = jaxdl("predict", images, "--workdir", copy)
    assert (code, out) == (0, expected)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


def test_an_exported_file_predicts_as_its_run_does(jaxdl, run, images, tmp_path):
    file = tmp_path / "model.safetensors"
    code, out, err = jaxdl("export", "--workdir", run, "--output", file)
    assert (code, err) == (0, "")
    assert f"{file}: step " in out
    expected = jaxdl("predict", images, "--workdir", run)
    assert jaxdl("predict", images, "--model", file) == expected
    code, out, _ = jaxdl("evaluate", "--workdir", file, "--split", "test", "--json", "--replicates", "0")
    assert code == 0
    assert lines(out)[0]["accuracy"] > 0.85


@pytest.mark.parametrize(
    ("output", "code", "message"),
    [("model.bin", 2, "must end in .safetensors"), ("no/such/folder/model.safetensors", 74, "cannot be written")],
)
def test_an_export_that_cannot_be_is_refused(jaxdl, run, tmp_path, output, code, message):
    found, out, err = jaxdl("export", "--workdir", run, "--output", tmp_path / output)
    assert (found, out) == (code, "")
    assert message in err


MODEL = """
import flax.linen as nn

class Own(nn.Module):
    classes: int = 10

    @nn.compact
    def __call__(self, image, *, train: bool):
        return nn.Dense(self.classes, name="out")(image.reshape(len(image), -1))
"""


def test_code_from_elsewhere_runs_only_when_allowed(config, images, tmp_path):
    (tmp_path / "mymodels.py").write_text(MODEL)
    text = config.read_text().replace("spec(MLP, num_classes=10, widths=(int(width),))", "spec(Own)")
    (tmp_path / "own.py").write_text("from mymodels import Own\n" + text.replace("steps=120", "steps=3"))
    script = (
        "import sys; from jaxdl.cli import main; sys.exit(main())"  # As the console command: without "." in the path.
    )

    def jaxdl(*arguments):
        command = [sys.executable, "-P", "-c", script, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, timeout=300)

    trained = jaxdl("train", "--config", "own.py", "--workdir", "w", "--quiet")
    assert trained.returncode == 0, trained.stderr
    refused = jaxdl("predict", images, "--workdir", "w")
    assert refused.returncode == 2
    assert "--allow mymodels" in refused.stderr
    assert "Traceback" not in refused.stderr
    allowed = jaxdl("predict", images, "--workdir", "w", "--allow", "mymodels")
    assert allowed.returncode == 0, allowed.stderr
    assert len(lines(allowed.stdout)) == 40


def test_a_model_of_the_config_file_itself_serves_with_the_file(config, images, tmp_path):
    text = config.read_text().replace("def get_config", "class Own(MLP):\n    pass\n\ndef get_config")
    (tmp_path / "own.py").write_text(text.replace("spec(MLP", "spec(Own").replace("steps=120", "steps=20"))

    def jaxdl(*arguments):
        command = [sys.executable, "-m", "jaxdl", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    trained = jaxdl("train", "--config", "own.py", "--workdir", "w")
    assert trained.returncode == 0, trained.stderr
    assert "jaxdl predict IMAGE --workdir w --code own.py" in trained.stderr
    assert jaxdl("predict", images, "--workdir", "w").returncode == 2
    served = jaxdl("predict", images, "--workdir", "w", "--code", "own.py")
    assert served.returncode == 0, served.stderr
    assert len(lines(served.stdout)) == 40
