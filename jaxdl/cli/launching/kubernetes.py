"""A JobSet of Kubernetes: one indexed job, whose pods are the processes."""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from jaxdl.cli.flags import natural, positive
from jaxdl.cli.launching.words import matching, one_line, program, submit, workdir_of
from jaxdl.errors import ConfigError, Preempted

_JOB = "train"  # The job of the set, its container, and its volume.
_LABEL = r"[a-z]([a-z0-9-]*[a-z0-9])?"
_ALLOWED = "lower-case letters, digits and -, a letter first"
_QUANTITY = r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?"
_LONGEST = 63  # Of the name of a pod, which is also a host name.


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this place."""
    parser.add_argument("--name", required=True, metavar="NAME", help="what to call the JobSet")
    parser.add_argument("--namespace", metavar="NAME", help="where (default: that of kubectl)")
    parser.add_argument("--image", required=True, metavar="IMAGE", help="the container image, with jaxdl in it")
    parser.add_argument("--processes", type=positive, required=True, metavar="N", help="how many pods")
    parser.add_argument(
        "--volume", required=True, metavar="CLAIM:FOLDER", help="a volume claim that all pods mount, for --workdir"
    )
    parser.add_argument("--gpus", type=natural, default=0, metavar="N", help="NVIDIA GPUs of each pod")
    parser.add_argument("--tpus", type=natural, default=0, metavar="N", help="TPU chips of each pod")
    parser.add_argument("--tpu-type", metavar="TYPE", help="such as tpu-v6e-slice")
    parser.add_argument("--tpu-topology", metavar="AxB", help="such as 4x4")
    parser.add_argument("--cpus", metavar="QUANTITY", help="processors of each pod, such as 8")
    parser.add_argument("--memory", metavar="QUANTITY", help="memory of each pod, such as 32Gi")
    parser.add_argument("--folder", metavar="FOLDER", help="where to run in the image")
    parser.add_argument("--port", type=positive, default=8476, metavar="PORT", help="of process 0 (default 8476)")
    parser.add_argument(
        "--max-restarts", type=natural, default=3, metavar="N", help="after failures other than preemption (default 3)"
    )
    parser.add_argument(
        "--grace-seconds", type=positive, default=120, metavar="S", help="to save in when told to stop (default 120)"
    )
    parser.add_argument("--program", metavar="WORDS", help="how jaxdl is called there (default: jaxdl)")


def run(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Submits the JobSet, or prints its manifest."""
    text = json.dumps(manifest(options, words), indent=2) + "\n"
    if options.dry_run:
        print(text, end="")
        return 0
    return submit(["kubectl", "apply", "-f", "-"], text)


def manifest(options: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    """The JobSet.

    A pod that ends with the exit code of an interrupted and saved run, or is evicted, starts the whole set again
    without limit; any other failure does so `max_restarts` times.

    Raises:
      ConfigError: a flag is not what Kubernetes takes.
    """
    name = matching("--name", _LABEL, _ALLOWED, options.name)
    longest = f"{name}-{_JOB}-0-{options.processes - 1}-abcde"
    if len(longest) > _LONGEST:
        raise ConfigError(
            f"--name {name!r} is too long by {len(longest) - _LONGEST} characters: pods get a longer one."
        )
    metadata = {"name": name}
    if options.namespace is not None:
        metadata["namespace"] = matching("--namespace", _LABEL, _ALLOWED, options.namespace)
    again = {"name": "interrupted", "action": "RestartJobSetAndIgnoreMaxRestarts"}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": metadata,
        "spec": {
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True, "subdomain": name},
            "failurePolicy": {
                "maxRestarts": options.max_restarts,
                "rules": [{**again, "onJobFailureReasons": ["PodFailurePolicy"]}],
            },
            "replicatedJobs": [{"name": _JOB, "replicas": 1, "template": {"spec": _job(options, words)}}],
        },
    }


