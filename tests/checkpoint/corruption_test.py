"""Damage to files: everything that is not provably harmless is found, and an older step takes over."""

import os
import random
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.checkpoint import Checkpoints, restore_part
from jaxdl.checkpoint.commit import Corrupt, verify
from jaxdl.checkpoint.manifest import BadManifest, Leaf, Manifest, from_json, pack, to_json
from jaxdl.errors import CheckpointError

KINDS = ("flip", "truncate", "zero", "append", "delete", "add")


def make_state(step):
    random_numbers = np.random.default_rng(step)
    return {
        "params": {
            "w": random_numbers.standard_normal((64, 64), dtype=np.float32),
            "b": np.asarray(jnp.ones(7, jnp.bfloat16)),
        },
        "step": np.asarray(step, np.int32),
    }


def same(state, step):
    expected = make_state(step)
    return (
        state["params"]["w"].tobytes() == expected["params"]["w"].tobytes()
        and state["params"]["b"].tobytes() == expected["params"]["b"].tobytes()
        and state["step"] == step
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved")
    with Checkpoints(directory) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_state(step), {"step": step}, metrics={"loss": 0.5})
    return directory


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(choose, folder, kind):
    path = choose.choice(files_of(folder))
    data = path.read_bytes()
    if kind == "delete":
        path.unlink()
        return
    if kind == "add":
        (path.parent / "extra").write_bytes(b"x")
        return
    at = choose.randrange(len(data))
    if kind == "flip":
        changed = bytearray(data)
        changed[at] ^= 1 << choose.randrange(8)
    elif kind == "truncate":
        changed = data[:at]
    elif kind == "zero":
        changed = data[:at] + bytes(len(data) - at)
    else:
        changed = data + b"x"
    path.write_bytes(changed)


def sweep(saved, directory, trials, seed):
    choose = random.Random(seed)
    found = 0
    for trial in range(trials):
        shutil.copytree(saved, directory)
        damage(choose, directory / "00000002", KINDS[trial % len(KINDS)])
        with Checkpoints(directory) as checkpoints:
            restored = checkpoints.restore(make_state(0))
            assert same(restored.state, restored.step)
            assert restored.info == {"step": restored.step}
            if restored.step == 1:
                found += 1
                (skipped,) = restored.skipped
                assert skipped.step == 2
                assert skipped.moved_to == directory / "corrupt-2"
                assert skipped.moved_to.is_dir()
                assert checkpoints.steps() == [1]
                if trial % 10 == 0:
                    checkpoints.save(2, make_state(2), {"step": 2}, wait=True)
                    assert checkpoints.restore(make_state(0)).step == 2
        shutil.rmtree(directory)
    return found


def test_a_hundred_corruptions(saved, tmp_path):
    # White space beside the manifest's JSON may change: its contents prove themselves.
    assert sweep(saved, tmp_path / "copy", 102, seed=0) >= 100


@pytest.mark.slow
def test_two_thousand_corruptions(saved, tmp_path):
    assert sweep(saved, tmp_path / "copy", 2000, seed=1) >= 1980


def test_every_bit_of_a_manifest_counts():
    leaf = Leaf(name="a/b", shape=(2, 3), dtype="float32", crc32=7)
    manifest = Manifest(
        step=3, leaves=(leaf,), info={"x": [1.5, None]}, metrics={"loss": float("nan")}, versions={"jax": "1"}
    )
    data = to_json(manifest)
    restored = from_json(data)
    assert repr(restored) == repr(manifest)
    for at in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[at] ^= 1 << bit
            try:
                assert repr(from_json(bytes(changed))) == repr(manifest)
            except BadManifest:
                continue
            assert chr(data[at]).isspace()


@pytest.mark.parametrize(
    "text",
    [b"", b"null", b"[]", b"{}", b"[" * 100_000, b'{"body": 1, "sha256": 2}', b'{"body": {}, "sha256": {}}', b"\xff"],
)
def test_what_is_no_manifest_is_refused(text):
    with pytest.raises(BadManifest):
        from_json(text)


@pytest.mark.parametrize("name", ["../x", "/x", "a//b", "", "a/..", "a b", "x" * 200])
def test_a_manifest_cannot_name_other_places(name):
    with pytest.raises(BadManifest, match="names an array"):
        from_json(to_json(Manifest(step=1, leaves=(Leaf(name=name, shape=(), dtype="float32", crc32=0),))))


def test_a_format_from_the_future_is_refused_and_left_alone(copy):
    manifest = from_json((copy / "00000002" / "manifest.json").read_bytes())
    (copy / "00000002" / "manifest.json").write_bytes(to_json(Manifest(step=2, leaves=manifest.leaves, format=2)))
    with Checkpoints(copy) as checkpoints, pytest.raises(CheckpointError, match="has format 2"):
        checkpoints.restore(make_state(0))
    assert (copy / "00000002").exists()


