"""Forks a child for every command line on standard input; the children save checkpoints and may be killed."""

import ctypes
import json
import os
import sys

import numpy as np
import orbax.checkpoint

from jaxdl.checkpoint import BestOf, Checkpoints
from jaxdl.errors import CheckpointError

assert orbax.checkpoint  # imported here, once, so that no child has to


def make_state(step):
    random = np.random.default_rng(step)
    return {
        "w": random.standard_normal((64, 64), dtype=np.float32),
        "opt": {"mu": random.standard_normal(100), "count": np.asarray(step, np.int32)},
    }


def save_steps(command):
    """Saves steps one by one and tells each; with a fault armed after the directory is open."""
    checkpoints = Checkpoints(command["directory"], keep=command["keep"], best=BestOf(metric="score"))
    first = (checkpoints.newest() or 0) + (0 if command["replace"] else 1)
    shim = ctypes.CDLL(None)
    if command["fault"]:
        shim.faults_arm(command["directory"].encode(), *command["fault"])
    errors = []
    for step in range(first, first + command["count"]):
        try:
            checkpoints.save(
                step,
                make_state(step),
                {"step": step},
                metrics={"score": -float(step)},
                again=command["replace"],
                wait=command["wait"],
            )
            tell({"step": step})
        except CheckpointError as error:
            errors.append(str(error))
    try:
        checkpoints.wait()
    except CheckpointError as error:
        errors.append(str(error))
    calls = shim.faults_calls() if command["fault"] else 0
    if command["fault"]:
        shim.faults_arm(b"/nowhere", 0, 0, 0)
    steps = checkpoints.steps()
    last = max([*steps, first + command["count"]]) + 1
    if command["again"]:
        checkpoints.save(last, make_state(last), {"step": last}, wait=True)
    tell({"calls": calls, "errors": errors, "steps": steps, "again": checkpoints.steps(), "last": last})
    checkpoints.close()


def tell(message):
    os.write(1, json.dumps(message).encode() + b"\n")


def main():
    tell({"ready": os.getpid()})
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            tell({"pid": os.getpid()})
            save_steps(command)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        tell({"status": os.waitstatus_to_exitcode(status)})


if __name__ == "__main__":
    main()
