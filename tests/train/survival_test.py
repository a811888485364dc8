"""Comparing a killed run with an uninterrupted one; and runs that are really killed, by `jaxdl verify resume`."""

import os
import random
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxdl.cli import main
from jaxdl.errors import JaxdlError
from jaxdl.train import train
from jaxdl.train.rollback import RollBack
from jaxdl.train.survival import campaign, compare, order
from jaxdl.train.survival.kills import KINDS, Hit, Kill, Profile, draw, unexpected
from jaxdl.train.survival.watch import Aim, Board, Injected, Watch

ROWS = [
    {"step": 1, "kind": "train", "time": 1.0, "loss": 2.0, "time/steps_per_second": 5.0},
    {"step": 2, "kind": "train", "time": 2.0, "loss": float("nan")},
    {"step": 2, "kind": "test", "time": 2.5, "accuracy": 0.5},
    {"step": 3, "kind": "train", "time": 3.0, "loss": 1.0},
]


def test_logs_may_differ_in_their_times_alone():
    later = [{**row, "time": row["time"] + 9} for row in ROWS]
    assert compare.logs(ROWS, later) is None
    assert compare.logs(ROWS, later[:2], whole=False) is None


@pytest.mark.parametrize(
    ("rows", "step", "text"),
    [
        (ROWS[:1] + ROWS[2:], 2, "the log lacks step 2, kind 'train'"),
        ([*ROWS[:3], ROWS[2], ROWS[3]], 2, "the log has step 2, kind 'test', 2 times"),
        ([*ROWS[:3], {**ROWS[3], "loss": 1.0000001}], 3, "loss is 1.0000001 instead of 1.0"),
        ([*ROWS[:3], {**ROWS[3], "more": 1}], 3, "more is 1 instead of nothing"),
        ([*ROWS, {**ROWS[3], "step": 4}], 4, "the log has step 4, kind 'train', which must not be there"),
        ([ROWS[0], ROWS[2], ROWS[1], ROWS[3]], 2, "kind 'test', before its turn"),
    ],
)
def test_the_step_of_a_wrong_row_is_named(rows, step, text):
    difference = compare.logs(ROWS, rows)
    assert difference.step == step
    assert text in difference.text


def test_a_flipped_bit_is_found_in_its_leaf():
    state = {"params/head/kernel": np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4), "step": np.int32(3)}
    other = {name: np.array(leaf) for name, leaf in state.items()}
    assert compare.states(state, other) is None
    other["params/head/kernel"].view(np.uint32)[2, 1] ^= 1
    difference = compare.states(state, other)
    assert difference.leaf == "params/head/kernel"
    assert "1 of 12 numbers differ, first at [2, 1]" in difference.text
    assert compare.states({"x": np.float32("nan")}, {"x": np.float32("nan")}) is None
    assert compare.states({"x": np.float32(0.0)}, {"x": np.float32(-0.0)}).leaf == "x"
    assert compare.states({"x": np.zeros(2)}, {"x": np.zeros(2, np.float32)}).leaf == "x"
    assert compare.states(state, {**state, "more": np.int32(0)}).leaf == "more"


def recorded(path, first, count, batch, at=None):
    path.write_text("".join(order.lines(first, count, first if at is None else at, batch)))
    return order.read(path)


def test_other_examples_are_named_by_step_and_row(tmp_path):
    image = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    batch = {"image": image, "label": np.arange(4), "mask": np.ones(4, np.float32)}
    known = recorded(tmp_path / "a", 6, 1, batch)
    assert list(known) == [(7, 6, 0)]
    assert compare.orders(known, recorded(tmp_path / "b", 6, 1, batch)) is None
    swapped = {**batch, "image": image[[0, 2, 1, 3]]}
    difference = compare.orders(known, recorded(tmp_path / "b", 6, 1, swapped))
    assert (difference.step, difference.batch, difference.rows) == (7, 6, (1, 2))
    assert "differs in 2 of 4 rows" in difference.text
    assert compare.orders(known, {}).step == 7
    assert compare.orders(known, {}, whole=False) is None
    assert compare.orders({}, known).step == 7


