import os
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxdl.checkpoint import BestOf, Checkpoints, committed_steps, restore_part
from jaxdl.errors import CheckpointError, WorkdirError

INF = float("inf")


def make_state(seed=0, width=16):
    key = jax.random.key(seed)
    params = {"dense": {"kernel": jax.random.normal(key, (width, 8)), "bias": jnp.zeros(8, jnp.bfloat16)}}
    return {
        "step": jnp.asarray(seed, jnp.int32),
        "key": key,
        "params": params,
        "opt_state": optax.adam(1e-3).init(params),
        "model_state": {},
        "extras": {
            "nothing": None,
            "empty": np.zeros((0, 3), np.float32),
            "flag": np.array(True),
            "count": seed,
            "rate": 0.1,
        },
    }


def raw(leaf):
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf))
    return np.asarray(leaf)


def assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        x, y = raw(x), raw(y)
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert x.tobytes() == y.tobytes()


def test_a_state_comes_back_bit_for_bit(tmp_path):
    state = make_state(3)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.restore(state) is None
        checkpoints.save(
            3, state, {"epoch": 1.5, "log": (1, "x", None, -INF)}, metrics={"loss": float("nan"), "accuracy": 0.25}
        )
        checkpoints.wait()
        restored = checkpoints.restore(make_state(0))
    assert restored.step == 3
    assert restored.info == {"epoch": 1.5, "log": [1, "x", None, -INF]}
    assert np.isnan(restored.metrics["loss"])
    assert restored.metrics["accuracy"] == 0.25
    assert restored.skipped == ()
    assert_same(restored.state, state)
    assert type(restored.state["extras"]["count"]) is int
    assert isinstance(restored.state["extras"]["flag"], np.ndarray)
    assert restored.state["key"].dtype == state["key"].dtype
    assert sorted(os.listdir(tmp_path / "c")) == ["00000003"]


def test_saved_bytes_are_those_of_the_call_though_training_goes_on_in_place(tmp_path):
    step = jax.jit(lambda tree: jax.tree.map(lambda x: x * 1.5 + 1, tree), donate_argnums=0)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    state = {
        "one": jax.random.normal(jax.random.key(0), (512, 512)),
        "spread": jax.device_put(jnp.arange(4096.0), NamedSharding(mesh, PartitionSpec("data"))),
        "everywhere": jax.device_put(jnp.arange(4096.0), NamedSharding(mesh, PartitionSpec())),
        "host": np.arange(5.0, dtype=np.float32),
    }
    expected = jax.tree.map(lambda x: np.array(x, copy=True), state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        state["host"] += 1
        arrays = {name: value for name, value in state.items() if name != "host"}
        for _ in range(20):
            arrays = jax.block_until_ready(step(arrays))
        restored = checkpoints.restore(expected)
    assert_same(restored.state, expected)


def on_mesh(tree, spec):
    mesh = Mesh(np.array(jax.devices()), ("data",))
    return jax.tree.map(lambda x: jax.device_put(x, NamedSharding(mesh, spec)), tree)


def test_other_devices_may_restore_what_eight_saved_and_back(tmp_path):
    assert jax.device_count() == 8
    keys = jax.random.split(jax.random.key(1), 8)
    plain = {"w": jax.random.normal(jax.random.key(0), (64, 16)), "keys": keys}
    spread = on_mesh(plain, PartitionSpec("data"))
    one = jax.tree.map(lambda x: jax.device_put(x, jax.devices()[0]), plain)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, spread)
        abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), one)
        on_one = checkpoints.restore(abstract).state
        assert on_one["w"].sharding == one["w"].sharding
        checkpoints.save(2, on_one)
        back = checkpoints.restore(spread).state
    assert_same(back, plain)
    assert back["w"].sharding == spread["w"].sharding
    assert back["keys"].sharding.is_equivalent_to(spread["keys"].sharding, 1)
    assert jnp.array_equal(jax.random.normal(back["keys"][3]), jax.random.normal(keys[3]))


def test_a_checkpoint_of_another_model_is_refused_with_a_table(tmp_path):
    saved = {
        "params": {
            "dense": {"kernel": np.zeros((4, 8), np.float32), "bias": np.zeros(8, np.float32)},
            "old": np.zeros(2),
        }
    }
    wanted = {
        "params": {
            "dense": {"kernel": np.zeros((4, 9), np.float32), "bias": np.zeros(8, jnp.bfloat16)},
            "old_": np.zeros(2),
        },
        "key": jax.random.key(0),
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, saved, wait=True)
        with pytest.raises(CheckpointError) as error:
            checkpoints.restore(wanted)
        assert checkpoints.steps() == [7]
    lines = [line.split() for line in str(error.value).splitlines()]
    assert ["shape", "params/dense/kernel", "float32[4,8]", "float32[4,9]"] in lines
    assert ["dtype", "params/dense/bias", "float32[8]", "bfloat16[8]"] in lines
    assert ["missing", "params/old_", "-", "(nearest:", "params/old)", "float64[2]"] in lines
    assert ["missing", "key", "-", "key<fry>[]"] in lines
    assert ["not", "used", "params/old", "float64[2]", "-"] in lines
    assert "5 differences" in str(error.value)


