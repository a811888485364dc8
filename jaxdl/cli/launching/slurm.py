"""A batch job of SLURM."""

import argparse
import re
import shlex
import sys
from collections.abc import Sequence

from jaxdl.cli.flags import natural, positive
from jaxdl.cli.launching.words import matching, program, submit
from jaxdl.errors import ConfigError, Preempted

_TIMES = r"(\d+-\d{1,2}(:\d{1,2}){0,2}|\d+(:\d{1,2}){0,2})"  # "Acceptable time formats" of the sbatch manual.
_PLAIN = r"[A-Za-z0-9_.,:=@%+/-]+"
_BODY = """\
set -u

# The step runs in the background so that a SIGTERM to this script can be passed on to it. SLURM signals the step
# itself {grace} s before the time limit: the run saves, and ends with {saved}.
srun --kill-on-bad-exit=0 {flags}{command} &
step=$!
trap 'signalled=1; kill -TERM "$step" 2>/dev/null' TERM
code=1
while :; do
  signalled=0
  wait "$step"
  ended=$?
  if [ "$ended" -ne 127 ]; then code=$ended; fi
  if [ "$signalled" -eq 0 ]; then break; fi
done

if [ "$code" -eq {saved} ]; then
  echo "Interrupted and saved: job $SLURM_JOB_ID goes back into the queue."
  scontrol requeue Incomplete "$SLURM_JOB_ID"
fi
exit "$code"
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this place."""
    parser.add_argument("--nodes", type=positive, required=True, metavar="N", help="how many machines")
    parser.add_argument(
        "--gpus-per-node", type=natural, default=0, metavar="N", help="GPUs of each, with one process for each"
    )
    parser.add_argument(
        "--tasks-per-node", type=positive, metavar="N", help="processes of each machine (default: its GPUs, or 1)"
    )
    parser.add_argument("--cpus-per-task", type=positive, metavar="N", help="processors of each process")
    parser.add_argument("--time", required=True, metavar="T", help="the time limit, such as 90 minutes or 1-12:00:00")
    parser.add_argument(
        "--grace-seconds",
        type=positive,
        default=120,
        metavar="S",
        help="how long before the limit the run is told to save (default 120)",
    )
    parser.add_argument("--job-name", default="jaxdl", metavar="NAME", help="(default jaxdl)")
    parser.add_argument("--partition", metavar="NAME", help="where to run")
    parser.add_argument("--account", metavar="NAME", help="who pays")
    parser.add_argument("--output", default="%x-%j.out", metavar="FILE", help="the log (default %%x-%%j.out)")
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION", help="one more, such as --sbatch=--constraint=a100"
    )
    parser.add_argument("--program", metavar="WORDS", help="how jaxdl is called there (default: as here)")


def run(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Submits the job, or prints its script."""
    text = script(options, words)
    if options.dry_run:
        print(text, end="")
        return 0
    return submit(["sbatch"], text)


def script(options: argparse.Namespace, words: Sequence[str]) -> str:
    """The batch script.

    Raises:
      ConfigError: a flag is not what SLURM takes.
    """
    tasks = options.tasks_per_node or max(1, options.gpus_per_node)
    if options.gpus_per_node not in (0, tasks):
        raise ConfigError(
            f"--tasks-per-node {tasks} does not fit --gpus-per-node {options.gpus_per_node}: in a SLURM step JAX gives "
            "each process one GPU. Leave --tasks-per-node out."
        )
    if options.grace_seconds > 65535:
        raise ConfigError(f"--grace-seconds must be at most 65535, not {options.grace_seconds}.")
    lines = [f"#SBATCH {line}" for line in _settings(options, tasks)]
    limit = _seconds(options.time)
    if 0 < limit <= options.grace_seconds:  # None is written as 0.
        raise ConfigError(f"--grace-seconds {options.grace_seconds} is not below --time {options.time}, {limit} s.")
    cpus = f"--cpus-per-task={options.cpus_per_task} " if options.cpus_per_task else ""  # srun does not inherit it.
    command = shlex.join([*program(options.program, [sys.executable, "-m", "jaxdl"]), *words, "--distributed"])
    body = _BODY.format(grace=options.grace_seconds, saved=Preempted.exit_code, flags=cpus, command=command)
    return "\n".join(["#!/bin/bash", *lines, body])


def _seconds(time: str) -> int:
    """A limit as sbatch reads it: minutes, minutes:seconds, or hours:minutes:seconds; after days, hours come first."""
    days, dash, rest = time.rpartition("-")
    numbers = [int(number) for number in rest.split(":")]
    weights = (3600, 60, 1) if dash or len(numbers) == 3 else (60, 1)
    return int(days or 0) * 86_400 + sum(number * weight for number, weight in zip(numbers, weights))


def _settings(options: argparse.Namespace, tasks: int) -> list[str]:
    plain = "letters, digits and _.,:=@%+/- without spaces"
    name = matching("--job-name", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", "letters, digits, _, . and -", options.job_name)
    formats = "write MINUTES, HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES:SECONDS"
    settings = {
        "job-name": name,
        "nodes": options.nodes,
        "ntasks-per-node": tasks,
        "gpus-per-node": options.gpus_per_node or None,
        "cpus-per-task": options.cpus_per_task,
        "time": matching("--time", _TIMES, formats, options.time),
        "signal": f"TERM@{options.grace_seconds}",
        "open-mode": "append",  # Each time it is requeued the job goes on in the same log.
        "output": matching("--output", _PLAIN, plain, options.output),
        "partition": options.partition
        if options.partition is None
        else matching("--partition", _PLAIN, plain, options.partition),
        "account": options.account
        if options.account is None
        else matching("--account", _PLAIN, plain, options.account),
    }
    lines = [f"--{key}={value}" for key, value in settings.items() if value is not None]
    for option in options.sbatch:
        matching("--sbatch", rf"--[a-z-]+(={_PLAIN})?", f"it must be --NAME or --NAME=VALUE: {plain}", option)
        if re.split("=", option)[0] in {*(f"--{key}" for key in settings), "--requeue", "--no-requeue"}:
            raise ConfigError(f"--sbatch {option}: jaxdl sets this itself.")
    return [*lines, "--requeue", *options.sbatch]