def test_what_a_run_took_before_it_went_back_is_its_own(tmp_path):
    backs = (RollBack(step=4, batch=7, first=5, last=7, reason=""),)
    batch = {"label": np.arange(4)}
    taken = [recorded(tmp_path / "a", step, 1, batch, at) for step, at in [(3, 3), (4, 4), (4, 7), (5, 8)]]
    known = {key: value for found in taken for key, value in found.items()}
    assert compare.orders(known, taken[0] | taken[2] | taken[3], backs) is None, "not every run reads (4, 4)"
    ahead = recorded(tmp_path / "a", 5, 1, batch, 5)
    assert compare.orders(known, known | ahead, backs) is None, "read before it went back"
    assert compare.orders(known, known | ahead).step == 6
    other = recorded(tmp_path / "a", 5, 1, batch, 6)
    assert (compare.orders(known, known | other, backs).step, compare.orders(known, other, backs).batch) == (6, 6)
    assert compare.orders(known, taken[0] | taken[1] | taken[3], backs).text == "the batch of step 5 was never taken"
    assert compare.orders(known, recorded(tmp_path / "a", 4, 1, {"label": np.arange(4) + 1}, 4), backs).batch == 4
    later = {**ROWS[3], "loss": 7.0}
    kept = (RollBack(step=2, batch=7, first=3, last=3, reason=""),)
    assert compare.logs(ROWS, [*ROWS[:3], later], kept, whole=False) is None, "it may yet be taken back"
    assert compare.logs(ROWS, [*ROWS[:3], later], kept).step == 3
    assert compare.logs(ROWS, [{**ROWS[0], "loss": 7.0}, *ROWS[1:]], kept, whole=False).step == 1


def test_rows_are_the_same_however_they_are_dispatched_and_spread(tmp_path):
    mesh = jax.make_mesh((4, 2), ("data", "tensor"))
    steps = [{"index": np.arange(8, dtype=np.int32) + 10 * step, "mask": np.ones(8, np.float32)} for step in range(3)]
    alone = [recorded(tmp_path / "a", step, 1, batch) for step, batch in enumerate(steps)]
    stacked = {name: np.stack([batch[name] for batch in [*steps, steps[-1]]]) for name in steps[0]}
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, "data"))
    placed = {name: jax.device_put(value, sharding) for name, value in stacked.items()}
    together = recorded(tmp_path / "b", 0, 3, {**placed, "data": {}, "count": np.int32(3)})
    assert together == {key: value for found in alone for key, value in found.items()}


def test_an_unfinished_line_is_left_out(tmp_path):
    path = tmp_path / "order"
    path.write_text("".join(order.lines(0, 1, 0, {"index": np.arange(2)})) + "2 1 0 00")
    assert list(order.read(path)) == [(1, 0, 0)]


def test_folders(experiment, tmp_path):
    for name in ("one", "other"):
        train(experiment(steps=20), tmp_path / name, quiet=True)
    train(experiment(steps=20, seed=1), tmp_path / "seed", quiet=True)
    one, other = tmp_path / "one", tmp_path / "other"
    assert compare.folders(one, other) is None
    assert compare.folders(one, tmp_path / "seed").leaf is not None
    (other / "checkpoints" / "tmp-30").mkdir()
    assert "left behind: checkpoints/tmp-30" in compare.folders(one, other).text
    (other / "checkpoints" / "tmp-30").rmdir()
    (other / "summary.json").write_text((other / "summary.json").read_text().replace('"step": 20', '"step": 21'))
    assert compare.folders(one, other).text == "summary.json: step is 21 instead of 20"
    array = next((other / "checkpoints" / "00000020" / "state").rglob("d/*"))
    array.write_bytes(array.read_bytes()[:-1])
    assert "the checkpoint of step 20 does not verify" in compare.folders(one, other).text


