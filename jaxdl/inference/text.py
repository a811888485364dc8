"""Text out of a language model: as it comes, or all at once. Letters: B rows, T tokens of a prompt."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl import config as configs
from jaxdl.data.text.records import not_text
from jaxdl.data.text.tokenizer import Tokenizer
from jaxdl.decoding import Decoded, Progress, Sampling, Step, beam_search, begin, decode, prefill, stepping
from jaxdl.errors import ConfigError, DataError
from jaxdl.inference.adapters import merge_lora
from jaxdl.inference.loaded import Loaded
from jaxdl.inference.streaming import Generated, Row
from jaxdl.learners.precision import Precision, cast
from jaxdl.models.lora import LoRA
from jaxdl.types import PyTree

_LEAST_BUCKET = 16


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TextModel:
    """A decoder-only model with its tokenizer.

    Attributes:
      model: Called as `(tokens, token_mask=, cache=, train=False) -> (logits, cache)`; has `empty_cache`.
      variables: Its variables.
      tokenizer: Text to token ids and back.

    Raises:
      ConfigError: the model has no cache to decode with, or fewer tokens than the tokenizer.
    """

    model: Any
    variables: PyTree
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        name = type(self.model).__name__
        if not hasattr(self.model, "empty_cache"):
            raise ConfigError(f"A {name} writes no text: that takes a decoder with a cache, such as GPT2 or Llama.")
        if self.tokenizer.vocabulary_size > self.model.vocab_size:
            raise ConfigError(
                f"The tokenizer has {self.tokenizer.vocabulary_size} tokens, but the {name} only "
                f"{self.model.vocab_size}: it is not the one that the model was trained with."
            )

    @property
    def max_length(self) -> int | None:
        """The longest context, in tokens; None without a limit."""
        return self.model.max_length if hasattr(self.model, "max_length") else None


def text_model(loaded: Loaded, *, tokenizer: Tokenizer | None = None, allow: Sequence[str] = ()) -> TextModel:
    """The language model of a run folder or an exported file, LoRA merged.

    Args:
      loaded: From `load`.
      tokenizer: Instead of the one that it was saved with.
      allow: Packages that the saved config may name, as for `load`.

    Raises:
      ConfigError: it writes no text, or there is no tokenizer.
    """
    tokenizer = loaded.tokenizer if tokenizer is None else tokenizer
    if tokenizer is None:
        raise ConfigError("This model was saved without a tokenizer: give its tokenizer.json.")
    if "model" not in loaded.config:
        raise ConfigError("The saved config names no model, so that there is nothing to decode with.")
    model = configs.build(loaded.config["model"], allow=tuple(allow))
    if isinstance(model, LoRA):
        loaded = merge_lora(loaded, allow=allow)
        model = configs.build(loaded.config["model"], allow=tuple(allow))
    written = loaded.config["precision"] if "precision" in loaded.config else None
    precision = Precision() if written is None else configs.build(written, allow=tuple(allow))
    params = cast(loaded.state.params, precision.compute)
    return TextModel(model=model, variables={"params": params, **loaded.state.model_state}, tokenizer=tokenizer)


def stream_text(
    source: TextModel,
    prompt: str,
    *,
    max_tokens: int = 200,
    sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    stop: Sequence[str] = (),
    min_tokens: int = 0,
    seed: int = 0,
    chunk: int = 16,
) -> Iterator[str]:
    """Continues a prompt piece by piece; the pieces together are the `text` of `generate_texts`.

    A piece ends where a character is whole and no stop string may have begun. When the context is full, the model goes
    on from its last half, so that a text may be longer than the model's longest input.

    Args:
      source: From `text_model`.
      prompt: At least one token, and no more than the model reads.
      max_tokens: Most tokens to draw.
      sampling: How a token is chosen.
      stop: Strings that end the text where they first come; they are left out.
      min_tokens: Tokens to draw before the end token may be.
      seed: Of the draws.
      chunk: Tokens drawn by one call of the device; the text does not depend on it.

    Raises:
      DataError: the prompt is empty, too long or no text.
    """
    ids = _encoded(source, prompt, 1)
    row = Row(source.tokenizer, ids, tuple(stop))
    for news, ended in _chunks(
        source,
        [ids],
        _keys(seed, 1),
        max_tokens=max_tokens,
        sampling=sampling,
        least=min_tokens,
        chunk=chunk,
        rows=[row],
    ):
        if piece := row.add(news[0], final=bool(ended[0])):
            yield piece
    if piece := row.add([], final=True):
        yield piece


def generate_texts(
    source: TextModel,
    prompts: Sequence[str],
    *,
    max_tokens: int = 200,
    sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    stop: Sequence[str] = (),
    min_tokens: int = 0,
    seed: int = 0,
    chunk: int = 64,
    batch_size: int = 16,
) -> list[Generated]:
    """Continues prompts, `batch_size` at a time; the i-th is drawn from its own key, whatever the others are.

    See `stream_text` for the arguments.

    Raises:
      DataError: a prompt is empty, too long or no text, by its number from 1.
    """
    encoded = [_encoded(source, prompt, number) for number, prompt in enumerate(prompts, 1)]
    keys, found = _keys(seed, len(prompts)), []
    for first in range(0, len(prompts), batch_size):
        ids = encoded[first : first + batch_size]
        rows = [Row(source.tokenizer, one, tuple(stop)) for one in ids]
        for news, ended in _chunks(
            source,
            ids,
            keys[first : first + batch_size],
            max_tokens=max_tokens,
            sampling=sampling,
            least=min_tokens,
            chunk=chunk,
            rows=rows,
        ):
            for row, new, end in zip(rows, news, ended):
                row.add(new, final=bool(end))
        for row in rows:
            row.add([], final=True)
        found += [row.generated() for row in rows]
    return found


def beam_texts(
    source: TextModel,
    prompts: Sequence[str],
    *,
    max_tokens: int = 200,
    beams: int = 4,
    length_penalty: float = 0.0,
    stop: Sequence[str] = (),
) -> list[list[Generated]]:
    """The likeliest continuations of each prompt, best first; see `beam_search`. A stop string only cuts the text.

    Raises:
      ConfigError: there are no beams, or as many as tokens; or the penalty is below 0.
      DataError: a prompt is empty, or it and `max_tokens` are more than the model reads.
    """
    found = []
    size, end = source.tokenizer.vocabulary_size, source.tokenizer.find("end")
    if not 1 <= beams < size or not 0 <= length_penalty < math.inf:
        raise ConfigError(
            f"beams must be at least 1 and fewer than the vocabulary's {size}, not {beams}, and length_penalty must be "
            f"at least 0, not {length_penalty}."
        )
    for number, prompt in enumerate(prompts, 1):
        ids = _encoded(source, prompt, number)
        if source.max_length is not None and len(ids) + max_tokens > source.max_length:
            raise DataError(
                f"Prompt {number} and what may follow have {len(ids)} + {max_tokens} tokens, but beams end where the "
                f"context of {source.max_length} does: give a smaller max_tokens."
            )
        tokens, mask = _padded(
            [ids], _bucket(len(ids), None if source.max_length is None else source.max_length - max_tokens)
        )
        made = jax.device_get(
            _search(
                source.model,
                source.variables,
                tokens,
                mask,
                size=size,
                count=max_tokens,
                beams=beams,
                end=-1 if end is None else end,
                length_penalty=length_penalty,
            )
        )
        found.append([_beam(source, ids, made, beam, tuple(stop)) for beam in range(beams)])
    return found


def _chunks(
    source: TextModel,
    prompts: Sequence[np.ndarray],
    keys: jax.Array,
    *,
    max_tokens: int,
    sampling: Sampling,
    least: int,
    chunk: int,
    rows: Sequence[Row],
) -> Iterator[tuple[list[np.ndarray], np.ndarray]]:
    """New tokens of each row, and which rows the end token has ended; rows that are `stopped` draw no more."""
    size, end = source.tokenizer.vocabulary_size, source.tokenizer.find("end")
    contexts = [list(ids) for ids in prompts]
    longest = max(len(ids) for ids in contexts)
    room = _bucket(longest, source.max_length) + max_tokens
    room = room if source.max_length is None else min(room, source.max_length)
    run = partial(_write, source.model, source.variables)
    progress = _read(
        source.model, source.variables, *_padded(contexts, _bucket(longest, room)), keys, size=size, room=room
    )
    made = 0
    while made < max_tokens:
        if max(map(len, contexts)) >= room:
            contexts = [ids[-max(1, room // 2) :] if len(ids) >= room else ids for ids in contexts]
            anew = _read(source.model, source.variables, *_padded(contexts, room), keys, size=size, room=room)
            progress = progress._replace(logits=anew.logits, state=anew.state)
        limit = min(chunk, max_tokens - made, room - max(map(len, contexts)))
        done = jnp.asarray([row.stopped for row in rows])
        drawn, progress = run(
            progress._replace(done=progress.done | done),
            limit,
            size=size,
            count=chunk,
            sampling=sampling,
            end=end,
            least=least,
        )
        tokens, lengths, chances, ended = jax.device_get((drawn.tokens, drawn.lengths, drawn.chances, progress.done))
        made += limit
        news = [ids[:length] for ids, length in zip(tokens, lengths)]
        for row, context, new, chance, over in zip(rows, contexts, news, chances, ended):
            context.extend(new)
            row.chances.extend(chance[:limit].tolist())
            row.ended = bool(over) and not row.stopped
        yield news, ended
        if all(row.stopped or row.ended for row in rows):
            return


@partial(jax.jit, static_argnames=("model", "size", "room"))
def _read(
    model: Any, variables: PyTree, tokens_BT: Any, mask_BT: Any, keys_B: jax.Array, *, size: int, room: int
) -> Progress:
    logits, cache = prefill(model, variables, tokens_BT, mask_BT, room - tokens_BT.shape[1])
    return begin(logits[:, :size], cache, keys_B, tokens_BT, mask_BT)


@partial(jax.jit, static_argnames=("model", "size", "count", "sampling", "end", "least"))
def _write(
    model: Any,
    variables: PyTree,
    progress: Progress,
    limit: Any,
    *,
    size: int,
    count: int,
    sampling: Sampling,
    end: int | None,
    least: int,
) -> tuple[Decoded, Progress]:
    step = _known(stepping(model, variables), size)
    return decode(step, progress, count=count, limit=limit, sampling=sampling, end=end, least=least)


@partial(jax.jit, static_argnames=("model", "size", "count", "beams", "end", "length_penalty"))
def _search(
    model: Any,
    variables: PyTree,
    tokens_BT: Any,
    mask_BT: Any,
    *,
    size: int,
    count: int,
    beams: int,
    end: int,
    length_penalty: float,
) -> Decoded:
    logits, cache = prefill(model, variables, tokens_BT, mask_BT, count)
    step = _known(stepping(model, variables), size)
    return beam_search(step, logits[:, :size], cache, count=count, beams=beams, end=end, length_penalty=length_penalty)


def _known(step: Step, size: int) -> Step:
    """The step without the logits that a model has beyond its tokenizer."""

    def cut(state: PyTree, tokens_B: jax.Array) -> tuple[jax.Array, PyTree]:
        logits, state = step(state, tokens_B)
        return logits[:, :size], state

    return cut


def _beam(source: TextModel, prompt: np.ndarray, made: Decoded, beam: int, stop: tuple[str, ...]) -> Generated:
    length, count = int(made.lengths[0, beam]), made.tokens.shape[-1]
    row = Row(source.tokenizer, prompt, stop)
    row.add(made.tokens[0, beam, :length], final=True)
    row.ended = length < count
    return row.generated()._replace(score=float(made.scores[0, beam]))


def _encoded(source: TextModel, prompt: str, number: int) -> np.ndarray:
    """The prompt's tokens, after those that the tokenizer's template puts before a text but without those behind."""
    if (reason := not_text(prompt)) is not None:
        raise DataError(f"Prompt {number} {reason}.")
    plain = source.tokenizer.encode(prompt)
    whole = source.tokenizer.encode(prompt, special=True)
    starts = range(len(whole) - len(plain) + 1)
    first = next((at for at in starts if len(plain) and np.array_equal(whole[at : at + len(plain)], plain)), None)
    ids = plain if first is None else whole[: first + len(plain)]
    if not len(ids):
        raise DataError(f"Prompt {number} is empty: give at least one token to begin with, such as a new line.")
    if source.max_length is not None and len(ids) > source.max_length:
        raise DataError(f"Prompt {number} has {len(ids)} tokens, but the model reads {source.max_length}: shorten it.")
    return ids


def _keys(seed: int, count: int) -> jax.Array:
    return jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(count))


def _bucket(length: int, most: int | None) -> int:
    """A length to pad to, of few, so that few programs are compiled."""
    size = _LEAST_BUCKET
    while size < length:
        size *= 2
    return size if most is None else min(size, most)


def _padded(rows: Sequence[Sequence[int] | np.ndarray], length: int) -> tuple[np.ndarray, np.ndarray]:
    tokens, mask = np.zeros((2, len(rows), length), np.int32)
    for row, ids in enumerate(rows):
        tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
    return tokens, mask
