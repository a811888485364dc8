"""Eight virtual CPU devices, strict promotion, and a compile cache that outlives the test run."""

import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Fewer threads than devices x queued steps deadlock XLA's CPU collectives.
os.environ.setdefault("NPROC", "32")
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()

import jax
import pytest

jax.config.update("jax_compilation_cache_dir", os.path.join(tempfile.gettempdir(), "jaxdl-test-cache"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
jax.config.update("jax_numpy_rank_promotion", "warn")


@pytest.fixture
def here_on_one_device(monkeypatch, request):
    """Works in the repository's root, and trains on one device."""
    from jaxdl.parallel import make_mesh
    from jaxdl.train import program

    monkeypatch.chdir(request.config.rootpath)
    monkeypatch.setattr(program, "make_mesh", lambda axes: make_mesh(axes, jax.devices()[:1]))


@pytest.fixture(autouse=True, scope="module")
def few_programs_in_memory(request):
    """Lets go of what the tests of a model compiled: all of them together take gigabytes."""
    yield
    if request.path.parent.name in ("models", "interop", "nn", "decoding"):
        jax.clear_caches()
