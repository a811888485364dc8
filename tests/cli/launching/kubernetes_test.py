"""The JobSet of Kubernetes, held against the public schema of its API.

`jobset_schema.json` is cut out of the custom resource definition that the JobSet project publishes (Apache-2.0); its
source is named in it.
"""

import json
import os
import re
from pathlib import Path

import pytest

from jaxdl.cli import main

TRAIN = ["train", "--config", "configs/vision/digits_mlp.py", "--workdir", "/runs/my $(HOME) run"]
KUBERNETES = ["launch", "kubernetes", "--name", "digits", "--image", "me/jaxdl:1", "--processes", "4"]
KUBERNETES += ["--volume", "runs:/runs"]
TPU = ["--tpus", "4", "--tpu-type", "tpu-v6e-slice", "--tpu-topology", "4x4"]
MORE = ["--namespace", "ml", "--cpus", "8", "--memory", "32Gi", "--folder", "/code"]
SCHEMA = json.loads(Path(__file__).with_name("jobset_schema.json").read_text())["schema"]
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
SIZES = {"int32": 2**31, "int64": 2**63}


def problems(value, schema, where="manifest"):
    """What a value has that the schema does not allow; the part of OpenAPI that the JobSet schema uses."""
    if schema.get("x-kubernetes-int-or-string"):
        fits = isinstance(value, int) or re.fullmatch(schema["pattern"] if "pattern" in schema else ".*", value)
        return [] if fits else [f"{where} is {value!r}"]
    kind = TYPES[schema["type"]]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        return [f"{where} is no {schema['type']}"]
    found = [f"{where} is {value!r}"] if "enum" in schema and value not in schema["enum"] else []
    if kind is int and not (schema["minimum"] if "minimum" in schema else -(2**63)) <= value < SIZES[schema["format"]]:
        found.append(f"{where} is {value}")
    if kind is list:
        return found + [one for i, item in enumerate(value) for one in problems(item, schema["items"], f"{where}[{i}]")]
    if kind is dict and ("properties" in schema or "additionalProperties" in schema):  # Else anything may be in it.
        found += [f"{where} lacks {name}" for name in schema.get("required", ()) if name not in value]
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            found += problems(item, inner, f"{where}.{name}") if inner else [f"{where} may have no {name}"]
    return found


def manifest(capsys, *flags):
    assert main([*KUBERNETES, *flags, "--dry-run", *TRAIN]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("flags", [[], ["--gpus", "8", *MORE], [*TPU, *MORE]], ids=["plain", "gpu", "tpu"])
def test_the_manifest_fits_the_public_schema(flags, capsys):
    assert problems(manifest(capsys, *flags), SCHEMA) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "failurePolicy", "rules", 0, "action"), "Restart"),
        (("spec", "failurePolicy", "rules", 0, "name"), None),
        (("spec", "failurePolicy", "maxRestarts"), "3"),
        (("spec", "replicatedJobs", 0, "replicas"), -1),
        (("spec", "replicatedJobs", 0, "template", "spec", "completionmode"), "Indexed"),
    ],
)
def test_the_schema_finds_what_does_not_fit(path, value, capsys):
    made = manifest(capsys)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    assert len(problems(made, SCHEMA)) == 1


def test_the_pods_are_processes_that_find_the_first_by_its_host_name(capsys):
    made = manifest(capsys)
    assert (made["apiVersion"], made["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (job,) = made["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 4, 4)
    (container,) = spec["template"]["spec"]["containers"]
    assert container["command"] == ["jaxdl"]
    # JobSet calls a pod NAME-JOB-REPLICA-POD, in the domain of the headless service.
    first = f"{made['metadata']['name']}-{job['name']}-0-0.{made['spec']['network']['subdomain']}:8476"
    place = ["--coordinator", first, "--processes", "4", "--process", "$(JOB_COMPLETION_INDEX)"]
    literally = [word.replace("$(", "$$(") for word in TRAIN]
    assert container["args"] == [*literally, *place], "Kubernetes fills in the number of the pod and nothing else"


def test_an_interrupted_and_saved_run_starts_again_and_one_that_fails_does_so_a_few_times(capsys):
    made = manifest(capsys, "--max-restarts", "5", "--grace-seconds", "90")
    assert made["spec"]["failurePolicy"]["maxRestarts"] == 5
    (rule,) = made["spec"]["failurePolicy"]["rules"]
    assert rule["action"] == "RestartJobSetAndIgnoreMaxRestarts"
    assert rule["onJobFailureReasons"] == ["PodFailurePolicy"]
    job = made["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = job["template"]["spec"]
    by_code, by_condition = job["podFailurePolicy"]["rules"]
    container = pod["containers"][0]["name"]
    assert by_code["onExitCodes"] == {"containerName": container, "operator": "In", "values": [75]}
    assert by_condition["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert {by_code["action"], by_condition["action"]} == {"FailJob"}
    assert job["backoffLimit"] == 0
    assert pod["restartPolicy"] == "Never", "a pod failure policy needs it"
    assert pod["terminationGracePeriodSeconds"] == 90


def test_resources(capsys):
    def pod(*flags):
        return manifest(capsys, *flags)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]

    assert pod("--gpus", "8")["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": "8"}}
    tpu = pod(*TPU, "--memory", "32Gi", "--cpus", "500m")
    limits = {"google.com/tpu": "4", "memory": "32Gi"}
    assert tpu["containers"][0]["resources"] == {"limits": limits, "requests": {"cpu": "500m", "memory": "32Gi"}}
    assert tpu["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    assert tpu["volumes"] == [{"name": "train", "persistentVolumeClaim": {"claimName": "runs"}}]


def test_kubectl_gets_what_the_dry_run_prints(tmp_path, monkeypatch, capsys):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat > {tmp_path}/manifest\nexit 3\n')
    kubectl.chmod(0o755)
    expected = manifest(capsys)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert main([*KUBERNETES, *TRAIN]) == 3
    assert (tmp_path / "words").read_text() == "apply -f -\n"
    assert json.loads((tmp_path / "manifest").read_text()) == expected


def test_without_kubectl_there_is_a_hint(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([*KUBERNETES, *TRAIN]) == 1
    assert "There is no kubectl on this machine." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--name", "Digits"], "--name 'Digits' is not possible: lower-case letters"),
        (["--name", "a" * 50], "is too long by 3 characters"),
        (["--namespace", "a/b"], "--namespace 'a/b' is not possible"),
        (["--image", "me/jaxdl:1\nx"], "--image"),
        (["--volume", "runs"], "--volume must be CLAIM:FOLDER"),
        (["--volume", "Runs:/runs"], "--volume 'Runs' is not possible"),
        (["--volume", "runs:/elsewhere"], "must be in /elsewhere, where the volume is mounted"),
        (["--memory", "32 GB"], "write a quantity such as 32Gi"),
        (["--tpus", "4"], "A TPU slice needs --tpus, --tpu-type and --tpu-topology"),
        ([*TPU, "--gpus", "1"], "and no --gpus"),
        ([*TPU, "--tpu-topology", "16"], "write it like 4x4"),
        (["--port", "65536"], "--port must be below 65536"),
        (["--folder", "a\nb"], "control characters"),
    ],
)
def test_flags_that_kubernetes_would_not_take(flags, message, capsys):
    assert main([*KUBERNETES, *flags, "--dry-run", *TRAIN]) == 2
    told = capsys.readouterr()
    assert message in told.err
    assert told.out == ""
