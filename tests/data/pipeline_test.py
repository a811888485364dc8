import dataclasses
import itertools
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Pipeline, batches, fingerprint, once
from jaxdl.data.sources import ArraySource
from jaxdl.errors import DataError


def source(size=23):
    arrays = {"x": np.arange(size * 4, dtype=np.float32).reshape(size, 2, 2), "label": np.arange(size, dtype=np.int32)}
    return ArraySource(arrays=arrays, labels=("a", "b"))


@dataclasses.dataclass(frozen=True)
class Listed:
    """A source without `gather`; an example that is an error is raised."""

    examples: tuple

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        if isinstance(self.examples[index], Exception):
            raise self.examples[index]
        return self.examples[index]

    def describe(self, index):
        return f"file-{index}.png"


class Noise:
    def random_map(self, element, rng):
        return {**element, "x": element["x"] + rng.random(element["x"].shape, np.float32)}


class Negate:
    def map(self, element):
        return {**element, "x": -element["x"]}


def as_float(element):
    return {**element, "x": np.float32(element["x"])}


def equal(a, b):
    return a.keys() == b.keys() and all((a[k] == b[k]).all() and a[k].dtype == b[k].dtype for k in a)


def good(n, bad=()):
    """Examples 0, 1, ..., with what `bad` says in the place of some."""
    return Listed(tuple(dict(bad).get(i, {"x": np.float32([i]), "label": np.int32(i)}) for i in range(n)))


@given(size=st.integers(1, 60), batch_size=st.integers(1, 40), seed=st.integers(0, 5), shuffle=st.booleans())
@settings(max_examples=30, deadline=None)
def test_every_epoch_holds_each_example_once(size, batch_size, seed, shuffle):
    pipeline = Pipeline(source=source(size), batch_size=batch_size, seed=seed, shuffle=shuffle)
    steps = -(-3 * size // batch_size)
    seen = np.concatenate([pipeline.indices(step) for step in range(steps)])[: 3 * size].reshape(3, size)
    assert (np.sort(seen, axis=1) == np.arange(size)).all()
    assert (pipeline.indices(0, steps)[: 3 * size] == seen.reshape(-1)).all()
    if not shuffle:
        assert (seen == np.arange(size)).all()
    elif size > 20:
        assert (seen[0] != seen[1]).any()


@pytest.mark.parametrize("transforms", [(), (Negate(), Noise())])
def test_any_step_is_reached_at_once(transforms):
    pipeline = Pipeline(source=source(), batch_size=7, seed=3, transforms=transforms)
    iterated = next(itertools.islice(batches(pipeline), 100, None))
    assert equal(pipeline[100], iterated)
    assert equal(next(batches(pipeline, 100)), iterated)
    assert pipeline.indices(10**12).shape == (7,)


def test_rows_are_those_of_the_source():
    pipeline = Pipeline(source=source(), batch_size=5)
    batch = pipeline[4]
    assert (batch["label"] == pipeline.indices(4)).all()
    assert (batch["x"] == source().arrays["x"][batch["label"]]).all()
    assert batch["mask"].dtype == np.float32
    assert batch["mask"].tolist() == [1] * 5


@pytest.mark.parametrize("transforms", [(), (as_float, Noise())])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_shards_make_up_the_same_batch(parts, transforms):
    whole = Pipeline(source=source(), batch_size=8, transforms=transforms, seed=1)
    shards = [dataclasses.replace(whole, shard=(i, parts), threads=1 + i) for i in range(parts)]
    for step in range(8):
        pieces = [shard[step] for shard in shards]
        joined = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        assert equal(joined, whole[step])
        assert {fingerprint(shard, step) for shard in shards} == {fingerprint(whole, step)}
    for pieces in zip(*(once(shard) for shard in shards), once(whole), strict=True):
        joined = {name: np.concatenate([piece[name] for piece in pieces[:-1]]) for name in pieces[0]}
        assert equal(joined, pieces[-1])


def test_threads_change_nothing():
    one = Pipeline(source=source(), batch_size=16, transforms=(Noise(),), threads=1)
    many = dataclasses.replace(one, threads=5)
    assert all(equal(one[step], many[step]) for step in range(5))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("examples")]


