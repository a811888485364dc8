"""jaxdl generate."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from jaxdl.cli.environment import allowed, use_compile_cache
from jaxdl.cli.evaluate import step_choice
from jaxdl.errors import ConfigError


def run(options: argparse.Namespace) -> int:
    """Continues prompts: one as its text comes, several as JSON lines."""
    _check(options)
    prompts = _prompts(options)
    use_compile_cache()
    from jaxdl.data.text import load_tokenizer
    from jaxdl.inference import load, text_model

    allow = allowed(options)
    tokenizer = None if options.tokenizer is None else load_tokenizer(path=options.tokenizer)
    source = text_model(
        load(options.workdir, step=step_choice(options.step), allow=allow), tokenizer=tokenizer, allow=allow
    )
    if options.beams is None and len(prompts) == 1 and not options.json:
        _stream(source, prompts[0], options)
        return 0
    for prompt, found in zip(prompts, _generated(source, prompts, options)):
        if len(prompts) == 1 and not options.json:
            print(prompt + found[0].text)
        else:
            print(json.dumps(_answer(prompt, found), allow_nan=False), flush=True)
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuses flags that contradict each other."""
    drawn = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    given = [f"--{name.replace('_', '-')}" for name in drawn if getattr(options, name) is not None]
    if options.beams is not None and given:
        raise ConfigError(f"Beams search and draw nothing: leave {', '.join(given)} out, or --beams.")


def _prompts(options: argparse.Namespace) -> list[str]:
    """The prompts of the flags; else the lines of standard input, where something is piped in; else a new line."""
    if options.prompt:
        return options.prompt
    if sys.stdin is None or sys.stdin.isatty():
        return ["\n"]
    lines = [line.rstrip("\n") for line in sys.stdin]
    prompts = [line for line in lines if line]
    if not prompts:
        raise ConfigError("There is no prompt: give --prompt TEXT, or lines on standard input.")
    return prompts


def _sampling(options: argparse.Namespace) -> Any:
    from jaxdl.inference import Sampling

    drawn = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
    given = {name: getattr(options, name) for name in drawn if getattr(options, name) is not None}
    try:
        return Sampling(**given)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _stream(source: Any, prompt: str, options: argparse.Namespace) -> None:
    from jaxdl.inference import stream_text

    pieces = stream_text(
        source,
        prompt,
        max_tokens=options.max_tokens,
        min_tokens=options.min_tokens,
        sampling=_sampling(options),
        stop=options.stop,
        seed=options.seed,
    )
    first = next(pieces, "")  # Before the prompt is shown, for what is wrong with it.
    print(prompt + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()


def _generated(source: Any, prompts: list[str], options: argparse.Namespace) -> Iterator[Any]:
    """For each prompt what was generated, best first."""
    from jaxdl.inference import beam_texts, generate_texts

    if options.beams is not None:
        yield from beam_texts(
            source,
            prompts,
            max_tokens=options.max_tokens,
            beams=options.beams,
            length_penalty=options.length_penalty,
            stop=options.stop,
        )
        return
    for found in generate_texts(
        source,
        prompts,
        max_tokens=options.max_tokens,
        min_tokens=options.min_tokens,
        sampling=_sampling(options),
        stop=options.stop,
        seed=options.seed,
        batch_size=options.batch_size,
    ):
        yield [found]


def _answer(prompt: str, found: list[Any]) -> dict[str, Any]:
    rows = [
        {"text": one.text, "tokens": one.tokens, "finish": one.finish, "score": round(one.score, 4)} for one in found
    ]
    return {"prompt": prompt, **rows[0], **({"beams": rows} if len(rows) > 1 else {})}
