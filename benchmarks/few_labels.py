"""What unlabelled text is worth to a task with few labels.

python -m benchmarks.few_labels sources FOLDER FILE.csv
python -m benchmarks.few_labels unlabelled LABELLED FILE.txt [--others FILE ...]
python -m benchmarks.few_labels compare LABELLED RUN [--counts 50 200] [--samples 5]

LABELLED is the argument of configs/language/sentiment.py, RUN a run of configs/language/masked_lm.py on text that does
not hold the test's, such as `unlabelled` writes: the training texts without their labels, and those of other files.
`compare` trains, for every number of labels and every sample of that many training texts, one network that starts from
RUN and the same network from random weights, with the same texts, steps and order; it prints the mean accuracy on the
held-out fold of both, and of their difference with a 95 % interval of Student's t over the samples. `sources` writes
the four collections of Hutto and Gilbert (2014) in one table, labelled by which of them a sentence is from.
"""

import argparse
import csv
import os
from pathlib import Path

os.environ.setdefault("MALLOC_ARENA_MAX", "1")

import numpy as np

from jaxdl import config
from jaxdl.inspection import table
from jaxdl.train import train

SOURCES = ("tweets", "amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets")
CONFIG = "configs/language/sentiment.py"
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Quantiles of Student's t with 1 to 9 degrees of freedom."""


def accuracy(path: str, run: str, kind: str, count: int, sample: int, flags: list[str]) -> float:
    """Of one training."""
    tree = config.load(f"{CONFIG}:{path}:{kind}:{run}:{count}")
    tree = config.override(tree, [f"train.source.records.seed={sample}", f"seed={sample}", "tensorboard=false", *flags])
    return train(config.build(tree), quiet=True).results["test/accuracy"]


def write_unlabelled(path: str, others: list[str], to: Path) -> None:
    """Writes the training texts and the texts of other files of the same form, one a line."""
    texts = list(config.build(config.load(f"{CONFIG}:{path}").train.source.records).fields["text"])
    for other in others:
        tree = config.load(f"{CONFIG}:{other}")
        for source in (tree.train.source, tree.evals.test.data.source):
            texts += config.build(source.records).fields["text"]
    to.write_text("\n".join(" ".join(text.split()) for text in texts) + "\n", encoding="utf-8")
    print(f"{len(texts)} texts in {to}")


def write_sources(folder: str, to: Path) -> None:
    """Writes the sentences of four collections with the name of theirs."""
    with to.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("label", "text"))
        for name in SOURCES:
            lines = (Path(folder) / f"{name}_GroundTruth.txt").read_text(encoding="latin1").splitlines()
            table.writerows((name, line.split("\t")[2].strip()) for line in lines)


def compare(options: argparse.Namespace) -> None:
    """Prints the table."""
    flags = [f"steps={options.steps}", f"optimizer.learning_rate.peak={options.rate}"]
    rows = []
    for count in options.counts:
        found = {
            kind: np.array(
                [accuracy(options.labelled, options.run, kind, count, i, flags) for i in range(options.samples)]
            )
            for kind in ("pretrained", "scratch")
        }
        gain = found["pretrained"] - found["scratch"]
        margin = T_975[len(gain) - 2] * gain.std(ddof=1) / np.sqrt(len(gain))
        means = (f"{found[kind].mean():.3f}" for kind in ("scratch", "pretrained"))
        interval = f"{gain.mean():+.3f} [{gain.mean() - margin:+.3f}, {gain.mean() + margin:+.3f}]"
        rows.append((str(count), *means, interval))
        print(rows[-1], flush=True)
    print(table(("labels", "scratch", "pretrained", "gain"), rows))


def main() -> None:
    """Does what the first word says."""
    parser = argparse.ArgumentParser(description="What unlabelled text is worth.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    sources = verbs.add_parser("sources")
    sources.add_argument("folder")
    sources.add_argument("to", type=Path)
    unlabelled = verbs.add_parser("unlabelled")
    unlabelled.add_argument("labelled")
    unlabelled.add_argument("to", type=Path)
    unlabelled.add_argument("--others", nargs="*", default=[], metavar="FILE", help="of the same form, all of them")
    gain = verbs.add_parser("compare")
    gain.add_argument("labelled")
    gain.add_argument("run")
    gain.add_argument("--counts", nargs="+", type=int, default=[50, 200])
    gain.add_argument("--samples", type=int, default=5)
    gain.add_argument("--steps", type=int, default=300)
    gain.add_argument("--rate", type=float, default=5e-4)
    options = parser.parse_args()
    match options.verb:
        case "sources":
            write_sources(options.folder, options.to)
        case "unlabelled":
            write_unlabelled(options.labelled, options.others, options.to)
        case _:
            compare(options)


if __name__ == "__main__":
    main()
