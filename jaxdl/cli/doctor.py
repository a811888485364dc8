"""jaxdl doctor."""

import argparse
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple

from jaxdl.cli.environment import cache_folder
from jaxdl.cli.processes import find
from jaxdl.errors import ConfigError

_PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tensorflow-datasets",
    "ml-collections",
    "chex",
    "grain",
)
_OPTIONAL = {
    "PIL": "image files: pip install 'jaxdl[vision]'",
    "sklearn": "the digits data: pip install 'jaxdl[vision]'",
}
_LAUNCHERS = {
    "SLURM_JOB_ID": "SLURM",
    "OMPI_COMM_WORLD_SIZE": "Open MPI",
    "TPU_WORKER_HOSTNAMES": "Cloud TPU pod",
    "JAX_COORDINATOR_ADDRESS": "explicit JAX_COORDINATOR_ADDRESS",
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
}
# The variables with which a launcher tells a process its place.
_TELLING = {"SLURM_PROCID", "OMPI_MCA_orte_hnp_uri"}
_TOOLS = {"sbatch": "slurm", "gcloud": "tpu", "kubectl": "kubernetes"}


class Finding(NamedTuple):
    """One line of the examination; `advice` where there is something to do."""

    what: str
    found: str
    advice: str = ""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Prints what was found and what to do."""
    findings = list(examine())
    if options.json:
        print(json.dumps([finding._asdict() for finding in findings], indent=1))
        return 0
    for finding in findings:
        print(f"{'!' if finding.advice else ' '} {finding.what:24} {finding.found}")
        if finding.advice:
            print(f"  {'':24} -> {finding.advice}")
    return 0


def examine() -> Iterator[Finding]:
    """Looks at everything that training depends on."""
    yield from _versions()
    yield from _devices()
    yield from _caches()
    yield from _processes()


def _processes() -> Iterator[Finding]:
    found = [name for variable, name in _LAUNCHERS.items() if variable in os.environ]
    advice = []
    if os.environ.keys() & _TELLING:
        try:  # What these say is in the environment; others would have to be asked over the network.
            place = find(0)
        except ConfigError as error:
            place = None
            advice.append(str(error))
        if place is not None:
            found[-1] += f": process {place.process} of {place.processes}, coordinator {place.coordinator}"
    elif "SLURM_JOB_ID" in os.environ:
        advice.append("this is no step of the job: start the training with srun, or use jaxdl launch slurm")
    proxies = sorted(name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "grpc_proxy"))
    if found and proxies:
        advice.append(f"unset {', '.join(proxies)} if processes cannot reach one another")
    yield Finding("distributed environment", ", ".join(found) or "none found: one process", "; ".join(advice))
    tools = [f"{tool} ({name})" for tool, name in _TOOLS.items() if shutil.which(tool)]
    yield Finding("launchers", ", ".join(tools) or "none found")


def _versions() -> Iterator[Finding]:
    for package in _PACKAGES:
        try:
            yield Finding(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, "missing", f"pip install {package}")
    for module, advice in _OPTIONAL.items():
        there = importlib.util.find_spec(module) is not None
        yield Finding(f"{module} (optional)", "found" if there else "missing", "" if there else advice)


def _devices() -> Iterator[Finding]:
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as error:
        yield Finding("devices", f"JAX found none: {error}", "unset JAX_PLATFORMS, or install jaxdl[gpu] or jaxdl[tpu]")
        return
    kinds = sorted({device.device_kind for device in devices})
    idle = devices[0].platform == "cpu" and shutil.which("nvidia-smi") is not None
    advice = "an NVIDIA driver is here but JAX uses the CPU: pip install 'jaxdl[gpu]'" if idle else ""
    yield Finding("devices", f"{len(devices)} x {', '.join(kinds)} ({devices[0].platform})", advice)
    stats = devices[0].memory_stats() if devices[0].platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        yield Finding("device memory", f"{stats['bytes_limit'] / 2**30:.1f} GiB usable on each")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding("host", f"{os.cpu_count()} processors, {pages / 2**30:.1f} GiB memory")


def _caches() -> Iterator[Finding]:
    folder = cache_folder()
    size = sum(file.stat().st_size for file in folder.glob("*") if file.is_file()) if folder.is_dir() else 0
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    writable = os.access(parent, os.W_OK)
    advice = "" if writable else "set JAX_COMPILATION_CACHE_DIR to a folder that can be written"
    yield Finding("compile cache", f"{folder}, {size / 2**20:.1f} MiB", advice)
    free = shutil.disk_usage(".").free
    yield Finding(
        "disk", f"{free / 2**30:.1f} GiB free here", "less than 1 GiB: checkpoints need room" if free < 2**30 else ""
    )
