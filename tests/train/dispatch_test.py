import jax
import pytest

from jaxdl.inspection import flops
from jaxdl.learners import supervised
from jaxdl.models import MLP, LeNet
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification
from jaxdl.train import assemble
from jaxdl.train.dispatch import steps_per_dispatch
from jaxdl.train.program import prepare


def best(model, rows=32):
    learner = supervised(model, Classification(num_classes=10), optimizer(rule=adam(), learning_rate=1e-3))
    batch = {
        "image": jax.ShapeDtypeStruct((rows, 8, 8, 1), "uint8"),
        "label": jax.ShapeDtypeStruct((rows,), "int32"),
        "mask": jax.ShapeDtypeStruct((rows,), "float32"),
    }
    state = jax.eval_shape(learner.init, jax.random.key(0), batch)
    return steps_per_dispatch(learner, state, batch)


def test_convolutions_are_never_looped_over_on_cpu():
    assert best(LeNet(num_classes=10, channels=(2,), dense_width=4)) == 1


def test_the_smaller_the_step_the_more_of_them_in_one_call():
    small, medium, large = (
        best(MLP(num_classes=10, widths=(width,)), rows) for width, rows in ((8, 8), (256, 32), (4096, 512))
    )
    assert small > medium > 1
    assert large == 1
    assert all(size & (size - 1) == 0 and size <= 256 for size in (small, medium))


@pytest.mark.parametrize(("steps", "expected"), [(1, 1), (5, 4), (40, 32)])
def test_a_short_run_takes_no_more_than_it_has(experiment, steps, expected):
    program = prepare(experiment(steps=steps, steps_per_dispatch=None))
    assert program.feed.size == expected


def test_a_convolution_is_dispatched_alone_in_training_too(experiment):
    model = LeNet(num_classes=10, channels=(2,), dense_width=4)
    assert prepare(experiment(model=model, steps_per_dispatch=None)).feed.size == 1
    assert prepare(experiment(resident=False, steps_per_dispatch=None)).feed.size == 1


@pytest.mark.parametrize("microbatches", [1, 4])
def test_the_flops_of_a_step_are_those_of_the_whole_batch_once(experiment, microbatches):
    changed = experiment(model=MLP(num_classes=10, widths=(256,)), steps_per_dispatch=8, microbatches=microbatches)
    program = prepare(changed)
    forward = 2 * 64 * (64 * 256 + 256 * 10)
    backward = forward + 2 * 64 * 256 * 10  # The images need no gradient.
    assert flops(assemble(changed).step, program.state, program.sample) == forward + backward
