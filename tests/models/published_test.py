"""Every published size has the parameters that were published and the FLOPs that its table says."""

from functools import partial

import pytest

from benchmarks.published import main, recount
from jaxdl.models import MLP
from jaxdl.models.published import PUBLISHED, Published

LARGE = 10**8  # Parameters.
DEEP = (*(f"EfficientNet-B{number}" for number in range(1, 7)), "Conformer M (encoder)")


def case(entry):
    slow = entry.parameters > LARGE or entry.name in DEEP
    return pytest.param(entry, marks=pytest.mark.slow if slow else (), id=entry.name)


@pytest.mark.parametrize("entry", [case(entry) for entry in PUBLISHED])
def test_parameters_and_flops_are_those_of_the_table(entry):
    found = recount(entry)
    assert (found.parameters, found.flops) == (entry.parameters, entry.flops)


def test_names_are_unique():
    names = [entry.name for entry in PUBLISHED]
    assert sorted(set(names)) == sorted(names)


def perceptron(**changes):
    known = {
        "name": "A perceptron",
        "make": partial(MLP, num_classes=10, widths=(32,)),
        "inputs": {"image": ((8, 8), "float32")},
        "parameters": 64 * 32 + 32 + 32 * 10 + 10,
        "flops": 2 * (64 * 32 + 32 * 10),
        "paper": "nobody",
        "source": "nowhere",
    }
    return Published(**{**known, **changes})


def test_the_recount_says_what_a_table_should_hold(monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.published.PUBLISHED", (perceptron(),))
    assert main([]) == 0
    assert "A perceptron: as in the table" in capsys.readouterr().out
    monkeypatch.setattr("benchmarks.published.PUBLISHED", (perceptron(flops=3),))
    assert main(["percep"]) == 1
    assert "flops=4_736,  # the table has 3" in capsys.readouterr().out
    assert main(["ResNet"]) == 0