def test_the_message_names_the_file_and_the_digests(copy):
    path = next(path for path in files_of(copy / "00000002") if path.name == "_METADATA")
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=r"state/_METADATA: expected CRC-32 [0-9a-f]{8}, got [0-9a-f]{8}"):
        verify(copy / "00000002")
    path.write_bytes(data[:-1])
    with pytest.raises(Corrupt, match=rf"_METADATA: expected {len(data)} bytes, got {len(data) - 1}"):
        verify(copy / "00000002", digests=False)


def test_links_and_special_files_are_not_followed(copy, tmp_path):
    path = next(path for path in files_of(copy / "00000002") if path.name == "_METADATA")
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Corrupt, match="link or a special file"):
        verify(copy / "00000002")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Corrupt, match="link or a special file"):
        verify(copy / "00000002")


def test_a_leaf_that_differs_although_its_files_agree_is_found(copy):
    first, second = copy / "00000001", copy / "00000002"
    old = from_json((second / "manifest.json").read_bytes())
    shutil.rmtree(second / "state")
    shutil.copytree(first / "state", second / "state")
    files = from_json((first / "manifest.json").read_bytes()).files
    swapped = Manifest(step=2, leaves=old.leaves, info=old.info, files=files)
    (second / "manifest.json").write_bytes(to_json(swapped))
    verify(second)
    with Checkpoints(copy) as checkpoints:
        restored = checkpoints.restore(make_state(0))
    assert restored.step == 1
    assert "array params/w: expected CRC-32" in restored.skipped[0].reason


def test_a_huge_array_behind_a_small_promise_is_not_read(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"w": np.zeros((2000, 2000), np.float32)}, wait=True)
        path = tmp_path / "00000001" / "manifest.json"
        honest = from_json(path.read_bytes())
        leaf = Leaf(name="w", shape=(2,), dtype="float32", crc32=None)
        path.write_bytes(to_json(Manifest(step=1, leaves=(leaf,), files=honest.files)))
        with pytest.raises(CheckpointError, match=r"array w: expected shape \(2,\), got \(2000, 2000\)"):
            checkpoints.restore({"w": np.zeros(2, np.float32)})


def test_no_silent_new_start_when_all_are_corrupt(copy):
    for step in ("00000001", "00000002"):
        (copy / step / "state" / "_METADATA").write_bytes(b"x")
    for _ in range(2):  # the second time, all are already set aside
        with (
            Checkpoints(copy) as checkpoints,
            pytest.raises(CheckpointError, match="does not silently start again") as error,
        ):
            checkpoints.restore(make_state(0))
        assert "corrupt-1, corrupt-2" in str(error.value)
    assert sorted(os.listdir(copy)) == ["corrupt-1", "corrupt-2"]


def test_a_reader_passes_over_a_corrupt_step_and_leaves_it(copy):
    (copy / "00000002" / "state" / "_METADATA").write_bytes(b"x")
    part = restore_part(copy)
    assert part.step == 1
    assert part.skipped[0].moved_to is None
    with Checkpoints(copy, read_only=True) as checkpoints:
        assert checkpoints.restore(make_state(0)).step == 1
    with pytest.raises(
        CheckpointError,
        match=r"step 2 in .* cannot be trusted: state/_METADATA: expected \d+ bytes, got 1.*also steps \[1\]",
    ):
        restore_part(copy, step=2)
    assert sorted(os.listdir(copy)) == ["00000001", "00000002"]


def test_a_step_named_explicitly_has_no_substitute(copy):
    (copy / "00000002" / "state" / "_METADATA").write_bytes(b"x")
    with (
        Checkpoints(copy) as checkpoints,
        pytest.raises(CheckpointError, match=r"step 2 in .* cannot be trusted: state/_METADATA"),
    ):
        checkpoints.restore(make_state(0), step=2)
    assert (copy / "00000002").exists()


def test_a_folder_that_lost_its_manifest_is_reported(copy):
    (copy / "00000002" / "manifest.json").unlink()
    with Checkpoints(copy) as checkpoints:
        assert checkpoints.steps() == [1]
        (skipped,) = checkpoints.restore(make_state(0)).skipped
    assert skipped.reason == "manifest.json is missing"


def test_a_renamed_step_is_not_taken_for_another(copy):
    (copy / "00000002").rename(copy / "00000003")
    with Checkpoints(copy) as checkpoints:
        restored = checkpoints.restore(make_state(0))
    assert restored.step == 1
    assert restored.skipped[0].reason == "manifest.json is that of step 2"


def test_numbers_that_are_not_finite_pack_into_strict_json():
    assert pack({"a": (float("-inf"), 1, True, None, "x")}) == {"a": [{"float": "-inf"}, 1, True, None, "x"]}
