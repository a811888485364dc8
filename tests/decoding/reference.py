"""Tiny models to decode from: a table, whose best continuations can be found by trying them all, and a GPT-2."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.models.gpt2 import GPT2

END = 2


def table_step(table):
    """A step whose logits depend on the last two tokens: the state is the last one, the table (V, V, V)."""

    def step(last, tokens):
        return table[last, tokens], tokens

    return step


def table_logits(table, sequence):
    """The logits (N, V) before each token of a sequence that follows the tokens 0, 0."""
    before = [0, 0, *sequence]
    return np.stack([table[before[i], before[i + 1]] for i in range(len(sequence))])


def log_softmax(x):
    x = np.asarray(x, np.float64)
    return x - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True)


def exhaustive(table, count, length_penalty):
    """Every continuation of at most `count` tokens with its score, best first; the end is not among the tokens."""
    found = []
    for length in range(1, count + 1):
        for sequence in itertools.product(range(table.shape[0]), repeat=length):
            whole = END not in sequence[:-1] and (sequence[-1] == END or length == count)
            if whole:
                chances = log_softmax(table_logits(table, sequence))[np.arange(length), list(sequence)]
                score = chances.sum() / ((5 + length) / 6) ** length_penalty
                found.append((score, tuple(token for token in sequence if token != END)))
    return sorted(found, reverse=True)


@cache
def tiny(dtype=None, vocab_size=31):
    """A GPT-2 and its variables, with weights so large that its choices are clear."""
    model = GPT2(vocab_size=vocab_size, max_length=24, features=16, num_layers=2, num_heads=2, dtype=dtype)
    variables = model.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))
    return model, jax.tree.map(lambda leaf: leaf * 8 if leaf.ndim > 1 else leaf, variables)


@partial(jax.jit, static_argnums=0)
def _apply(model, variables, tokens):
    return model.apply(variables, tokens, train=False).astype(jnp.float32)


def logits_without_cache(model, variables, tokens):
    """The logits (N, V) after each of N tokens."""
    row = np.zeros((1, model.max_length), np.int32)
    row[0, : len(tokens)] = tokens  # What is behind them is not seen.
    return np.asarray(_apply(model, variables, row))[0, : len(tokens)]


def uncached(model, variables, prompt, count, end=None):
    """Greedy decoding of one prompt by a plain loop, without a cache."""
    tokens = list(prompt)
    for _ in range(count):
        token = int(logits_without_cache(model, variables, tokens)[-1].argmax())
        if token == end:
            break
        tokens.append(token)
    return tokens[len(prompt) :]
