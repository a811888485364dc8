"""Labels for image files."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdl.data.images import decode_image
from jaxdl.errors import ConfigError, DataError
from jaxdl.inference.loaded import Loaded

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model says of one image file.

    Attributes:
      file: The path as it was given or found.
      values: The task's decoded outputs for this file, or None where it could not be read.
      error: Why it could not be read.
    """

    file: str
    values: Mapping[str, np.ndarray] | None
    error: str | None = None


def predict_images(
    loaded: Loaded, paths: Sequence[str | Path], *, batch_size: int = 32, invert: bool = False
) -> Iterator[Prediction]:
    """Predicts on image files, and on all images in folders, in order.

    An image is decoded to the channels that the model was trained on, goes through the transforms of the run's
    first evaluation, and is resized where it then still has another size.

    Args:
      loaded: From `load`.
      paths: Files and folders.
      batch_size: Images a call.
      invert: Whether dark and light change places first, for models trained on light ink upon dark paper.

    Raises:
      DataError: there is no image, or a path does not exist. (A broken image gives a `Prediction` with `error`.)
      ConfigError: the model does not take images.
    """
    shape = _shape(loaded)
    predict = jax.jit(lambda state, batch: loaded.task.decode(loaded.learner.predict(state, batch)))
    found = find_images(paths)
    for first in range(0, len(found), batch_size):
        files = found[first : first + batch_size]
        read = [_read(file, shape, loaded.preprocess, invert=invert) for file in files]
        images = [image if isinstance(image, np.ndarray) else np.zeros(shape, np.uint8) for image in read]
        images += [np.zeros(shape, np.uint8)] * (batch_size - len(images))
        outputs = jax.device_get(
            predict(loaded.state, {"image": np.stack(images), "mask": np.ones(batch_size, np.float32)})
        )
        for i, (file, image) in enumerate(zip(files, read, strict=True)):
            bad = not isinstance(image, np.ndarray)
            values = None if bad else {name: output[i] for name, output in outputs.items()}
            yield Prediction(file=str(file), values=values, error=str(image) if bad else None)


def _shape(loaded: Loaded) -> tuple[int, ...]:
    example = loaded.facts["example"]
    if "image" not in example or len(example["image"]["shape"]) != 3 or not hasattr(loaded.task, "decode"):
        known = ", ".join(f"{name} {tuple(fact['shape'])}" for name, fact in example.items() if name != "mask")
        raise ConfigError(
            "Labels for image files need a model of images (height, width, channels) and a task with `decode`; "
            f"this one was trained {'without a task' if loaded.task is None else f'by {type(loaded.task).__name__}'} "
            f"on {known}."
        )
    return tuple(example["image"]["shape"])


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """The given files, and the images below the given folders in the order of their names.

    Raises:
      DataError: a path does not exist, or a folder has no image.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"There is no file or folder {path}.")
        inside = [path] if path.is_file() else sorted(p for p in path.rglob("*") if _is_image(p.relative_to(path)))
        if not inside:
            raise DataError(f"The folder {path} has no image; known are {', '.join(EXTENSIONS)}.")
        found += inside
    return found


def _is_image(path: Path) -> bool:
    """Whether a path below a folder is named like an image, and neither it nor a folder of it is hidden."""
    return path.suffix.lower() in EXTENSIONS and not any(part.startswith(".") for part in path.parts)


def _read(file: Path, shape: tuple[int, ...], transforms: Sequence[Any], *, invert: bool) -> np.ndarray | DataError:
    try:
        image = decode_image(file.read_bytes(), channels=shape[-1])
        image = 255 - image if invert else image
        for transform in transforms:
            image = transform.map({"image": image})["image"]
        return image if image.shape == shape else _resize(image, shape)
    except DataError as error:
        return error
    except OSError as error:
        return DataError(f"{file} cannot be read: {error.strerror}.")


def _resize(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    from jaxdl.data.transforms import Resize  # Imports Grain, which takes a second.

    height, width = shape[:2]
    return Resize(size=(height, width)).map({"image": image})["image"]
