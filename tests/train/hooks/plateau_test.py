import dataclasses

import pytest

from jaxdl.errors import ConfigError, Preempted
from jaxdl.optim import adam, optimizer, reduce_on_plateau
from jaxdl.train import Evaluation, Plateau, Saving, train
from jaxdl.train.hooks.preemption import INTERRUPTED
from jaxdl.train.writers import read_rows


def flat(experiment, *more_hooks):
    """An experiment whose test loss never improves by the factor that the plateau asks for."""
    plateau = reduce_on_plateau(factor=0.5, patience=1, threshold=0.99)
    return experiment(
        steps=40,
        log_every=5,
        optimizer=optimizer(rule=adam(), learning_rate=1e-3, plateau=plateau),
        evals={"test": Evaluation(data=experiment().evals["test"].data, every=5)},
        hooks=(Plateau("test/loss"), *more_hooks),
        saving=Saving(every=10),
    )


def rates(folder):
    rows = read_rows(folder / "metrics.jsonl")
    return {row["step"]: row["learning_rate"] for row in rows if row["kind"] == "train"}


def test_the_learning_rate_falls_on_a_plateau_and_resuming_changes_nothing(experiment, tmp_path):
    train(flat(experiment), tmp_path / "whole", quiet=True)
    found = rates(tmp_path / "whole")
    # The first evaluation, at step 5, is the best; two later ones lower the rate of the steps that follow.
    expected = {5: 1, 10: 1, 15: 1, 20: 0.5, 25: 0.5, 30: 0.25, 35: 0.25, 40: 0.125}
    assert found == pytest.approx({step: 1e-3 * factor for step, factor in expected.items()})

    interrupt = lambda moment: moment._replace(stop=INTERRUPTED) if moment.step == 17 else None  # noqa: E731
    with pytest.raises(Preempted):
        train(flat(experiment, interrupt), tmp_path / "halves", quiet=True)
    train(flat(experiment), tmp_path / "halves", quiet=True)
    assert rates(tmp_path / "halves") == found


def test_a_plateau_without_an_optimizer_that_listens_is_refused(experiment):
    whole = dataclasses.replace(flat(experiment), optimizer=optimizer(rule=adam(), learning_rate=1e-3))
    with pytest.raises(ConfigError, match="plateau=reduce_on_plateau"):
        train(whole, quiet=True)
