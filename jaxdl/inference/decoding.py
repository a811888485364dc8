"""Decoding token by token inside one compiled loop. Letters: B batch, T prompt, N new tokens, V vocabulary, W beams."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.inference.sampling import GREEDY, Sampling
from jaxdl.types import Array, PyTree

Step = Callable[[PyTree, jax.Array], tuple[jax.Array, PyTree]]
"""`step(state, tokens (B,)) -> (logits (B, V) of what follows, state)`; every leaf of a state is (B, ...)."""


class Decoded(NamedTuple):
    """What `decode` or `beam_search` made.

    Attributes:
      tokens: (B, N) int32, or (B, W, N) best first; the end token and what would follow it are `pad`.
      lengths: Tokens before the end of each, int32.
      scores: Sum of the log-probabilities of the tokens, the end included, under the unfiltered model; of beams,
        divided by the length penalty.
    """

    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array


def prefill(
    model: Any, variables: PyTree, prompt_BT: Array, prompt_mask_BT: Array, room: int
) -> tuple[jax.Array, PyTree]:
    """Runs a decoder-only model over prompts padded behind: logits (B, V) after each, and the cache with room left.

    Args:
      model: Called as `(tokens, token_mask=, cache=, train=False) -> (logits, cache)`; has `empty_cache`.
      variables: Its variables.
      prompt_BT: Token ids, at least one a row.
      prompt_mask_BT: 1 for a token, 0 for padding.
      room: New tokens that the cache must hold.
    """
    rows, length = prompt_BT.shape
    cache = model.empty_cache(rows, length + room)
    logits, cache = model.apply(variables, prompt_BT, token_mask=prompt_mask_BT, cache=cache, train=False)
    last_B = jnp.sum(jnp.asarray(prompt_mask_BT) != 0, axis=1, dtype=jnp.int32) - 1
    return jnp.take_along_axis(logits, last_B[:, None, None], axis=1)[:, 0], cache


def stepping(model: Any, variables: PyTree) -> Step:
    """The `Step` of a decoder-only model, whose state is its cache."""

    def step(cache: PyTree, tokens_B: jax.Array) -> tuple[jax.Array, PyTree]:
        logits, cache = model.apply(variables, tokens_B[:, None], cache=cache, train=False)
        return logits[:, -1], cache

    return step


class Progress(NamedTuple):
    """Where decoding stands, so that it can go on piece by piece.

    Attributes:
      logits: (B, V) of the next token.
      state: The model's.
      seen: (B, V) bool, which tokens occurred.
      done: (B,) bool, which rows have ended.
      key: (B,) random keys, of what each row draws next.
    """

    logits: jax.Array
    state: PyTree
    seen: jax.Array
    done: jax.Array
    key: jax.Array


def begin(logits_BV: jax.Array, state: PyTree, key: jax.Array, prompt_BT: Array, prompt_mask_BT: Array) -> Progress:
    """The progress after a prompt.

    Args:
      logits_BV: Of the next token.
      state: The model's.
      key: A random key, which gives each row one by its number; or the rows' own keys (B,).
      prompt_BT: The prompt.
      prompt_mask_BT: 1 for a token, 0 for padding.
    """
    rows, size = logits_BV.shape
    keys_B = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(rows)) if key.ndim == 0 else key
    hit = jnp.where(jnp.asarray(prompt_mask_BT) != 0, jnp.asarray(prompt_BT), size)
    seen = jnp.zeros((rows, size), bool).at[jnp.arange(rows)[:, None], hit].set(True, mode="drop")
    return Progress(logits_BV, state, seen, jnp.zeros(rows, bool), keys_B)


def decode(
    step: Step,
    progress: Progress,
    *,
    count: int,
    limit: Array | None = None,
    sampling: Sampling = GREEDY,
    end: int | None = None,
    pad: int = 0,
) -> tuple[Decoded, Progress]:
    """Draws `count` tokens for each row, fewer where a row ends; stops early when all have.

    To be called under `jit`, again and again for more; what it draws depends neither on how the count is split nor on
    the other rows.

    Args:
      step: One step of the model.
      progress: From `begin`, or from the call before.
      count: N.
      limit: Fewer than `count` tokens, as a number that may be traced: one program then serves them all.
      sampling: How a token is chosen.
      end: The token that ends a row, or None.
      pad: What fills up a row that has ended.
    """
    rows = progress.logits.shape[0]
    tokens = jnp.full((rows, count), pad, jnp.int32)
    none = Decoded(tokens, jnp.zeros(rows, jnp.int32), jnp.zeros(rows, jnp.float32))
    most = count if limit is None else jnp.minimum(limit, count)

    def go_on(carry: tuple[jax.Array, Decoded, Progress]) -> jax.Array:
        return (carry[0] < most) & ~jnp.all(carry[2].done)

    def body(carry: tuple[jax.Array, Decoded, Progress]) -> tuple[jax.Array, Decoded, Progress]:
        at, made, now = carry
        keys = jax.vmap(jax.random.split)(now.key)
        token_B = sampling.draw(keys[:, 1], now.logits, now.seen)
        chance_B = jnp.take_along_axis(jax.nn.log_softmax(now.logits.astype(jnp.float32)), token_B[:, None], axis=1)
        ended_B = now.done if end is None else now.done | (token_B == end)
        token_B = jnp.where(ended_B, pad, token_B)
        made = Decoded(
            made.tokens.at[:, at].set(token_B),
            made.lengths + ~ended_B,
            made.scores + jnp.where(now.done, 0, chance_B[:, 0]),
        )
        logits, state = step(now.state, token_B)
        seen = now.seen.at[jnp.arange(rows), token_B].max(~ended_B)
        return at + 1, made, Progress(logits.astype(now.logits.dtype), state, seen, ended_B, keys[:, 0])

    _, made, progress = jax.lax.while_loop(go_on, body, (jnp.int32(0), none, progress))
    return made, progress


def generate(
    model: Any,
    variables: PyTree,
    prompt_BT: Array,
    prompt_mask_BT: Array | None = None,
    *,
    key: jax.Array,
    count: int,
    sampling: Sampling = GREEDY,
    end: int | None = None,
    pad: int = 0,
) -> Decoded:
    """Continues prompts, which may be of unequal length and are padded behind: `prefill`, `begin` and `decode` in one.

    Pure; wrap it in `jax.jit` with the model, count and the rest static.
    """
    mask = jnp.ones(prompt_BT.shape, jnp.int32) if prompt_mask_BT is None else prompt_mask_BT
    logits, cache = prefill(model, variables, prompt_BT, mask, count)
    progress = begin(logits, cache, key, prompt_BT, mask)
    return decode(stepping(model, variables), progress, count=count, sampling=sampling, end=end, pad=pad)[0]


class _Beams(NamedTuple):
    """Running beams (B, W) and the best finished ones (B, W)."""

    at: jax.Array
    tokens: jax.Array
    scores: jax.Array
    logits: jax.Array
    state: PyTree
    ended_tokens: jax.Array
    ended_lengths: jax.Array
    ended_scores: jax.Array


def beam_search(
    step: Step,
    logits_BV: jax.Array,
    state: PyTree,
    *,
    count: int,
    beams: int,
    end: int,
    pad: int = 0,
    length_penalty: float = 0.0,
) -> Decoded:
    """The likeliest continuations: all results are (B, W, ...), best first.

    A score is the sum of log-probabilities divided by `((5 + length) / 6) ** length_penalty`, where the length counts
    the end token (Wu et al. 2016, equation 14). A row goes on until no running beam can beat its worst finished one.
    What has not ended after `count` tokens is taken as it stands.

    Args:
      step: One step of the model.
      logits_BV: (B, V), after the prompt.
      state: The state after the prompt.
      count: N, the most tokens.
      beams: W.
      end: The token that ends a beam.
      pad: What fills up beams that have ended.
      length_penalty: 0 prefers short results; 0.6 to 1 is usual in translation.
    """
    rows, size = logits_BV.shape
    if beams < 1 or beams >= size:
        raise ValueError(f"beams must be between 1 and the vocabulary's {size}, not {beams}.")
    tile = partial(jnp.repeat, repeats=beams, axis=0)
    first_only = jnp.where(jnp.arange(beams)[None] == 0, 0.0, -jnp.inf)
    empty = jnp.full((rows, beams, count), pad, jnp.int32)
    worst = jnp.full((rows, beams), -jnp.inf)
    start = _Beams(
        at=jnp.int32(0),
        tokens=empty,
        scores=jnp.broadcast_to(first_only, (rows, beams)),
        logits=tile(logits_BV.astype(jnp.float32)),
        state=jax.tree.map(tile, state),
        ended_tokens=empty,
        ended_lengths=jnp.zeros((rows, beams), jnp.int32),
        ended_scores=worst,
    )
    advance = partial(_advance, step=step, end=end, length_penalty=length_penalty)

    def go_on(now: _Beams) -> jax.Array:
        # The most that a running beam can still get is its score now over the largest divisor.
        best = now.scores[:, 0] / _divisor(jnp.int32(count + 1), length_penalty)
        return (now.at < count) & jnp.any(best > now.ended_scores[:, -1])

    last = jax.lax.while_loop(go_on, advance, start)
    running = last.scores / _divisor(last.at, length_penalty)
    lengths = jnp.broadcast_to(last.at, running.shape)
    scores = jnp.concatenate((last.ended_scores, running), axis=1)
    scores, order = jax.lax.top_k(scores, beams)
    tokens = _pick(jnp.concatenate((last.ended_tokens, last.tokens), axis=1), order)
    return Decoded(tokens, _pick(jnp.concatenate((last.ended_lengths, lengths), axis=1), order), scores)


def _advance(now: _Beams, *, step: Step, end: int, length_penalty: float) -> _Beams:
    """One token more for every running beam, and those that end with it set aside."""
    rows, beams = now.scores.shape
    chances = jax.nn.log_softmax(now.logits).reshape(rows, beams, -1)
    size = chances.shape[-1]
    # Twice as many candidates as beams: at most half of them end.
    scores, places = jax.lax.top_k((now.scores[:, :, None] + chances).reshape(rows, -1), 2 * beams)
    parents, token = places // size, (places % size).astype(jnp.int32)
    tokens = _pick(now.tokens, parents)
    ends = token == end
    finished = jnp.where(ends, scores / _divisor(now.at + 1, length_penalty), -jnp.inf)
    ended_scores, kept = jax.lax.top_k(jnp.concatenate((now.ended_scores, finished), axis=1), beams)
    lengths = jnp.concatenate((now.ended_lengths, jnp.broadcast_to(now.at, finished.shape)), axis=1)
    ended_tokens = _pick(jnp.concatenate((now.ended_tokens, tokens), axis=1), kept)
    running, chosen = jax.lax.top_k(jnp.where(ends, -jnp.inf, scores), beams)
    parents, token = _pick(parents, chosen), _pick(token, chosen)
    whole = (jnp.arange(rows)[:, None] * beams + parents).reshape(-1)
    state = jax.tree.map(lambda leaf: leaf[whole], now.state)
    logits, state = step(state, token.reshape(-1))
    return _Beams(
        at=now.at + 1,
        tokens=_pick(tokens, chosen).at[:, :, now.at].set(token),
        scores=running,
        logits=logits.astype(jnp.float32),
        state=state,
        ended_tokens=ended_tokens,
        ended_lengths=_pick(lengths, kept),
        ended_scores=ended_scores,
    )


def _divisor(length: jax.Array, penalty: float) -> Any:
    return ((5 + length) / 6) ** penalty


def _pick(values: jax.Array, order: jax.Array) -> jax.Array:
    """Rows of (B, W, ...) in the order (B, K)."""
    return jnp.take_along_axis(values, order.reshape(order.shape + (1,) * (values.ndim - 2)), axis=1)
