"""What must be set before JAX starts."""

import logging
import os
from pathlib import Path


def use_cpu_devices(count: int | None) -> None:
    """Makes JAX see `count` CPU devices; call it before JAX is imported."""
    if count is not None:
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        # With fewer threads than this, collectives of virtual devices can deadlock.
        os.environ.setdefault("NPROC", str(max(32, 4 * count)))


def cache_folder() -> Path:
    """Where compiled programs are kept between runs; `JAX_COMPILATION_CACHE_DIR` names another place."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or os.path.join(base, "jaxdl", "xla"))


def use_compile_cache() -> None:
    """Turns the persistent compile cache on, unless `JAX_ENABLE_COMPILATION_CACHE` is false."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(cache_folder()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    logging.getLogger("absl").setLevel(logging.WARNING)
