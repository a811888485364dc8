"""What unlabelled text is worth: `python -m benchmarks.few_labels LABELLED RUN [--counts 200 500] [--samples 5]`.

LABELLED is the argument of configs/language/sentiment.py, RUN a run of configs/language/masked_lm.py on text that does
not hold the test's (`--unlabelled FILE ...` writes such text and ends). For every number of labels and every sample of
that many training texts, one network starts from RUN and the same network from random weights, with the same texts,
steps and order. Prints the mean accuracy on the held-out fold of both, and of their difference with a 95 % interval of
Student's t over the samples.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("MALLOC_ARENA_MAX", "1")

import numpy as np

from jaxdl import config
from jaxdl.inspection import table
from jaxdl.train import train

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


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="What unlabelled text is worth.")
    parser.add_argument("labelled")
    parser.add_argument("run", help="a run of masked_lm.py, or the file to write")
    parser.add_argument("--unlabelled", nargs="+", metavar="FILE", help="write unlabelled text of these files too")
    parser.add_argument("--counts", nargs="+", type=int, default=[200, 500])
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rate", type=float, default=5e-4)
    options = parser.parse_args()
    if options.unlabelled:
        return write_unlabelled(options.labelled, options.unlabelled, Path(options.run))
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
        rows.append(
            (
                str(count),
                f"{found['scratch'].mean():.3f}",
                f"{found['pretrained'].mean():.3f}",
                f"{gain.mean():+.3f} [{gain.mean() - margin:+.3f}, {gain.mean() + margin:+.3f}]",
            )
        )
        print(rows[-1], flush=True)
    return print(table(("labels", "scratch", "pretrained", "gain"), rows))


if __name__ == "__main__":
    main()
