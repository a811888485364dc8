import contextlib
import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, ImageFolder, digits, in_memory
from jaxdl.data.transforms import Decode, Resize
from jaxdl.errors import ConfigError, DataError
from jaxdl.parallel import make_mesh
from jaxdl.train import feed as feed_module
from jaxdl.train import train
from jaxdl.train.evaluation import Pass
from jaxdl.train.feed import Feed, resident
from jaxdl.train.writers import read_rows


@pytest.fixture(scope="module")
def mesh():
    return make_mesh({"data": -1})


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(source=digits(split="train"), batch_size=64, seed=3)


def rows_of(feed, start, stop, intervals=()):
    """For each step the rows that the learner will see, whatever form they come in."""
    found = {}
    with contextlib.closing(feed.batches(start, stop, intervals)) as batches:
        for end, batch in batches:
            count = 1 if feed.size == 1 else int(batch["count"])
            for i in range(count):
                one = {
                    k: np.asarray(v if feed.size == 1 else v[i]) for k, v in batch.items() if k not in ("count", "data")
                }
                if "index" in one:
                    index = one.pop("index")
                    one |= {name: np.asarray(x)[index] for name, x in batch["data"].items()}
                found[end - count + i] = one
    return found


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize(("start", "stop"), [(0, 11), (21, 47)])
def test_every_form_of_feed_gives_the_batches_of_the_pipeline(mesh, pipeline, on_device, size, start, stop):
    data = resident(pipeline, mesh, on_device)
    found = rows_of(Feed(pipeline=pipeline, mesh=mesh, size=size, data=data), start, stop, intervals=[10, 6])
    assert list(found) == list(range(start, stop))
    for step, rows in found.items():
        for name, expected in pipeline[step].items():
            np.testing.assert_array_equal(rows[name], expected)


@pytest.mark.parametrize("size", [1, 4])
def test_worker_processes_make_the_same_batches(mesh, pipeline, size, monkeypatch):
    used = []
    from jaxdl.data import workers

    original = workers.in_processes
    monkeypatch.setattr(workers, "in_processes", lambda *a, **k: used.append(k["processes"]) or original(*a, **k))
    several = dataclasses.replace(pipeline, processes=2)
    found = rows_of(Feed(pipeline=several, mesh=mesh, size=size), 5, 12)
    assert used == [2]
    assert list(found) == list(range(5, 12))
    for step, rows in found.items():
        np.testing.assert_array_equal(rows["image"], pipeline[step]["image"])


def test_batches_are_split_over_all_devices(mesh, pipeline):
    for size in (1, 4):
        with contextlib.closing(Feed(pipeline=pipeline, mesh=mesh, size=size).batches(0, 4, ())) as batches:
            _, batch = next(batches)
        assert len(batch["image"].sharding.device_set) == 8
        assert batch["image"].addressable_shards[0].data.shape[-4] == 8


def test_closing_early_ends_the_threads(mesh, pipeline):
    import threading

    batches = Feed(pipeline=pipeline, mesh=mesh).batches(0, 1000, ())
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_small_data_in_memory_goes_to_the_device_by_itself_and_nothing_else_does(mesh, pipeline, monkeypatch):
    data = resident(pipeline, mesh, None)
    assert set(data) == {"image", "label"}
    assert data["image"].shape == (1437, 8, 8, 1)
    assert data["image"].sharding.is_fully_replicated
    assert resident(pipeline, mesh, False) is None
    assert resident(dataclasses.replace(pipeline, transforms=(lambda example: example,)), mesh, None) is None
    assert resident(dataclasses.replace(pipeline, on_bad="skip"), mesh, None) is None
    monkeypatch.setattr(feed_module, "RESIDENT_BYTES_CPU", 1437 * 68 - 1)
    assert resident(pipeline, mesh, None) is None
    assert resident(pipeline, mesh, True) is not None
    monkeypatch.setattr(feed_module, "RESIDENT_BYTES_CPU", 1437 * 68)
    assert resident(pipeline, mesh, None) is not None


def test_a_mask_of_the_data_is_kept_by_streaming(mesh, experiment):
    arrays = digits(split="train").arrays
    mask = (np.arange(1437) % 3 > 0).astype(np.float32)
    source = ArraySource(arrays={**arrays, "mask": mask})
    assert resident(Pipeline(source=source, batch_size=64), mesh, None) is None
    with pytest.raises(ConfigError, match="without `mask`"):
        train(experiment(train=Pipeline(source=source, batch_size=64), resident=True), quiet=True)


@pytest.mark.parametrize("change", [{"on_bad": "skip"}, {"transforms": (lambda example: example,)}])
def test_what_cannot_be_resident_is_refused(mesh, pipeline, change):
    with pytest.raises(ValueError, match="resident=True needs"):
        resident(dataclasses.replace(pipeline, **change), mesh, True)