@pytest.mark.parametrize(
    ("aim", "fired"),
    [
        (Aim(phase="step", steps=2, count=1, latest=9, act="raise"), ["step 12"]),
        (Aim(phase="evaluation", steps=1, count=2, latest=9, act="raise"), ["evaluation 11"]),
        (Aim(phase="save", steps=0, count=2, latest=9, act="raise"), ["save 10"]),
        (Aim(phase="save", steps=0, count=99, latest=2, act="raise"), ["step 12"]),
        (Aim(phase="restore", steps=0, count=99, latest=9, act="raise"), ["step 10"]),
        (None, []),
    ],
)
def test_a_watch_strikes_at_the_event_that_was_aimed_at(tmp_path, aim, fired):
    board = Board()
    watch = Watch(board, tmp_path, tmp_path / "order", aim)
    seen = []

    def event(name, *args):
        try:
            watch(name, args)
        except Injected:
            seen.append(f"{board.fired} {board.taken}")

    file = str(tmp_path / "checkpoints" / "x")
    event("open", "/elsewhere", "r", 0)
    event("open", file, "r", 0)
    assert (board.where, board.begun, board.taken) == ("restore", None, None)
    for step in range(10, 15):
        event("jaxdl.step", step)
        for _ in range(2):
            event("jaxdl.evaluate")
        event("os.mkdir", file, 0o777, -1)
        event("os.rename", str(tmp_path / "checkpoints" / f"tmp-{step}"), file, -1, -1)
        event("os.rename", str(tmp_path / "checkpoints" / f"tmp-{step}" / "state.new"), file, -1, -1)
    assert seen == fired
    assert (board.begun, board.taken, board.where) == (10, 14, "evaluation")
    assert {phase: board.count(phase) for phase in ("restore", "step", "evaluation", "save")} == {
        "restore": 1,
        "step": 5,
        "evaluation": 10,
        "save": 15,
    }
    assert board.saves == 5


def test_kills_are_drawn_of_every_kind_and_phase():
    events = {"start": 100, "restore": 5, "step": 60, "evaluation": 8, "save": 400}
    profile = Profile(steps=60, checkpoints=6, events=events)
    generator = random.Random(0)
    drawn = [draw(generator, profile, kinds=KINDS, processes=4, kills=50) for _ in range(500)]
    assert {(kill.kind, kill.aim.phase) for kill in drawn} == {(kind, phase) for kind in KINDS for phase in events}
    assert {kill.victims for kill in drawn} == {(0,), (1,), (2,), (3,), (0, 1, 2, 3)}
    assert all(kill.watched in kill.victims for kill in drawn)
    assert all((kill.pause is None) == (kill.aim.act != "tell") for kill in drawn)
    assert all(kill.victims == (kill.watched,) for kill in drawn if kill.kind == "exception")
    without = Profile(steps=60, checkpoints=6, events={**events, "evaluation": 0})
    drawn = [draw(generator, without, kinds=["SIGTERM"], processes=1, kills=1) for _ in range(200)]
    assert {kill.aim.phase for kill in drawn} == {"start", "restore", "step", "save"}
    assert {kill.kind for kill in drawn} == {"SIGTERM"}


@pytest.mark.parametrize(
    ("kind", "victims", "codes", "phase", "ended", "good"),
    [
        ("SIGKILL", (0,), (-9, -6), "step", (), True),
        ("SIGKILL", (0,), (-9, -9), "step", (1,), True),
        ("SIGKILL", (0,), (1,), "step", (), False),
        ("SIGTERM", (1,), (75, 75), "save", (), True),
        ("SIGTERM", (1,), (1, 75), "save", (), False),
        ("SIGTERM", (0,), (-15,), "step", (), False),
        ("SIGTERM", (1,), (-9, 75), "start", (), True),
        ("exception", (0,), (1,), "evaluation", (), True),
        ("exception", (0,), (75,), "evaluation", (), False),
        ("exception", (0,), (-11,), "evaluation", (), False),
        ("exception", (1,), (-9, 1), "step", (0,), True),
        ("exception", (1,), (1, -9), "step", (1,), False),
    ],
)
def test_how_a_run_may_end(kind, victims, codes, phase, ended, good):
    aim = Aim(phase="step", steps=0, count=1, latest=9, act="tell")
    kill = Kill(kind=kind, aim=aim, pause=0.01, watched=victims[0], victims=victims)
    hit = Hit(kill=kill, phase=phase, began=3, reached=7, codes=codes, ended=ended)
    assert (unexpected(hit) is None) is good
    assert kind in str(hit)