def test_randomness_is_new_in_each_epoch_and_for_each_seed():
    pipeline = Pipeline(source=source(4), batch_size=4, transforms=(Noise(),), shuffle=False)
    assert (pipeline[0]["label"] == pipeline[1]["label"]).all()
    assert (pipeline[0]["x"] != pipeline[1]["x"]).all()
    assert (pipeline[0]["x"] != dataclasses.replace(pipeline, seed=1)[0]["x"]).all()
    assert equal(pipeline[7], pipeline[7])


def test_gather_and_examples_agree():
    gathered = Pipeline(source=source(), batch_size=6)
    mapped = dataclasses.replace(gathered, transforms=(lambda example: example,))
    assert equal(gathered[3], mapped[3])


@pytest.mark.parametrize(("size", "batch_size", "count"), [(10, 4, 3), (8, 4, 2), (3, 8, 1)])
def test_once_pads_the_last_batch(size, batch_size, count):
    pipeline = Pipeline(source=source(size), batch_size=batch_size)
    passed = list(once(pipeline))
    assert len(passed) == pipeline.num_batches == count
    labels = np.concatenate([batch["label"] for batch in passed])
    mask = np.concatenate([batch["mask"] for batch in passed])
    assert len(labels) == count * batch_size
    assert labels[:size].tolist() == list(range(size))
    assert (labels[size:] == size - 1).all()
    assert mask.tolist() == [1] * size + [0] * (count * batch_size - size)
    assert pipeline.steps_per_epoch == size / batch_size


def test_fingerprint_tells_orders_apart():
    pipeline = Pipeline(source=source(), batch_size=8)
    prints = [fingerprint(pipeline, step) for step in range(5)]
    assert len(set(prints)) == 5
    assert fingerprint(dataclasses.replace(pipeline, seed=1), 0) not in prints


BAD = {
    "unreadable": OSError("disk on fire"),
    "corrupt": DataError("the JPEG image is corrupt"),
    "shape": {"x": np.zeros(2, np.float32), "label": np.int32(0)},
    "dtype": {"x": np.zeros(1, np.float64), "label": np.int32(0)},
    "nan": {"x": np.float32([np.nan]), "label": np.int32(0)},
    "field": {"x": np.float32([1])},
    "text": {"x": np.float32([1]), "label": "cat"},
    "label": {"x": np.float32([1]), "label": np.int32(1000)},
}
REASONS = {
    "unreadable": "reading failed with OSError: disk on fire",
    "corrupt": "JPEG image is corrupt",
    "shape": r"field 'x' is float32 \(2,\)",
    "dtype": "field 'x' is float64",
    "nan": "holds nan",
    "field": r"fields are \['x'\]",
    "text": "'label' is str",
    "label": "label 1000 is outside",
}


def check(batch):
    return [(row, f"label {label} is outside [0, 100)") for row, label in enumerate(batch["label"]) if label >= 100]


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("threads", [1, 3])
def test_bad_example_is_named(kind, threads):
    bad = Pipeline(source=good(12, {5: BAD[kind]}), batch_size=12, check=check, threads=threads)
    with pytest.raises(DataError, match=rf"file-5\.png: .*{REASONS[kind]}"):
        bad[0]
    with pytest.raises(DataError, match=r"file-5\.png"):
        list(once(bad))


@pytest.mark.parametrize("kind", BAD)
def test_bad_example_is_skipped_and_the_others_stay(kind):
    clean = Pipeline(source=good(12), batch_size=8, check=check, on_bad="skip")
    dirty = dataclasses.replace(clean, source=good(12, {5: BAD[kind]}))
    for step in range(3):
        expected, batch, bad = clean[step], dirty[step], clean.indices(step) == 5
        assert (batch["mask"] == ~bad).all()
        for name in ("x", "label"):
            assert (batch[name][~bad] == expected[name][~bad]).all()
            assert (batch[name][bad] == 0).all()


def test_a_bad_first_example_does_not_set_the_layout():
    pipeline = Pipeline(
        source=good(12, {0: OSError("gone"), 1: OSError("gone")}), batch_size=12, on_bad="skip", shuffle=False
    )
    assert pipeline[0]["mask"].tolist() == [0, 0] + [1] * 10


