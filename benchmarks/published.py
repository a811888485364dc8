"""Recounts the published sizes of the models by tracing them: `python -m benchmarks.published [NAME ...]`.

Prints, for each, whether the table holds what the model has, and the two lines to paste where it does not. Names are
parts of the names of entries, such as `ResNet`.
"""

import dataclasses
import sys
import time
from functools import partial

import jax

from jaxdl import trees
from jaxdl.inspection import flops
from jaxdl.models.published import PUBLISHED, Published


@dataclasses.dataclass(frozen=True)
class Count:
    """What a model has.

    Attributes:
      parameters: Scalars in its parameters.
      flops: Of one example's forward pass in evaluation.
    """

    parameters: int
    flops: int


def recount(entry: Published) -> Count:
    """Counts the parameters and FLOPs of a published size from shapes alone."""
    model = entry.make()
    inputs = {name: jax.ShapeDtypeStruct((1, *shape), dtype) for name, (shape, dtype) in entry.inputs.items()}
    variables = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), **inputs)
    counted = flops(lambda variables, inputs: model.apply(variables, **inputs, train=False), variables, inputs)
    return Count(trees.count(variables["params"]), counted)


def main(words: list[str]) -> int:
    """Recounts the entries whose names contain one of the words, or all of them; 1 where a table is wrong."""
    wrong = 0
    for entry in PUBLISHED:
        if words and not any(word in entry.name for word in words):
            continue
        began = time.perf_counter()
        found = recount(entry)
        right = (found.parameters, found.flops) == (entry.parameters, entry.flops)
        wrong += not right
        print(
            f"{entry.name}: {'as in the table' if right else 'the table differs'}, {time.perf_counter() - began:.1f} s"
        )
        if not right:
            print(f"        parameters={found.parameters:_},  # the table has {entry.parameters:_}")
            print(f"        flops={found.flops:_},  # the table has {entry.flops:_}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