def test_a_run_that_makes_no_progress_is_given_up(tmp_path, monkeypatch):
    profile = Profile(
        steps=60, checkpoints=6, events=dict.fromkeys(("start", "restore", "step", "save", "evaluation"), 9)
    )
    known = campaign.Reference(folder=tmp_path, rows=[], order={}, profile=profile, processes=1, seconds=1.0)
    kill = draw(random.Random(0), profile, kinds=["SIGKILL"], processes=1, kills=1)
    hit = Hit(kill=kill, phase="start", began=None, reached=None, codes=(-9,))
    monkeypatch.setattr(campaign, "_attempt", lambda launch, folder, kill: ([], hit))
    told = []
    with pytest.raises(JaxdlError, match="50 kills in a row, and no checkpoint: save more often"):
        list(
            campaign.survive(
                lambda folder: [],
                known,
                tmp_path / "x",
                kills=99,
                kinds=KINDS,
                seed=0,
                tell=told.append,
            )
        )
    assert told == [hit] * 50


CONFIG = """
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving

def source():
    return digits(split="train")

class Counting:
    '''Digits, of which every 50th that is read comes out dark: what it gives depends on more than the index.'''

    def __init__(self):
        self.digits, self.read, self.labels = digits(split="train"), 0, None

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, index):
        self.read += 1
        example = self.digits[index]
        return {**example, "image": example["image"] * (self.read % 50 > 0)}

    def describe(self, index):
        return f"counted digit {index}"

def get_config(kind="plain"):
    return spec(
        Experiment, steps=40, steps_per_dispatch=1,
        model=spec(MLP, num_classes=10, widths=(8,)), task=spec(Classification, num_classes=10),
        optimizer=spec(optimizer, rule=spec(adam), learning_rate=5e-3),
        train=spec(Pipeline, source=spec(source if kind == "plain" else Counting), batch_size=16, threads=1),
        evals={
            "test": spec(Evaluation, data=spec(Pipeline, source=spec(digits, split="test"), batch_size=120), every=10)
        },
        saving=spec(Saving, every=5),
    )
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.py"
    path.write_text(CONFIG)
    return path


def verify(config, *flags):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    for name in ("XLA_FLAGS", "NPROC", "JAX_COMPILATION_CACHE_DIR"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "jaxdl", "verify", "resume", "--config", str(config), *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    return done.returncode, done.stdout, done.stderr


def test_kills_leave_no_trace(config):
    code, out, err = verify(config, "--kills", "3", "--verbose")
    assert code == 0, out + err
    assert re.search(r"^Uninterrupted: 40 steps, 8 checkpoints, [\d.]+ s\.$", out, re.MULTILINE)
    assert len(re.findall(r"^ +\d+ +[\d.]+ s  (SIGKILL|SIGTERM|exception) in \w+, ", out, re.MULTILINE)) == 3
    assert re.search(r"^3 kills in \d runs?, \d+ s\..*: mismatches 0\.$", out, re.MULTILINE)


def test_a_source_that_is_not_resumed_is_found(config, tmp_path):
    flags = ["--kills", "5", "--only", "SIGTERM", "--workdir", str(tmp_path / "runs"), "--config.resident=false"]
    code, out, err = verify(f"{config}:counting", *flags)
    assert code == 1, out + err
    assert re.search(r"the batch of step \d+ differs in \d+ of 16 rows", err)
    assert re.search(r"step \d+, row \d+: example \d+, counted digit \d+", err)
    assert "second uninterrupted run" not in err
    assert (tmp_path / "runs" / "reference" / "metrics.jsonl").exists()


def test_it_must_begin_before_jax_computes(config, capsys):
    assert main(["verify", "resume", "--config", str(config), "--kills", "1"]) == 1
    assert "run the command by itself" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "kills"), [(2, 4), (4, 2)])
def test_kills_of_several_processes_leave_no_trace(config, processes, kills):
    code, out, err = verify(config, "--kills", str(kills), "--processes", str(processes), "--seed", "1")
    assert code == 0, out + err
    assert "mismatches 0." in out
