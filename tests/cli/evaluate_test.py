import json
import shutil

import pytest


def strict(text):
    return json.loads(text, parse_constant=pytest.fail)


def test_it_measures_what_training_measured_with_intervals(jaxdl, run):
    code, out, err = jaxdl("evaluate", "--workdir", run, "--json", "--step", "last")
    assert (code, err) == (0, "")
    rows = {row["split"]: row for row in map(strict, out.splitlines())}
    summary = strict((run / "summary.json").read_text())["results"]
    assert rows.keys() == {"test", "train_set"}
    assert rows["test"]["examples"] == 360
    for split, row in rows.items():
        assert row["step"] == 120
        for metric in ("accuracy", "loss", "macro_f1"):
            assert row[metric] == pytest.approx(summary[f"{split}/{metric}"], rel=1e-5)
            low, high = row["intervals_95"][metric]
            assert low <= row[metric] <= high
            assert low < high
    confusion = rows["test"]["confusion"]
    assert sum(map(sum, confusion)) == 360
    assert sum(confusion[i][i] for i in range(10)) == pytest.approx(360 * rows["test"]["accuracy"], abs=1e-3)


def test_for_people_it_prints_a_table(jaxdl, run):
    code, out, _ = jaxdl("evaluate", "--workdir", run, "--split", "test")
    assert code == 0
    assert out.startswith("test: 360 examples, parameters of step ")
    assert any(line.split()[0] == "accuracy" and "95 % interval" in line for line in out.splitlines())
    assert "train_set" not in out


def test_the_best_step_is_the_default_and_any_saved_one_a_choice(jaxdl, run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    accuracy = {row["step"]: row["accuracy"] for row in rows if row["kind"] == "test"}
    best = max(accuracy, key=lambda step: (accuracy[step], -step))
    for flags, step in (((), best), (("--step", "best"), best), (("--step", "40"), 40)):
        code, out, _ = jaxdl("evaluate", "--workdir", run, "--split", "test", "--json", "--replicates", "0", *flags)
        row = strict(out)
        assert (code, row["step"]) == (0, step)
        assert row["accuracy"] == pytest.approx(accuracy[step], rel=1e-5)
        assert row["intervals_95"] == {}


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_the_batch_size_changes_nothing(jaxdl, run, size):
    flags = ("--step", "last", "--split", "test", "--json", "--replicates", "0")
    code, out, _ = jaxdl("evaluate", "--workdir", run, *flags, f"--config.evals.test.data.batch_size={size}")
    assert code == 0
    expected = strict((run / "summary.json").read_text())["results"]
    assert strict(out)["accuracy"] == pytest.approx(expected["test/accuracy"], abs=1e-6)
    assert strict(out)["loss"] == pytest.approx(expected["test/loss"], rel=1e-5)


def test_other_data_may_be_given(jaxdl, run):
    flag = "--config.evals.test.data.source.split=all"
    code, out, _ = jaxdl("evaluate", "--workdir", run, "--split", "test", "--json", "--replicates", "0", flag)
    assert (code, strict(out)["examples"]) == (0, 1797)


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--split", "val"), 2, "There is no evaluation 'val'; there are test, train_set"),
        (("--step", "41"), 66, "There is no step 41"),
        (("--step", "newest"), 2, "'best', 'last' or a number"),
        (("--config.evals.test.data.source.splitt=all",), 2, "Did you mean 'split'?"),
        (("--config.evals.test.data.source.split=none",), 2, "'none'"),
        (("--config.evals.test.data.batch_size=0",), 2, "batch_size"),
    ],
)
def test_each_failure_is_one_message_and_its_exit_code(jaxdl, run, flags, code, message):
    found, out, err = jaxdl("evaluate", "--workdir", run, *flags)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_what_is_no_run_is_66(jaxdl, run, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.safetensors").write_text("not a model")
    shutil.copytree(run, tmp_path / "unsaved")
    shutil.rmtree(tmp_path / "unsaved" / "checkpoints")
    shutil.copytree(run, tmp_path / "emptied")
    shutil.rmtree(tmp_path / "emptied" / "checkpoints")
    (tmp_path / "emptied" / "checkpoints").mkdir()
    shutil.copytree(run, tmp_path / "foreign")
    (tmp_path / "foreign" / "run.json").write_text("[1]")
    for name in ("missing", "empty", "text.safetensors", "unsaved", "emptied", "foreign"):
        code, out, err = jaxdl("evaluate", "--workdir", tmp_path / name)
        assert (code, out) == (66, ""), name
        assert err.startswith("jaxdl evaluate: "), name
        assert name in err