def test_a_shard_of_bad_examples_alone_keeps_its_shape():
    pipeline = Pipeline(
        source=good(12, {6: OSError("gone"), 7: OSError("gone")}), batch_size=4, on_bad="skip", shuffle=False
    )
    batch = dataclasses.replace(pipeline, shard=(1, 2))[1]
    assert batch["x"].shape == (2, 1)
    assert batch["mask"].tolist() == [0, 0]


def test_nothing_but_bad_examples_is_an_error():
    nothing = Pipeline(source=good(20, {i: OSError("gone") for i in range(20)}), batch_size=4, on_bad="skip")
    with pytest.raises(DataError, match=r"None of the first 20 .*file-0\.png.*gone"):
        nothing[0]
    later = Pipeline(
        source=good(20, {i: OSError("gone") for i in range(10, 20)}), batch_size=10, on_bad="skip", shuffle=False
    )
    assert later[0]["mask"].sum() == 10
    with pytest.raises(DataError, match="All 10 rows"):
        later[1]


def test_bad_rows_of_gathered_arrays():
    arrays = {"x": np.zeros((10, 3), np.float32), "label": np.arange(10)}
    arrays["x"][4, 1] = np.inf
    arrays["label"][6] = 100
    pipeline = Pipeline(source=ArraySource(arrays=arrays, name="mine"), batch_size=10, shuffle=False, check=check)
    with pytest.raises(DataError, match=r"mine, example 4: field 'x' holds inf at \(1,\)\. 1 more"):
        pipeline[0]
    batch = dataclasses.replace(pipeline, on_bad="skip")[0]
    assert np.flatnonzero(batch["mask"] == 0).tolist() == [4, 6]
    assert batch["label"].tolist() == [0, 1, 2, 3, 0, 5, 0, 7, 8, 9]
    assert np.isfinite(batch["x"]).all()
    assert np.isinf(arrays["x"][4, 1]), "the source itself stays as it is"


def test_a_failing_transform_is_named():
    def divide(example):
        return {**example, "x": example["x"] / (1 // int(example["label"] != 3))}

    with pytest.raises(DataError, match=r"file-3\.png: divide failed with ZeroDivisionError"):
        Pipeline(source=good(8), batch_size=8, transforms=(divide,))[0]


def test_a_bug_in_a_transform_stays_what_it_is():
    def buggy(example):
        return example.nothing

    with pytest.raises(AttributeError, match="nothing"):
        Pipeline(source=good(8), batch_size=8, transforms=(buggy,), on_bad="skip")[0]


def test_encoded_images_need_decoding():
    encoded = Listed(({"image": b"\x89PNG"},))
    with pytest.raises(DataError, match=r"file-0\.png: field 'image' is bytes.*Decode\(\)"):
        Pipeline(source=encoded, batch_size=1)[0]


def test_a_mask_of_the_source_is_kept():
    arrays = {"x": np.zeros((4, 1)), "mask": np.array([1, 0, 1, 1], bool)}
    for transforms in ((), (lambda example: example,)):
        pipeline = Pipeline(source=ArraySource(arrays=arrays), batch_size=6, shuffle=False, transforms=transforms)
        (batch,) = once(pipeline)
        assert batch["mask"].tolist() == [1, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"batch_size": 6, "shard": (0, 4)}, "6 does not divide into 4"),
        ({"shard": (2, 2)}, r"\(2, 2\)"),
        ({"on_bad": "ignore"}, "'raise' or 'skip', not 'ignore'"),
        ({"seed": -1}, "seed=-1"),
        ({"threads": 0}, "threads=0"),
        ({"processes": -1}, "processes=-1"),
    ],
)
def test_refuses_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(**{"source": source(), "batch_size": 4, **arguments})


def test_refuses_an_empty_source():
    with pytest.raises(DataError, match="Listed has no examples"):
        Pipeline(source=Listed(()), batch_size=4)


def test_refuses_a_negative_step():
    with pytest.raises(IndexError, match="-1"):
        Pipeline(source=source(), batch_size=4)[-1]
