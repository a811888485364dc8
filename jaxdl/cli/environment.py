"""What must be set before JAX starts."""

import argparse
import ctypes
import logging
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8


def use_cpu_devices(count: int | None, *, compiling_alone: bool = False) -> None:
    """Makes JAX see `count` CPU devices, to run programs on or to compile for; call it before JAX is imported."""
    if count is not None:
        os.environ["JAX_PLATFORMS"] = "cpu"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        if not compiling_alone:  # With fewer threads than this, collectives of virtual devices can deadlock.
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


def import_from_here(allow: Sequence[str] | None = None) -> None:
    """Makes modules of the working folder importable, as `python -m` does, if `allow` is None or names any."""
    if (allow is None or allow) and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next step instead of giving it back; call it before JAX is imported.

    XLA on CPU allocates its temporaries anew at every call. By default each of them is mapped, zeroed page by page by
    the kernel, and unmapped again: for a small CNN that was 20,000 page faults and a third of the time of a step.
    The price is that the process keeps its peak memory. A user's own MALLOC_* variables are left alone.
    """
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    libc = ctypes.CDLL(None)
    for parameter, value in (
        (_M_ARENA_MAX, 1),
        (_M_MMAP_MAX, 0),
        (_M_TRIM_THRESHOLD, 2**31 - 1),
        (_M_TOP_PAD, 64 * 2**20),
    ):
        libc.mallopt(parameter, value)


def allowed(options: argparse.Namespace) -> tuple[str, ...]:
    """What a saved config may name too: the packages of `--allow`, and what the file of `--code` defines."""
    from jaxdl.config import define

    files = [] if options.code is None else [options.code]
    import_from_here([*options.allow, *files])
    return (*options.allow, *map(define, files))
