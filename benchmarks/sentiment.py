"""Trained classifiers of texts beside scikit-learn's: `python -m benchmarks.sentiment CONFIG:ARGUMENT [RUN ...]`.

The baseline is a logistic regression on TF-IDF of words and pairs of words and of 2 to 5 characters, trained and tested
on the texts of the config. Every run folder is tested on the same texts. Prints accuracy, macro-F1 and Matthews'
correlation with 95 % bootstrap intervals over test texts, and the difference of each accuracy from the baseline's,
from the same draws of texts.
"""

import argparse
import os
from typing import Any

os.environ.setdefault("MALLOC_ARENA_MAX", "1")

import jax
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, matthews_corrcoef
from sklearn.pipeline import make_pipeline, make_union

from jaxdl import config
from jaxdl.data import once
from jaxdl.data.pipeline import Pipeline
from jaxdl.data.text import Records, TextRows
from jaxdl.inference import load
from jaxdl.inspection import table

Intervals = tuple[str, ...]


def baseline(train: Records, test: Records) -> np.ndarray:
    """The labels that TF-IDF and logistic regression give the test's texts."""
    features = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True),
    )
    model = make_pipeline(features, LogisticRegression(C=10, max_iter=1000))
    return model.fit(train.fields["text"], train.fields["label"]).predict(test.fields["text"])


def predicted(run: str, test: Records) -> np.ndarray:
    """The labels that a run folder gives the test's texts."""
    loaded = load(run)
    source: Any = loaded.config["evals"]["test"]["data"]["source"]
    rows = TextRows(
        records=test,
        tokenizer=config.build(source["tokenizer"]) if loaded.tokenizer is None else loaded.tokenizer,
        length=source["length"],
        labels=loaded.labels,
    )
    decode = jax.jit(lambda state, batch: loaded.task.decode(loaded.learner.predict(state, batch)))
    found = [decode(loaded.state, batch)["label"] for batch in once(Pipeline(source=rows, batch_size=128))]
    return np.asarray(loaded.labels)[np.concatenate(found)[: len(test)]]


def scores(truth: np.ndarray, guess: np.ndarray, other: np.ndarray, draws: np.ndarray) -> Intervals:
    """Each measure with its interval, and the accuracy's difference from another's."""

    def shown(measure: Any, sign: str = "") -> str:
        values = [measure(rows) for rows in draws]
        low, high = np.quantile(values, [0.025, 0.975])
        return f"{measure(np.arange(len(truth))):{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"

    return (
        shown(lambda rows: np.mean(truth[rows] == guess[rows])),
        shown(lambda rows: f1_score(truth[rows], guess[rows], average="macro")),
        shown(lambda rows: matthews_corrcoef(truth[rows], guess[rows])),
        shown(lambda rows: np.mean(truth[rows] == guess[rows]) - np.mean(truth[rows] == other[rows]), "+"),
    )


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="Trained classifiers of texts beside scikit-learn's.")
    parser.add_argument("config", help="such as configs/language/sentiment.py:FILE")
    parser.add_argument("runs", nargs="*", help="run folders that were trained with the same texts")
    parser.add_argument("--draws", type=int, default=500)
    options = parser.parse_args()
    tree = config.load(options.config)
    train = config.build(tree.train.source.records)
    test = config.build(tree.evals.test.data.source.records)
    truth = np.asarray(test.fields["label"])
    draws = np.random.default_rng(0).integers(0, len(test), (options.draws, len(test)))
    other = baseline(train, test)
    rows = [("TF-IDF + logistic regression", *scores(truth, other, other, draws))]
    rows += [(run, *scores(truth, predicted(run, test), other, draws)) for run in options.runs]
    print(f"{len(train)} texts to train on, {len(test)} to test on")
    print(table(("model", "accuracy", "macro-F1", "Matthews", "accuracy - baseline"), rows))


if __name__ == "__main__":
    main()