@pytest.mark.parametrize("choice", [True, False])
@pytest.mark.parametrize(("label", "reason"), [(10, r"label 10 is outside \[0, 10\)"), (-1, "label -1 is outside")])
def test_a_bad_label_is_named_resident_or_streamed(experiment, choice, label, reason):
    arrays = digits(split="train").arrays
    labels = arrays["label"].copy()
    labels[17] = label
    source = ArraySource(arrays={**arrays, "label": labels}, name="mine")
    pipeline = Pipeline(source=source, batch_size=64, shuffle=False)
    with pytest.raises(DataError, match=f"mine, example 17: {reason}"):
        train(experiment(train=pipeline, resident=choice), quiet=True)


def test_bad_labels_of_an_evaluation_are_found_before_training(experiment):
    arrays = digits(split="test").arrays
    source = ArraySource(arrays={**arrays, "label": arrays["label"] + 5}, name="shifted")
    base = experiment().evals["test"]
    evals = {"test": dataclasses.replace(base, data=dataclasses.replace(base.data, source=source))}
    with pytest.raises(DataError, match=r"shifted, example \d+: label 1\d is outside"):
        train(experiment(evals=evals), quiet=True)


@pytest.mark.parametrize("choice", [True, False])
def test_values_that_are_not_finite_are_refused_resident_or_streamed(experiment, choice):
    arrays = digits(split="train").arrays
    image = arrays["image"].astype(np.float32) / 255
    image[5, 2, 3, 0] = np.nan
    source = ArraySource(arrays={**arrays, "image": image}, name="mine")
    with pytest.raises(DataError, match="mine, example 5: field 'image' holds nan"):
        train(experiment(train=Pipeline(source=source, batch_size=64, shuffle=False), resident=choice), quiet=True)


def test_resident_streamed_and_many_steps_a_dispatch_train_the_same(experiment, tmp_path):
    def log(name, **changes):
        train(experiment(log_every=5, **changes), tmp_path / name, quiet=True)
        rows = read_rows(tmp_path / name / "metrics.jsonl")
        return [(row["step"], row["kind"], row["loss"], row["accuracy"]) for row in rows]

    streamed = log("streamed", resident=False)
    assert log("resident", resident=True) == streamed
    for name, changes in {"k": {"resident": True}, "streamed-k": {"resident": False}}.items():
        found = log(name, steps_per_dispatch=8, **changes)
        assert [row[:2] for row in found] == [row[:2] for row in streamed]
        np.testing.assert_allclose([r[2:] for r in found], [r[2:] for r in streamed], rtol=1e-5)


@pytest.mark.parametrize("on_device", [True, False])
@pytest.mark.parametrize("size", [8, 64, 104, 360, 400])
def test_a_pass_reads_every_example_once_in_order(mesh, on_device, size):
    source = digits(split="test")
    pipeline = Pipeline(source=source, batch_size=size)
    data = resident(pipeline, mesh, on_device)
    labels = []
    for batch in Pass(pipeline=pipeline, mesh=mesh, data=data):
        rows = np.asarray(data["label"])[np.asarray(batch["index"])] if on_device else np.asarray(batch["label"])
        assert len(rows) == size
        labels += rows[np.asarray(batch["mask"]) == 1].tolist()
    assert labels == source.arrays["label"].tolist()


@pytest.fixture
def folder(tmp_path):
    """Digits as image files by class, a few of them broken."""
    source = digits(split="train")
    for i in range(96):
        path = tmp_path / "images" / str(source[i]["label"]) / f"{i:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source[i]["image"][..., 0]).save(path)
    for i in (10, 50, 70):
        next((tmp_path / "images").rglob(f"{i:03d}.png")).write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return ImageFolder(path=str(tmp_path / "images"))


def test_broken_files_are_named_or_left_out_and_counted(experiment, folder, tmp_path):
    transforms = (Decode(channels=1), Resize(size=(8, 8)))
    pipeline = Pipeline(source=folder, batch_size=32, transforms=transforms)
    with pytest.raises(DataError, match=r"0(10|50|70)\.png"):
        train(experiment(steps=3, train=pipeline, evals={}), quiet=True)
    skipping = dataclasses.replace(pipeline, on_bad="skip")
    train(experiment(steps=6, log_every=3, train=skipping, evals={}), tmp_path / "run", quiet=True)
    rows = read_rows(tmp_path / "run" / "metrics.jsonl")
    assert [row["bad_examples"] for row in rows] == pytest.approx([3 / 96, 3 / 96])
    assert all(np.isfinite(row["loss"]) for row in rows)
    loaded = in_memory(source=folder, transforms=transforms, on_bad="skip")
    assert len(loaded) == 93
    outcome = train(experiment(steps=2, train=Pipeline(source=loaded, batch_size=32), evals={}), quiet=True)
    assert outcome.program.feed.data is not None
    assert jax.tree.leaves(outcome.state.params)
