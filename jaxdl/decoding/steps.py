"""Decoding token by token inside one compiled loop. Letters: B batch, T prompt, N new tokens, V vocabulary, W beams."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxdl.decoding.sampling import GREEDY, Sampling
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
      chances: (B, N) log-probability of each token, 0 behind the end; None of beams.
    """

    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array
    chances: jax.Array | None = None


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
      drawn: (B,) int32, tokens drawn so far.
    """

    logits: jax.Array
    state: PyTree
    seen: jax.Array
    done: jax.Array
    key: jax.Array
    drawn: jax.Array


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
    return Progress(logits_BV, state, seen, jnp.zeros(rows, bool), keys_B, jnp.zeros(rows, jnp.int32))


def decode(
    step: Step,
    progress: Progress,
    *,
    count: int,
    limit: Array | None = None,
    sampling: Sampling = GREEDY,
    end: int | None = None,
    pad: int = 0,
    least: int = 0,
) -> tuple[Decoded, Progress]:
    """Draws `count` tokens for each row, fewer where a row ends; stops early when all have.

    To be called under `jit`, again and again for more; what it draws depends neither on how the count is split nor on
    the other rows.

    Args:
      step: One step of the model.
      progress: From `begin`, or from the call before.
      count: N.
      limit: Fewer than `count` tokens, as a number that may be traced: one program then serves them all. Or a number
        for each row (B,), over this call: a row that has as many tokens has ended.
      sampling: How a token is chosen.
      end: The token that ends a row, or None.
      pad: What fills up a row that has ended.
      least: Tokens that a row draws before it may end, over all calls.
    """
    rows = progress.logits.shape[0]
    tokens = jnp.full((rows, count), pad, jnp.int32)
    zeros = jnp.zeros((rows, count), jnp.float32)
    none = Decoded(tokens, jnp.zeros(rows, jnp.int32), jnp.zeros(rows, jnp.float32), zeros)
    limits = jnp.asarray(count if limit is None else limit)
    most = jnp.minimum(jnp.max(limits), count)
    if limits.ndim:
        progress = progress._replace(done=progress.done | (limits <= 0))

    def go_on(carry: tuple[jax.Array, Decoded, Progress]) -> jax.Array:
        return (carry[0] < most) & ~jnp.all(carry[2].done)

    def body(carry: tuple[jax.Array, Decoded, Progress]) -> tuple[jax.Array, Decoded, Progress]:
        at, made, now = carry
        keys = jax.vmap(jax.random.split)(now.key)
        logits = now.logits if end is None or not least else _endless(now.logits, end, now.drawn < least)
        token_B = sampling.draw(keys[:, 1], logits, now.seen)
        chance_B = jnp.take_along_axis(jax.nn.log_softmax(now.logits.astype(jnp.float32)), token_B[:, None], axis=1)
        ended_B = now.done if end is None else now.done | (token_B == end)
        token_B = jnp.where(ended_B, pad, token_B)
        chance_B = jnp.where(now.done, 0, chance_B[:, 0])
        assert made.chances is not None
        made = Decoded(
            made.tokens.at[:, at].set(token_B),
            made.lengths + ~ended_B,
            made.scores + chance_B,
            made.chances.at[:, at].set(chance_B),
        )
        logits, state = step(now.state, token_B)
        seen = now.seen.at[jnp.arange(rows), token_B].max(~ended_B)
        done_B = ended_B | (at + 1 >= limits) if limits.ndim else ended_B
        return (
            at + 1,
            made,
            Progress(logits.astype(now.logits.dtype), state, seen, done_B, keys[:, 0], now.drawn + ~ended_B),
        )

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
    least: int = 0,
) -> Decoded:
    """Continues prompts, which may be of unequal length and are padded behind: `prefill`, `begin` and `decode` in one.

    Pure; wrap it in `jax.jit` with the model, count and the rest static.
    """
    mask = jnp.ones(prompt_BT.shape, jnp.int32) if prompt_mask_BT is None else prompt_mask_BT
    logits, cache = prefill(model, variables, prompt_BT, mask, count)
    progress = begin(logits, cache, key, prompt_BT, mask)
    step = stepping(model, variables)
    return decode(step, progress, count=count, sampling=sampling, end=end, pad=pad, least=least)[0]


def _endless(logits_BV: jax.Array, end: int, rows_B: jax.Array) -> jax.Array:
    """The logits without the end token in the given rows."""
    return logits_BV.at[:, end].set(jnp.where(rows_B, -jnp.inf, logits_BV[:, end]))
