import dataclasses

import numpy as np
import pytest

from jaxdl.data import Pipeline
from jaxdl.data.sources import ArraySource, digits
from jaxdl.errors import ConfigError
from jaxdl.models import MLP
from jaxdl.optim import adam, optimizer
from jaxdl.train import EarlyStopping, Evaluation, Experiment, Plateau, Saving, assemble, train
from jaxdl.train.program import prepare


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": None}, "either `steps` or `epochs`"),
        ({"epochs": 1.0}, "either `steps` or `epochs`"),
        ({"steps": 0}, "at least one step, not 0 steps"),
        ({"steps": None, "epochs": 0.0}, "at least one step, not 0.0 epochs"),
        ({"steps": -5}, "not -5 steps"),
        ({"model": None}, "either `model`, `task` and `optimizer`"),
        ({"log_every": 0}, "`log_every`"),
        ({"nonfinite_limit": 0}, "`nonfinite_limit`"),
        ({"microbatches": 3}, "3 microbatches do not divide a batch of 64"),
        ({"steps_per_dispatch": 0}, "`steps_per_dispatch` must be at least 1, not 0"),
        (
            {"saving": Saving(best="val/accuracy", mode="max")},
            r"saving.best is 'val/accuracy', but the evaluations are \['test'\]",
        ),
        ({"hooks": (EarlyStopping("val/loss", mode="min"),)}, r"hooks.0.metric is 'val/loss', but the evaluations are"),
        ({"hooks": (print, Plateau("loss"))}, r"hooks.1.metric is 'loss', but the evaluations are"),
        ({"train": Pipeline(source=digits(split="test"), batch_size=368)}, "A batch of 368 is larger than .* 360 ex"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(experiment, changes, message):
    with pytest.raises(ValueError, match=message):
        experiment(**changes)


def test_a_learner_excludes_the_parts_of_another(experiment):
    learner = assemble(experiment())
    with pytest.raises(ValueError, match="does not read model, optimizer, microbatches"):
        experiment(learner=learner, microbatches=2)
    with pytest.raises(ValueError, match="or a whole `learner`"):
        experiment(optimizer=None)
    assert experiment(learner=learner, model=None, task=None, optimizer=None).learner is learner


@pytest.mark.parametrize("name", ["train", "a/b", ""])
def test_evaluations_need_names_that_the_logs_can_hold(experiment, name):
    with pytest.raises(ValueError, match="An evaluation cannot be called"):
        experiment(evals={name: experiment().evals["test"]})


@pytest.mark.parametrize("settings", [{"every": 0}, {"keep": 0}, {"keep_best": 0}])
def test_saving_needs_positive_numbers(settings):
    with pytest.raises(ValueError, match="must be at least 1"):
        Saving(**settings)


def test_the_best_needs_a_direction():
    with pytest.raises(ValueError, match="mode='max' or mode='min', not None"):
        Saving(best="test/loss")


@pytest.mark.parametrize("settings", [{"every": 0}, {"every_epochs": 0.0}, {"every": 5, "every_epochs": 1.0}])
def test_evaluations_need_one_positive_interval(experiment, settings):
    with pytest.raises(ValueError, match="every"):
        Evaluation(data=experiment().train, **settings)


def test_epochs_are_whole_steps(experiment):
    assert experiment(steps=None, epochs=2.0).total_steps == -(-2 * 1437 // 64)
    assert experiment(steps=None, epochs=0.001).total_steps == 1
    data = experiment().train
    assert Evaluation(data=data, every_epochs=2.0).interval(1437 / 64) == 45
    assert Evaluation(data=data, every_epochs=0.001).interval(1437 / 64) == 1
    assert Evaluation(data=data).interval(1437 / 64) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mesh": {"data": 3}}, "does not use 8 devices exactly"),
        ({"mesh": {"model": 2}}, "Unknown mesh axes"),
        ({"mapping": "pmap", "mesh": {"data": 4, "fsdp": 2}}, r"the mesh has fsdp \(2\): set mapping='jit'"),
        ({"mapping": "pmap", "mesh": {"tensor": -1}}, r"`data` alone, and the mesh has tensor \(8\)"),
        ({"rules": ((".*kernel", "fsdp"),)}, "No sharding rule matches"),
        ({"rules": ((".*", "model"),)}, "Unknown mesh axis 'model'"),
        ({"train": Pipeline(source=digits(split="train"), batch_size=60)}, "train: a batch of 60 does not split"),
        ({"saving": Saving(best="test/acuracy", mode="max")}, "saving.best is 'test/acuracy', but .* accuracy, cal"),
        ({"hooks": (EarlyStopping("test/confusion", mode="min"),)}, "hooks.0.metric is 'test/confusion', but"),
        ({"hooks": (EarlyStopping("test/los", mode="min"),), "mapping": "pmap"}, "hooks.0.metric is 'test/los', but"),
        ({"frozen": ("encoder/.*",)}, "encoder"),
        ({"optimizer": optimizer(rule=adam(), learning_rate=1e-3, weight_decay=(("nothing", 0.1),))}, "weight decay"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_one_clear_error_of_the_config(experiment, changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        train(experiment(**changes), quiet=True)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ema_decay": 1.5}, "`ema_decay` must be between 0 and 1, or None, not 1.5"),
        ({"microbatches": 0}, "`microbatches` must be at least 1"),
        ({"seed": -1}, "`seed` must be from 0"),
        ({"mesh": {"data": 0}}, "Sizes of `mesh` must be positive"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_made(experiment, changes, message):
    with pytest.raises(ValueError, match=message):
        experiment(**changes)


def test_an_evaluation_batch_that_does_not_fit_the_devices_is_named(experiment):
    evals = {"test": Evaluation(data=Pipeline(source=digits(split="test"), batch_size=100))}
    with pytest.raises(ConfigError, match=r"evals.test: a batch of 100 does not split over 8 devices; 96 does"):
        train(experiment(evals=evals), quiet=True)


def test_an_error_inside_the_users_model_keeps_its_class_and_place(experiment):
    class Broken(MLP):
        def __call__(self, image, *, train):
            return self.broken(image)

        def broken(self, image):
            raise ValueError("a bug of the user")

    with pytest.raises(ValueError, match="a bug of the user") as caught:
        prepare(experiment(model=Broken(num_classes=10, widths=(4,))))
    assert not isinstance(caught.value, ConfigError)


def test_sixty_four_bit_fields_are_taken_as_jax_takes_them(experiment):
    arrays = digits(split="train").arrays
    source = ArraySource(arrays={**arrays, "label": arrays["label"].astype(np.int64), "age": np.ones(1437)})
    for resident in (True, False):
        outcome = train(
            experiment(steps=2, train=Pipeline(source=source, batch_size=64), resident=resident), quiet=True
        )
        assert {name: str(x.dtype) for name, x in outcome.program.sample.items()} == {
            "age": "float32", "image": "uint8", "label": "int32", "mask": "float32",
        }  # fmt: skip


def test_fields_are_documented():
    documented = Experiment.__doc__
    for field in dataclasses.fields(Experiment):
        assert f"{field.name}:" in documented