def test_a_long_table_ends_after_twenty_rows(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {f"a{n}": np.zeros(1) for n in range(30)}, wait=True)
        with pytest.raises(CheckpointError, match="and 10 more") as error:
            checkpoints.restore({f"a{n}": np.zeros(2) for n in range(30)})
    assert str(error.value).count("float64[2]") == 20


def test_the_newest_and_the_best_stay(tmp_path):
    losses = {1: 0.9, 2: 0.1, 3: 0.8, 4: float("nan"), 5: 0.1, 6: 0.3, 7: 0.7}
    with Checkpoints(tmp_path, keep=2, best=BestOf(metric="loss", mode="min", k=2)) as checkpoints:
        for step, loss in losses.items():
            checkpoints.save(step, {"x": np.full(3, step)}, metrics={"loss": loss})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 5, 6, 7]
        assert checkpoints.best_steps()[:2] == [2, 5]
        assert checkpoints.restore({"x": np.zeros(3, int)}, step=2).state["x"].tolist() == [2, 2, 2]
        assert checkpoints.discard_after(5) == [6, 7]
        assert checkpoints.newest() == 5
    assert sorted(os.listdir(tmp_path)) == ["00000002", "00000005"]


def test_a_step_that_would_not_be_the_newest_is_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(5, {"x": np.zeros(3)})
        for step in (5, 4):
            with pytest.raises(CheckpointError, match=f"Step 5 is already saved.*discard_after\\({step - 1}\\)"):
                checkpoints.save(step, {"x": np.zeros(3)})


def test_the_newest_step_may_be_saved_again(tmp_path):
    with Checkpoints(tmp_path, keep=2, best=BestOf(metric="score")) as checkpoints:
        for step, score in ((1, 0.0), (2, 1.0), (3, 0.5)):
            checkpoints.save(step, {"x": np.full(3, step)}, {"is": "old"}, metrics={"score": score}, again=True)
        checkpoints.save(3, {"x": np.full(3, 7)}, {"is": "new"}, metrics={"score": 2.0}, again=True, wait=True)
        assert checkpoints.steps() == [2, 3]
        assert checkpoints.best_steps()[0] == 3
        restored = checkpoints.restore({"x": np.zeros(3, int)})
        assert (restored.info, restored.state["x"].tolist(), restored.skipped) == ({"is": "new"}, [7, 7, 7], ())
        with pytest.raises(CheckpointError, match="Step 3 is already saved"):
            checkpoints.save(2, {"x": np.zeros(3)}, again=True)
    assert sorted(os.listdir(tmp_path)) == ["00000002", "00000003"]


@pytest.mark.parametrize("moved", [False, True])
def test_the_old_one_comes_back_where_the_new_one_was_not_there_yet(tmp_path, moved):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, {"x": np.full(3, 3)}, {"is": "old"}, wait=True)
        os.rename(tmp_path / "00000003", tmp_path / "replaced-00000003")
        if moved:
            checkpoints.save(3, {"x": np.full(3, 7)}, {"is": "new"}, wait=True)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore({"x": np.zeros(3, int)})
        assert restored.info == {"is": "new" if moved else "old"}
    assert os.listdir(tmp_path) == ["00000003"]


