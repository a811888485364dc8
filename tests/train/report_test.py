import dataclasses

import jax
import numpy as np
import pytest

from jaxdl.data import Pipeline
from jaxdl.data.sources import digits
from jaxdl.errors import ConfigError
from jaxdl.learners import Precision, supervised
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Saving, train
from jaxdl.train.hooks import EarlyStopping
from jaxdl.train.report import Resampling, bootstrap


@dataclasses.dataclass
class Share:
    """The accuracy again, by way of all predictions."""

    names = ("share",)
    seen: list = dataclasses.field(default_factory=list)

    def statistics(self, predictions):
        rows = []
        for decoded, batch in predictions:
            assert {type(x) for x in [*decoded.values(), *batch.values()]} == {np.ndarray}
            assert (batch["mask"] == 1).all()
            rows.append(decoded["label"] == batch["label"])
            self.seen.append(batch["label"])
        return np.concatenate(rows)[:, None].astype(np.float64)

    def values(self, sums):
        return {"share": sums[0] / 360}

    def __call__(self, predictions):
        return self.values(self.statistics(predictions).sum(axis=0))


def evaluation(report, batch_size=128, every=20):
    # 360 examples: the last batch is padded.
    return {"test": Evaluation(data=Pipeline(source=digits(split="test"), batch_size=batch_size), every=every,
                               report=report)}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [{}, {"resident": False}, {"ema_decay": 0.9}, {"mesh": {"data": 2, "fsdp": 4}}, {"mapping": "pmap"},
     {"precision": Precision(compute="bfloat16")}],
    ids=["resident", "streamed", "averaged", "fsdp", "pmap", "bfloat16"],
)  # fmt: skip
def test_it_sees_every_prediction_once(experiment, changes):
    report = Share()
    found = train(experiment(evals=evaluation(report), steps=20, **changes), quiet=True).results
    assert found["test/share"] == pytest.approx(found["test/accuracy"], abs=1e-6)
    source = digits(split="test")
    np.testing.assert_array_equal(np.concatenate(report.seen), [source[row]["label"] for row in range(360)])


def test_its_results_can_be_waited_for_and_are_logged(experiment, tmp_path):
    saving = Saving(every=20, best="test/share", mode="max")
    hooks = (EarlyStopping(metric="test/share", patience=5, mode="max"),)
    made = train(experiment(evals=evaluation(Share()), saving=saving, hooks=hooks), tmp_path, quiet=True)
    assert made.results["test/share"] > 0.3
    assert '"share"' in (tmp_path / "metrics.jsonl").read_text()


def test_what_makes_no_sense_is_refused(experiment):
    wrong = Saving(best="test/shares", mode="max")
    with pytest.raises(ConfigError, match=r"test/shares.*share"):
        train(experiment(evals=evaluation(Share()), saving=wrong), quiet=True)
    both = type("Both", (Share,), {"names": ("accuracy",)})()
    with pytest.raises(ConfigError, match="both give accuracy"):
        train(experiment(evals=evaluation(both)), quiet=True)

    whole = supervised(MLP(num_classes=10, widths=(4,)), Classification(num_classes=10), optimizer(rule=adam()))
    with pytest.raises(ConfigError, match="decode"):
        train(experiment(evals=evaluation(Share()), task=None, model=None, optimizer=None, learner=whole), quiet=True)


def test_a_report_that_does_not_say_its_names_may_be_waited_for(experiment):
    report = Share()
    saving = Saving(best="test/share", mode="max")
    found = train(experiment(evals=evaluation(lambda pairs: report(pairs)), saving=saving, steps=2), quiet=True)
    assert "test/share" in found.results


def test_bootstrap_intervals_are_those_of_a_proportion():
    random = np.random.default_rng(0)
    rows = (random.random((360, 1)) < 0.8).astype(np.float64)
    report = Share()
    assert isinstance(report, Resampling)
    low, high = bootstrap(report, rows, replicates=2000)["share"]
    mean = rows.mean()
    width = 1.96 * np.sqrt(mean * (1 - mean) / 360)
    assert (low, high) == pytest.approx((mean - width, mean + width), abs=0.006)
    assert bootstrap(report, rows, replicates=0) == {}


def test_the_parameters_do_not_change(experiment):
    plain, reported = (
        train(experiment(evals=evaluation(report), steps=20), quiet=True).state.params for report in (None, Share())
    )
    jax.tree.map(np.testing.assert_array_equal, plain, reported)
