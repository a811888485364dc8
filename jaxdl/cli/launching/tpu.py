"""Every worker of a TPU VM or pod."""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence

from jaxdl.cli.flags import natural
from jaxdl.cli.launching.words import matching, one_line, program, submit
from jaxdl.errors import CheckpointError, ConfigError, DataError, NonFiniteError, Preempted, WorkdirError

_FINAL = (0, *(kind.exit_code for kind in (ConfigError, DataError, CheckpointError, NonFiniteError, WorkdirError)))
_PAUSE = 30  # Seconds, in which a machine that was taken away may come back.
_NAME = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
_ALLOWED = "lower-case letters, digits and -, a letter first, at most 63"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of this place."""
    parser.add_argument("--name", required=True, metavar="TPU", help="the TPU VM")
    parser.add_argument("--zone", required=True, metavar="ZONE", help="where it is, such as us-central2-b")
    parser.add_argument("--project", metavar="PROJECT", help="whose it is (default: that of gcloud)")
    parser.add_argument("--folder", metavar="FOLDER", help="where to run, from the home folder of each worker")
    parser.add_argument("--program", metavar="WORDS", help="how jaxdl is called there (default: jaxdl)")
    parser.add_argument(
        "--max-restarts",
        type=natural,
        default=3,
        metavar="N",
        help="after failures other than an interruption that was saved, such as a lost connection (default 3)",
    )


def run(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Runs the command on all workers and waits for it, again where it can go on, or prints what gcloud would be asked.

    What no second try would change ends it at once: an exit code of jaxdl's own other than 1 and 75.
    """
    command = ssh(options, words)
    if options.dry_run:
        print(shlex.join(command))
        return 0
    restarts = 0
    while (code := submit(command)) not in _FINAL:
        restarts += code != Preempted.exit_code
        if restarts > options.max_restarts:
            break
        print(f"jaxdl launch: gcloud ended with {code}; again in {_PAUSE} s.", file=sys.stderr, flush=True)
        time.sleep(_PAUSE)
    return code


def ssh(options: argparse.Namespace, words: Sequence[str]) -> list[str]:
    """The words that ask gcloud to run the training on every worker.

    Raises:
      ConfigError: a name is not possible.
    """
    matching("--name", _NAME, _ALLOWED, options.name)
    matching("--zone", r"[a-z]+(-[a-z0-9]+)+", "a zone is called like us-central2-b", options.zone)
    if options.project is not None:
        matching("--project", r"[a-z][a-z0-9.:-]*[a-z0-9]", "lower-case letters, digits and -", options.project)
    there = shlex.join([*program(options.program, ["jaxdl"]), *words, "--distributed"])
    if options.folder is not None:
        there = f"cd {shlex.quote(one_line('--folder', options.folder))} && {there}"
    project = [] if options.project is None else [f"--project={options.project}"]
    where = [f"--zone={options.zone}", *project, "--worker=all"]
    return ["gcloud", "compute", "tpus", "tpu-vm", "ssh", options.name, *where, f"--command={there}"]
