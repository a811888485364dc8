"""jaxdl generate."""

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from jaxdl.cli.environment import allowed, use_compile_cache
from jaxdl.cli.evaluate import step_choice
from jaxdl.cli.flags import add_model, natural, positive
from jaxdl.cli.texts import read_lines
from jaxdl.errors import ConfigError, DataError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of the verb."""
    add_model(parser)
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="what to continue; else each line of standard input"
    )
    parser.add_argument("--max-tokens", type=positive, default=200, metavar="N", help="most tokens (default 200)")
    parser.add_argument("--min-tokens", type=natural, metavar="N", help="tokens before the end token (default 0)")
    parser.add_argument("--temperature", type=float, metavar="T", help="0 takes the likeliest token (default 1)")
    parser.add_argument("--top-k", type=positive, metavar="K", help="draw from the K likeliest tokens")
    parser.add_argument("--top-p", type=float, metavar="P", help="draw from the likeliest that sum up to P")
    parser.add_argument("--min-p", type=float, metavar="P", help="draw from those at least P times the likeliest")
    parser.add_argument("--repetition-penalty", type=float, metavar="F", help="above 1 against repetition")
    parser.add_argument("--beams", type=positive, metavar="W", help="search with W beams instead of drawing")
    parser.add_argument("--length-penalty", type=float, metavar="A", help="of beams (default 0)")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end the text before this")
    parser.add_argument("--seed", type=natural, metavar="N", help="of the draws (default 0)")
    parser.add_argument("--batch-size", type=positive, default=16, metavar="B", help="prompts a call (default 16)")
    parser.add_argument("--tokenizer", metavar="FILE", help="a tokenizer.json, instead of the model's own")
    parser.add_argument("--json", action="store_true", help="print JSON, as for several prompts")


def run(options: argparse.Namespace) -> int:
    """Continues prompts: one as its text comes, several as JSON lines."""
    _check(options)
    prompts = _prompts(options)
    use_compile_cache()
    from jaxdl.data.text import load_tokenizer
    from jaxdl.data.text.records import not_text
    from jaxdl.inference import load, text_model

    for number, prompt in enumerate(prompts, 1):
        if (reason := not_text(prompt)) is not None:
            raise DataError(f"Prompt {number} {reason}: give prompts in UTF-8.")
    allow = allowed(options)
    tokenizer = None if options.tokenizer is None else load_tokenizer(path=options.tokenizer)
    source = text_model(
        load(options.workdir, step=step_choice(options.step), allow=allow), tokenizer=tokenizer, allow=allow
    )
    for number, prompt in enumerate(prompts, 1):
        if unknown := source.tokenizer.unknown(prompt):
            listed = ", ".join(map(repr, unknown))
            print(f"jaxdl generate: prompt {number}: the vocabulary does not know {listed}.", file=sys.stderr)
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
    drawn = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "min_tokens", "seed")
    given = [f"--{name.replace('_', '-')}" for name in drawn if getattr(options, name) is not None]
    if options.beams is not None and given:
        raise ConfigError(f"Beams search and draw nothing: leave {', '.join(given)} out, or --beams.")
    if options.beams is None and options.length_penalty is not None:
        raise ConfigError("Only beams have a length penalty: give --beams W with --length-penalty, or leave it out.")


def _prompts(options: argparse.Namespace) -> list[str]:
    """The prompts of the flags; else the lines of standard input, where something is piped in; else a new line."""
    if options.prompt:
        return options.prompt
    if sys.stdin is None or sys.stdin.isatty():
        return ["\n"]
    prompts = [line for line in read_lines("-") if line]
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
        min_tokens=options.min_tokens or 0,
        sampling=_sampling(options),
        stop=options.stop,
        seed=options.seed or 0,
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
            length_penalty=options.length_penalty or 0.0,
            stop=options.stop,
        )
        return
    for found in generate_texts(
        source,
        prompts,
        max_tokens=options.max_tokens,
        min_tokens=options.min_tokens or 0,
        sampling=_sampling(options),
        stop=options.stop,
        seed=options.seed or 0,
        batch_size=options.batch_size,
    ):
        yield [found]


def _answer(prompt: str, found: list[Any]) -> dict[str, Any]:
    rows = [
        {"text": one.text, "tokens": one.tokens, "finish": one.finish, "score": round(one.score, 4)} for one in found
    ]
    return {"prompt": prompt, **rows[0], **({"beams": rows} if len(rows) > 1 else {})}
