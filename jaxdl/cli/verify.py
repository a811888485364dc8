"""jaxdl verify."""

import argparse

from jaxdl.cli import verify_parallel, verify_resume

TAKES_OVERRIDES = True
PROOFS = {
    "parallel": (verify_parallel, "one device against every way to spread a step: losses, gradients, parameters"),
    "resume": (verify_resume, "an uninterrupted run against one that is killed at random moments: every bit"),
}


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    proofs = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, (proof, summary) in PROOFS.items():
        one = proofs.add_parser(name, help=summary, description=f"Compares {summary}.")
        proof.add_flags(one)


def run(options: argparse.Namespace) -> int:
    """Proves a promise on a user's own experiment."""
    return PROOFS[options.what][0].run(options)
