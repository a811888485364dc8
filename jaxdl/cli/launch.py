"""jaxdl launch."""

import argparse

from jaxdl.cli.launching import kubernetes, local, slurm, tpu
from jaxdl.cli.launching.words import training_words

TAKES_OVERRIDES = True
PLACES = {
    "local": (local, "processes of this machine"),
    "slurm": (slurm, "a batch job of SLURM, which requeues itself when it was interrupted and saved"),
    "tpu": (tpu, "every worker of a TPU VM or pod, by gcloud"),
    "kubernetes": (kubernetes, "a JobSet of Kubernetes, which starts again when it was interrupted and saved"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    places = parser.add_subparsers(dest="where", required=True, metavar="WHERE")
    for name, (place, summary) in PLACES.items():
        one = places.add_parser(name, help=summary, description=f"Trains in {summary}.")
        place.add_flags(one)
        one.add_argument("--dry-run", action="store_true", help="print exactly what would be run, and run nothing")
        one.add_argument("command", nargs=argparse.REMAINDER, metavar="train ...", help="what each process runs")


def run(options: argparse.Namespace) -> int:
    """Starts a command as several processes, which train together."""
    place, _ = PLACES[options.where]
    return place.run(options, training_words(options.command, options.overrides, options.where))
