"""PyTorch checkpoints, through its loader of weights alone: no code in them is ever run."""

import struct
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes

from jaxdl.errors import CheckpointError
from jaxdl.interop.files import Tensors
from jaxdl.interop.layout import Array

# What its unpickler raises about bytes that are none of its own.
_DAMAGED = (
    *(AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(MemoryError, OverflowError, struct.error),
)


def read_torch(path: Path, entry: str | None = None) -> Tensors:
    """The tensors of a checkpoint.

    Args:
      path: A file of `torch.save`.
      entry: The key of the dict of tensors; by default the whole, or the only dict of tensors in it.

    Raises:
      CheckpointError: PyTorch is not installed; the file is damaged or holds more than tensors and plain values; or it
        is not clear which tensors are meant.
    """
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            f"{path} is a PyTorch checkpoint: install the extra that reads it, `pip install 'jaxdl[torch]'`, or give a "
            ".safetensors file."
        ) from error
    unsafe: type[Exception] = torch.serialization.pickle.UnpicklingError
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol")  # What cannot be read raises anyway.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except unsafe as error:
        raise CheckpointError(
            f"{path} holds more than tensors, which only running its code would read; that is refused. Save its "
            f"state_dict() alone, or as safetensors. ({_first_line(error)})"
        ) from error
    except _DAMAGED as error:
        raise CheckpointError(f"{path} is no whole PyTorch checkpoint: {_first_line(error)}") from error
    chosen = _chosen(path, content, entry, torch.Tensor)
    return Tensors({name: _reader(tensor, torch) for name, tensor in chosen.items()})


def _chosen(path: Path, content: Any, entry: str | None, kind: type) -> Mapping[str, Any]:
    def is_state(value: Any) -> bool:
        return isinstance(value, dict) and bool(value) and all(isinstance(item, kind) for item in value.values())

    if entry is not None:
        if isinstance(content, dict) and entry in content and is_state(content[entry]):
            return content[entry]
        raise CheckpointError(f"{path} has no dict of tensors named {entry!r}; it has {_keys(content)}.")
    if is_state(content):
        return content
    inside = [name for name, value in content.items() if is_state(value)] if isinstance(content, dict) else []
    if len(inside) != 1:
        which = f"several dicts of tensors, {inside}: say which" if inside else f"no dict of tensors: {_keys(content)}"
        raise CheckpointError(f"{path} holds {which}.")
    return content[inside[0]]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _keys(content: Any) -> str:
    return str(list(content)[:10]) if isinstance(content, dict) else f"a {type(content).__name__}"


def _reader(tensor: Any, torch: Any) -> Callable[[], Array]:
    if tensor.dtype == torch.bfloat16:  # Which NumPy has no type for.
        return lambda: tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return lambda: tensor.detach().numpy()
