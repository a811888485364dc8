"""Every reader of files, fed with damaged and hostile inputs: see `fuzz_targets` for the contract."""

import random
import time

import pytest

from tests.security.fuzz import Target, findings, try_one
from tests.security.fuzz_targets import TARGETS
from tests.security.mutate import mutated

# Orbax leaves reads behind that end when its event loop is closed.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("name", TARGETS)
def test_only_errors_of_jaxdl_leave_a_reader(name):
    tried, found = findings(name, count=TARGETS[name].inputs)
    assert tried == TARGETS[name].inputs
    assert not found, [(one.what, one.message, one.data[:200]) for one in found]


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_only_errors_of_jaxdl_leave_a_reader_for_long(name):
    _, found = findings(name, seed=1, count=4 * TARGETS[name].inputs)
    assert not found, [(one.what, one.message, one.data[:200]) for one in found]


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_read_or_refused_in_words(name):
    target = TARGETS[name]
    assert target.seeds()
    assert [try_one(target, data) for data in target.seeds()] == [None] * len(target.seeds())


def test_most_targets_read_a_seed_to_its_end():
    """A target whose every seed is refused would find nothing behind the first check."""
    refused = []
    for name, target in TARGETS.items():
        outcomes = []
        for data in target.seeds():
            try:
                target.read(data)
                outcomes.append("read")
            except Exception as error:
                outcomes.append(f"{type(error).__name__}: {error}"[:200])
        if "read" not in outcomes:
            refused.append((name, outcomes))
    assert {name for name, _ in refused} <= REFUSED, refused


# Their seeds are no whole models: what is behind the tensors is refused.
REFUSED = {"safetensors", "safetensors_header", "metadata_json", "run_json", "run_config", "speech"}


def test_a_reader_that_breaks_the_contract_is_found():
    def slow(data):
        began = time.thread_time()
        while time.thread_time() - began < 1.1:
            pass

    def wrong(data):
        raise KeyError("x")

    assert try_one(Target(wrong, lambda: (b"",), 1), b"").what.startswith("KeyError at fuzz_test.py:")
    assert try_one(Target(slow, lambda: (b"",), 1), b"").what == "took too long"


def test_the_mutator_is_deterministic_and_changes_things():
    seeds = (b'{"a": [1, 2]}', b"other")
    made = [[mutated(seeds[0], seeds, random.Random(n)) for n in range(300)] for _ in range(2)]
    assert made[0] == made[1]
    assert len(set(made[0])) > 150
