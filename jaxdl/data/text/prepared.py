"""Text data sets that TensorFlow Datasets has prepared, as records."""

from typing import Any

import numpy as np

from jaxdl.data.sources.tfds import tfds_source
from jaxdl.data.text.records import Collector, OnBad, Records
from jaxdl.errors import ConfigError, DataError


def read_tfds(
    *,
    name: str,
    split: str = "train",
    fields: tuple[str, ...] = ("text",),
    data_dir: str | None = None,
    on_bad: OnBad = "raise",
) -> Records:
    """The texts of a data set prepared by TensorFlow Datasets; see `tfds_source`, which reads it.

    Args:
      name: Such as `"imdb_reviews"` or `"glue/sst2"`.
      split: Such as `"train"` or `"train[:80%]"`.
      fields: Features that are text, or classes, which become their names.
      data_dir: Where it was prepared; None for the default of TensorFlow Datasets.
      on_bad: What to do about a record that is empty or no UTF-8: raise, or leave it out and count it.

    Raises:
      ConfigError: no fields are asked for.
      DataError: the data set is not there, a field is not or is neither text nor class, two of them are numbers, or a
        record is bad.
    """
    if not fields:
        raise ConfigError("fields must name the features to read, such as ('text', 'label').")
    source = tfds_source(name=name, split=split, data_dir=data_dir, fields=fields)
    numbers = [field for field in fields if isinstance(source[0][field], int | np.integer)]
    if len(numbers) > 1:
        raise DataError(f"{name}: {', '.join(numbers)} are all numbers; only one of them can be the class.")
    found = Collector(on_bad=on_bad, names=fields)
    for index in range(len(source)):
        example, place = source[index], source.describe(index)
        try:
            values = {field: _text(example[field], field, place, source.labels) for field in fields}
        except UnicodeDecodeError as error:
            found.bad(place, f"is no UTF-8: {error.reason} at byte {error.start}", "no UTF-8")
        else:
            found.add(values, place)
    return found.finish(f"{name} {split}")


def _text(value: Any, field: str, place: str, labels: tuple[str, ...]) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and labels:
        return labels[value] if 0 <= value < len(labels) else str(value)
    raise DataError(f"{place}: the feature {field!r} is {type(value).__name__}, neither text nor a class.")
