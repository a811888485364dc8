"""How near our models are to those of transformers: `python -m benchmarks.parity [FAMILY ...]`.

For each family: a model of theirs with random weights, saved; ours loaded from that folder by `jaxdl.interop.load`. In
float32 and evaluation, the greatest difference of the outputs, and of the gradient of sum(sin(outputs)) over all
parameters, with the norm of the gradients' difference relative to that of the gradients; and whether the tensors that
ours gives back equal the file bit by bit.
"""

import argparse
import dataclasses
import logging
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.families import FAMILIES, Original, our_outputs, their_outputs
from jaxdl import interop, trees
from jaxdl.inspection import table
from jaxdl.interop.families import family


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parity:
    """What one family gave.

    Attributes:
      parameters: Their number.
      outputs: Greatest absolute difference of an output.
      scale: Greatest absolute output.
      gradients: Greatest absolute difference of a gradient.
      relative: Euclidean norm of the difference of all gradients, over that of the gradients.
      bit_equal: Whether theirs to ours to theirs gives the file back.
    """

    parameters: int
    outputs: float
    scale: float
    gradients: float
    relative: float
    bit_equal: bool


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("families", nargs="*", default=list(FAMILIES), help=f"of {', '.join(FAMILIES)}; all by default")
    logging.disable(logging.WARNING)
    began, rows = time.perf_counter(), []
    for name in parser.parse_args().families:
        with tempfile.TemporaryDirectory() as folder:
            found = parity(FAMILIES[name]("tiny"), Path(folder))
        numbers = (found.outputs, found.scale, found.gradients, found.relative)
        rows.append((name, f"{found.parameters:,}", *(f"{x:.1e}" for x in numbers), "yes" if found.bit_equal else "NO"))
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    header = ("family", "parameters", "outputs", "largest output", "gradients", "relative", "bit-equal")
    print(table(header, rows, right=header[1:-1]))


def parity(original: Original, folder: Path) -> Parity:
    """Compares a model of theirs with ours; writes its files into the folder."""
    import torch

    reference = original.make()
    reference.save_pretrained(folder / "weights")
    theirs = original.theirs()
    outputs = their_outputs(reference(**theirs), theirs)
    torch.stack([output.sin().sum() for output in outputs]).sum().backward()
    expected = [output.detach().numpy() for output in outputs]
    model, variables = interop.load(folder / "weights")
    layout = family(reference.config.model_type).layout(model)

    def loss(params: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        outputs = model.apply({**variables, "params": params}, **original.inputs, train=False)
        found = our_outputs(outputs, original.inputs)
        return sum(jnp.sum(jnp.sin(output)) for output in found), found

    gradients, found = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    written, _ = interop.to_theirs(variables, layout)
    wanted = _gradients(reference, variables, layout, folder / "gradients")
    ours = {name: np.asarray(leaf, np.float64) for name, leaf in trees.flatten(gradients).items()}
    norms = [math.sqrt(sum(np.sum(np.square(leaf)) for leaf in tree)) for tree in (
        [ours[name] - wanted[name] for name in ours], wanted.values())]  # fmt: skip
    return Parity(
        parameters=trees.count(variables["params"]),
        outputs=max(float(np.abs(one - other).max()) for one, other in zip(found, expected, strict=True)),
        scale=max(float(np.abs(one).max()) for one in expected),
        gradients=max(float(np.abs(ours[name] - wanted[name]).max()) for name in ours),
        relative=norms[0] / norms[1],
        bit_equal=_same(written, _tensors(folder / "weights")),
    )


def _gradients(reference: Any, variables: Any, layout: Any, folder: Path) -> dict[str, np.ndarray]:
    """Their gradients under our names: they go the way of the weights, through a file."""
    import torch

    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.copy_(torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)
    reference.save_pretrained(folder)
    tree, _ = interop.to_ours(_tensors(folder), variables, layout)
    return {name: np.asarray(leaf, np.float64) for name, leaf in trees.flatten(tree["params"]).items()}


def _tensors(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether names, types, shapes and every bit agree."""
    return one.keys() == other.keys() and all(
        (one[name].dtype, one[name].shape, one[name].tobytes()) == (leaf.dtype, leaf.shape, leaf.tobytes())
        for name, leaf in other.items()
    )


if __name__ == "__main__":
    main()
