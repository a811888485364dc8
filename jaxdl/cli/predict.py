"""jaxdl predict."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

from jaxdl.cli.environment import allowed, use_compile_cache
from jaxdl.cli.evaluate import step_choice
from jaxdl.errors import DataError


def run(options: argparse.Namespace) -> int:
    """Prints one JSON line per image."""
    use_compile_cache()
    from jaxdl.inference import load, predict_images

    allow = allowed(options)
    loaded = load(options.workdir, step=step_choice(options.step), allow=allow)
    failed = 0
    found = predict_images(loaded, options.paths, batch_size=options.batch_size, invert=options.invert)
    for prediction in found:
        if prediction.values is None:
            failed += 1
            answer = {"error": prediction.error}
        else:
            answer = _answer(prediction.values, loaded.labels, options.top)
        print(json.dumps({"file": prediction.file, **answer}, allow_nan=False), flush=True)
    return DataError.exit_code if failed else 0


def _answer(values: Mapping[str, Any], labels: tuple[str, ...], top: int) -> dict[str, Any]:
    from jaxdl.train.writers import plain

    if "probabilities" not in values or values["probabilities"].ndim != 1:
        return {name: plain(value) for name, value in values.items()}
    probabilities = values["probabilities"]
    order = probabilities.argsort()[::-1][:top]
    ranked = [
        {"label": labels[i] if labels else int(i), "probability": plain(round(float(probabilities[i]), 6))}
        for i in order
    ]
    return {**ranked[0], "top": ranked}