def _job(options: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    saved = {"containerName": _JOB, "operator": "In", "values": [Preempted.exit_code]}
    evicted = {"type": "DisruptionTarget", "status": "True"}
    return {
        "completionMode": "Indexed",
        "completions": options.processes,
        "parallelism": options.processes,
        "backoffLimit": 0,  # All processes start again or none does.
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": saved},
                {"action": "FailJob", "onPodConditions": [evicted]},
            ]
        },
        "template": {"spec": _pod(options, words)},
    }


def _pod(options: argparse.Namespace, words: Sequence[str]) -> dict[str, Any]:
    claim, folder = _volume(options.volume, workdir_of(words))
    container = {
        "name": _JOB,
        "image": matching("--image", r"[A-Za-z0-9][A-Za-z0-9_.:/@-]*", "NAME:TAG or NAME@DIGEST", options.image),
        "command": [_literally(word) for word in program(options.program, ["jaxdl"])],
        "args": [*map(_literally, words), *_place(options)],
        "resources": _resources(options),
        "volumeMounts": [{"name": _JOB, "mountPath": folder}],
    }
    if options.folder is not None:
        container["workingDir"] = one_line("--folder", options.folder)
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,  # The training has nothing to ask Kubernetes.
        "terminationGracePeriodSeconds": options.grace_seconds,
        **_nodes(options),
        "containers": [container],
        "volumes": [{"name": _JOB, "persistentVolumeClaim": {"claimName": claim}}],
    }


def _place(options: argparse.Namespace) -> list[str]:
    """The flags by which a process finds the others; Kubernetes puts the number of the pod in."""
    if not options.port < 2**16:
        raise ConfigError(f"--port must be below 65536, not {options.port}.")
    first = f"{options.name}-{_JOB}-0-0.{options.name}:{options.port}"
    return ["--coordinator", first, "--processes", str(options.processes), "--process", "$(JOB_COMPLETION_INDEX)"]


def _literally(word: str) -> str:
    """A word in which Kubernetes puts nothing in the place of `$(NAME)`."""
    return word.replace("$(", "$$(")


def _volume(text: str, workdir: str) -> tuple[str, str]:
    """The claim and where it is mounted, which the run folder must be in."""
    claim, colon, folder = text.partition(":")
    if not colon or not folder.startswith("/") or ":" in folder:
        raise ConfigError(f"--volume must be CLAIM:FOLDER with an absolute folder, not {text!r}.")
    matching("--volume", r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", "a claim has lower-case letters, digits, - and .", claim)
    if ".." in PurePosixPath(workdir).parts or not PurePosixPath(workdir).is_relative_to(folder):
        raise ConfigError(
            f"--workdir {workdir!r} must be in {folder}, where the volume is mounted: what a pod writes elsewhere is "
            "lost when it ends."
        )
    return claim, one_line("--volume", folder)


def _resources(options: argparse.Namespace) -> Mapping[str, Any]:
    cpus = options.cpus and matching("--cpus", _QUANTITY, "write a quantity such as 8", options.cpus)
    memory = options.memory and matching("--memory", _QUANTITY, "write a quantity such as 32Gi", options.memory)
    limits = {"nvidia.com/gpu": options.gpus or None, "google.com/tpu": options.tpus or None, "memory": memory}
    asked = {"cpu": cpus, "memory": memory}
    both = {"limits": limits, "requests": asked}
    kept = {kind: {name: str(x) for name, x in values.items() if x} for kind, values in both.items()}
    return {kind: values for kind, values in kept.items() if values}


def _nodes(options: argparse.Namespace) -> Mapping[str, Any]:
    """Which machines will do: those of a TPU slice, where one is asked for."""
    tpu = (options.tpus, options.tpu_type, options.tpu_topology)
    if not any(tpu):
        return {}
    if not all(tpu) or options.gpus:
        raise ConfigError("A TPU slice needs --tpus, --tpu-type and --tpu-topology, and no --gpus.")
    kind = matching("--tpu-type", r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", _ALLOWED, options.tpu_type)
    topology = matching("--tpu-topology", r"\d+x\d+(x\d+)?", "write it like 4x4", options.tpu_topology)
    return {
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": kind,
            "cloud.google.com/gke-tpu-topology": topology,
        }
    }
