"""Beam search in one compiled loop. Letters: B batch, W beams, N new tokens, K kept, V vocabulary."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.decoding.steps import Decoded, Step
from jaxdl.types import Array, PyTree


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
    limit: Array | None = None,
) -> Decoded:
    """The likeliest continuations: all results are (B, W, ...), best first.

    A score is the sum of log-probabilities divided by `((5 + length) / 6) ** length_penalty`, where the length counts
    the end token (Wu et al. 2016, equation 14). A row goes on until no running beam can beat its worst finished one.
    What has not ended after `count` tokens, or its row's `limit`, is taken as it stands.

    Args:
      step: One step of the model.
      logits_BV: (B, V), after the prompt.
      state: The state after the prompt.
      count: N, the most tokens.
      beams: W.
      end: The token that ends a beam.
      pad: What fills up beams that have ended.
      length_penalty: 0 prefers short results; 0.6 to 1 is usual in translation.
      limit: The most tokens of each row (B,), where they are fewer.
    """
    rows, size = logits_BV.shape
    if beams < 1 or beams >= size:
        raise ValueError(f"beams must be at least 1 and fewer than the vocabulary's {size}, not {beams}.")
    if not 0 <= length_penalty < math.inf:
        raise ValueError(f"length_penalty must be at least 0 and finite, not {length_penalty}.")
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
    limit_B = jnp.minimum(jnp.full(rows, count) if limit is None else jnp.asarray(limit), count)
    settle = partial(_settled, length_penalty=length_penalty)

    def advance(now: _Beams) -> _Beams:
        now = _advance(now, step=step, end=end, length_penalty=length_penalty)
        return settle(now, now.at >= limit_B)

    def go_on(now: _Beams) -> jax.Array:
        # The most that a running beam can still get is its score now over the largest divisor.
        best = now.scores[:, 0] / _divisor(limit_B + 1, length_penalty)
        return (now.at < count) & jnp.any(best > now.ended_scores[:, -1])

    last = jax.lax.while_loop(go_on, advance, settle(start, limit_B <= 0))
    last = settle(last, jnp.ones(rows, bool))
    return Decoded(last.ended_tokens, last.ended_lengths, last.ended_scores)


def _settled(now: _Beams, over_B: jax.Array, *, length_penalty: float) -> _Beams:
    """The running beams of these rows set aside as they stand, so that nothing of the row runs on."""
    running = jnp.where(over_B[:, None], now.scores / _divisor(now.at, length_penalty), -jnp.inf)
    lengths = jnp.concatenate((now.ended_lengths, jnp.broadcast_to(now.at, running.shape)), axis=1)
    scores, kept = jax.lax.top_k(jnp.concatenate((now.ended_scores, running), axis=1), running.shape[1])
    return now._replace(
        scores=jnp.where(over_B[:, None], -jnp.inf, now.scores),
        ended_tokens=_pick(jnp.concatenate((now.ended_tokens, now.tokens), axis=1), kept),
        ended_lengths=_pick(lengths, kept),
        ended_scores=scores,
    )


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
    # An end counts only among the best W candidates: one beam is then greedy decoding.
    counts = ends & (jnp.arange(2 * beams) < beams)[None]
    finished = jnp.where(counts, scores / _divisor(now.at + 1, length_penalty), -jnp.inf)
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
