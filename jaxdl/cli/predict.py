"""jaxdl predict."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxdl.cli import answer as answers
from jaxdl.cli.environment import allowed, use_compile_cache
from jaxdl.cli.evaluate import step_choice
from jaxdl.cli.flags import add_model, positive
from jaxdl.cli.texts import read_lines
from jaxdl.errors import ConfigError, DataError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    parser.add_argument(
        "paths", nargs="*", metavar="FILE", help="image files, or folders of them; files of text lines, or - for input"
    )
    add_model(parser)
    parser.add_argument("--context", metavar="FILE", help="a text to answer questions about, or - for input")
    parser.add_argument("--question", action="append", metavar="TEXT", help="a question about the context")
    parser.add_argument(
        "--top", type=positive, default=3, metavar="K", help="classes to show for each image or text (default 3)"
    )
    parser.add_argument(
        "--batch-size", type=positive, default=32, metavar="B", help="images or lines a call (default 32)"
    )
    parser.add_argument(
        "--attention", metavar="FOLDER", help="draw what each token of a translation attends to (recurrent models)"
    )
    parser.add_argument(
        "--invert", action="store_true", help="swap dark and light first, as for dark ink and a model of light ink"
    )


def run(options: argparse.Namespace) -> int:
    """Prints one JSON line per image, or per line of text; or answers to questions."""
    use_compile_cache()
    from jaxdl.inference import check_attention, load, predict_images

    allow = allowed(options)
    asked = answers.asks(options)
    loaded = load(options.workdir, step=step_choice(options.step), allow=allow)
    asked = asked or answers.answers(loaded)
    if options.attention is not None:
        if asked:
            raise ConfigError("Attention is drawn of translations, not of answers: leave --attention out.")
        check_attention(loaded, allow=allow)
    if asked:
        return answers.run(options, loaded)
    if "tokens" in loaded.facts["example"] and "image" not in loaded.facts["example"]:
        return _texts(loaded, options, allow)
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


def _texts(loaded: Any, options: argparse.Namespace, allow: tuple[str, ...]) -> int:
    """Prints one JSON line per line of text."""
    from jaxdl.inference import attention_of, heat_map, predict_texts

    if options.attention is not None:
        Path(options.attention).mkdir(parents=True, exist_ok=True)
    failed = number = 0
    for path in options.paths:
        texts = read_lines(path)
        for text, prediction in zip(texts, predict_texts(loaded, texts, batch_size=options.batch_size)):
            if prediction.values is None:
                failed += 1
                answer = {"error": prediction.error}
            else:
                answer = _answer(prediction.values, loaded.labels, options.top)
            print(json.dumps({"line": prediction.line, "text": text, **answer}, ensure_ascii=False), flush=True)
            number += 1
            if options.attention is not None and prediction.values is not None and text.strip():
                picture = heat_map(*attention_of(loaded, text, prediction.values["translation"], allow=allow))
                picture.save(Path(options.attention) / f"{number}.png")
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