def test_only_committed_folders_count_and_leftovers_go(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": np.zeros(3)}, wait=True)
    for name in ("00000009", "tmp-4", "trash-2", "9", "notes"):
        (tmp_path / name).mkdir()
    for name in ("tmp-4", "trash-2"):
        (tmp_path / name / "file").write_text("x")
    with Checkpoints(tmp_path, read_only=True) as reader:
        assert reader.steps() == [1]
    assert (tmp_path / "tmp-4").exists()
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.newest() == 1
        assert checkpoints.restore({"x": np.ones(3)}).skipped == ()
        checkpoints.save(9, {"x": np.zeros(3)}, wait=True)
    assert sorted(os.listdir(tmp_path)) == ["00000001", "00000009", "9", "notes"]


def test_one_writer_and_any_number_of_readers(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": np.zeros(3)}, wait=True)
        with pytest.raises(WorkdirError, match=f"in use by process {os.getpid()} "):
            Checkpoints(tmp_path)
        with Checkpoints(tmp_path, read_only=True) as reader:
            assert reader.restore({"x": np.ones(3)}).step == 1
            with pytest.raises(CheckpointError, match="read-only"):
                reader.save(2, {"x": np.zeros(3)})


def test_part_of_a_checkpoint_needs_no_target(tmp_path):
    state = make_state(2)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, state, {"labels": ["a"]}, wait=True)
    part = restore_part(tmp_path)
    assert part.info == {"labels": ["a"]}
    assert list(part.state) == ["params"]
    assert_same(part.state["params"], jax.tree.map(np.asarray, state["params"]))
    moments = restore_part(tmp_path, r"opt_state/0/mu/.*/kernel").state
    assert jax.tree.map(np.shape, moments) == {"opt_state": {"0": {"mu": {"dense": {"kernel": (16, 8)}}}}}
    with pytest.raises(CheckpointError, match=r"nothing named 'parms'.*'params'"):
        restore_part(tmp_path, "parms")
    with pytest.raises(CheckpointError, match="no step 3"):
        restore_part(tmp_path, step=3)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        restore_part(tmp_path / "nowhere")


def test_a_failed_save_is_told_once_and_harms_nothing(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": np.zeros(3)}, wait=True)
        checkpoints.save(2, {"x": np.zeros(100_000)})
        (tmp_path / "00000002").mkdir()
        (tmp_path / "00000002" / "in_the_way").touch()
        with pytest.raises(CheckpointError, match=r"Step 2 could not be saved.*saved steps \[1\] are untouched"):
            checkpoints.wait()
        assert not checkpoints.poll()
        assert not (tmp_path / "tmp-2").exists()
        checkpoints.save(2, {"x": np.ones(3)}, wait=True)
        assert checkpoints.restore({"x": np.zeros(3)}).step == 2
    assert sorted(os.listdir(tmp_path)) == ["00000001", "00000002", "corrupt-2"]


def test_too_little_space_is_told_before_anything_is_written(tmp_path, monkeypatch):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"x": np.zeros(3)}, wait=True)
        usage = type("Usage", (), {"free": 2**20})
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
        with pytest.raises(CheckpointError, match=r"disk is full: the step needs about 2.0 MiB, 1.0 MiB are free"):
            checkpoints.save(2, {"x": np.zeros(2**18)})
        assert sorted(os.listdir(tmp_path)) == ["00000001", "run.lock"]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a b": np.zeros(1)}, "leaf named 'a b'"),
        ({"..": {"x": np.zeros(1)}}, "leaf named '../x'"),
        ({"/etc": np.zeros(1)}, "leaf named '/etc'"),
        ({"a": np.zeros(1), "a/b": np.zeros(1)}, "beside leaves inside"),
        ({"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}, "two leaves named 'a/b'"),
        ({"a": np.array(["text"])}, "arrays of numbers"),
        ({"a": "text"}, "arrays of numbers"),
        (np.zeros(1), "leaf named ''"),
    ],
)
def test_what_cannot_be_saved_is_refused_by_name(tmp_path, state, message):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises((TypeError, ValueError), match=message):
        checkpoints.save(1, state)


@pytest.mark.parametrize("info", [{1: 2}, {"x": {1, 2}}, {"x": np.float32(1)}, {"x": {"float": 1}}])
def test_info_must_survive_json(tmp_path, info):
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(TypeError, match="info has"):
        checkpoints.save(1, {"x": np.zeros(1)}, info)


@pytest.mark.parametrize("implementation", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_random_keys_of_every_kind_come_back(tmp_path, implementation):
    keys = {
        "one": jax.random.key(3, impl=implementation),
        "many": jax.random.split(jax.random.key(4, impl=implementation), 6),
    }
    abstract = jax.eval_shape(lambda: keys)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, keys)
        restored = checkpoints.restore(abstract).state
    for name, key in keys.items():
        assert restored[name].dtype == key.dtype
        assert jnp.array_equal(jax.random.key_data(restored[name]), jax.random.key_data(key))


def test_a_state_without_bytes_round_trips(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, {"x": np.zeros((0, 2), np.int8)})
        assert checkpoints.restore({"x": np.ones((0, 2), np.int8)}).state["x"].shape == (0, 2)


def test_orbax_alone_can_read_the_arrays(tmp_path):
    import orbax.checkpoint as ocp

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"params": {"w": np.arange(6.0).reshape(2, 3)}}, wait=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ocp.PyTreeCheckpointer().restore(tmp_path / "00000001" / "state")
    assert np.array_equal(tree["params"]["w"], np.arange(6.0).reshape(2, 3))


def test_steps_of_a_missing_directory():
    assert committed_steps("/nonexistent/place") == []
