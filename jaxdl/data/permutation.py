"""Keyed permutations: stored whole where they are short, computed place by place where they are not."""

import functools
from collections.abc import Sequence

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
SHORT = 2**20
"""The longest permutation that is stored, in at most 4 MiB."""


def permute(positions: np.ndarray, size: int, key: Sequence[int]) -> np.ndarray:
    """The places of `positions` in a keyed permutation of `range(size)`.

    A Feistel network over a grid of about sqrt(size) x sqrt(size) cells (Black and Rogaway, 2002, "Ciphers with
    arbitrary finite domains", section 4), walked along its cycle until back inside the range. It needs no memory
    beyond that of `positions`, and its values never change between versions of NumPy.

    Args:
      positions: int64 of any shape, each in `[0, size)`.
      size: The length of the range, at least 1.
      key: Integers, such as `(seed, epoch)`; another key gives another permutation.

    Raises:
      ValueError: `size` is below 1, or a position is outside `[0, size)`.

    >>> sorted(permute(np.arange(5), 5, (0, 0)).tolist())
    [0, 1, 2, 3, 4]
    """
    positions = np.asarray(positions, np.int64)
    if size < 1:
        raise ValueError(f"A permutation needs a size of at least 1, not {size}.")
    if positions.size and (positions.min() < 0 or positions.max() >= size):
        raise ValueError(f"Positions span [{positions.min()}, {positions.max()}], outside [0, {size}).")
    columns = max(1, int(np.ceil(np.sqrt(size))))
    rows = -(-size // columns)
    keys = _round_keys((*key, size), 24 if size < 1000 else 8)  # Fewer rounds show in small permutations.
    places = _feistel(positions.reshape(-1).astype(np.uint64), rows, columns, keys)
    outside = np.flatnonzero(places >= size)
    while outside.size:
        places[outside] = _feistel(places[outside], rows, columns, keys)
        outside = outside[places[outside] >= size]
    return places.astype(np.int64).reshape(positions.shape)


@functools.lru_cache(maxsize=4)
def permutation(size: int, key: tuple[int, ...]) -> np.ndarray:
    """A keyed permutation of `range(size)`, uint32 (size,), read-only; another one than that of `permute`.

    The places are sorted by 44 hashed bits each, ten times faster than `permute` computes as many; it is the same
    with every version of NumPy, since no two sort keys are equal. The last few are remembered.

    Raises:
      ValueError: `size` is below 1 or above `SHORT`.

    >>> sorted(permutation(5, (0, 0)).tolist())
    [0, 1, 2, 3, 4]
    """
    if not 1 <= size <= SHORT:
        raise ValueError(f"A stored permutation has a size between 1 and {SHORT}, not {size}.")
    places = np.arange(size, dtype=np.uint64)
    low = np.uint64(SHORT - 1)
    mixed = _mix(places + np.uint64(_round_keys((*key, size), 1)[0]))
    order = (np.sort((mixed & ~low) | places) & low).astype(np.uint32)
    order.setflags(write=False)
    return order


def _mix(words: np.ndarray) -> np.ndarray:
    """The output function of splitmix64 (Steele et al., 2014) on uint64, after one step of its counter."""
    words = (words + np.uint64(1)) * np.uint64(_GOLDEN)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _feistel(cells: np.ndarray, rows: int, columns: int, keys: list[int]) -> np.ndarray:
    """One pass over the grid: each half is shifted, modulo its size, by a hash of the other; hence a bijection."""
    left, right = np.divmod(cells, np.uint64(columns))
    for i, key in enumerate(keys):
        if i % 2:
            right = (right + _hash(left, key, columns)) % np.uint64(columns)
        else:
            left = (left + _hash(right, key, rows)) % np.uint64(rows)
    return left * np.uint64(columns) + right


def _hash(values: np.ndarray, key: int, modulus: int) -> np.ndarray:
    """Values (uint64) to pseudo-random numbers in [0, modulus), by two multiply-and-shift rounds."""
    mixed = values * np.uint64(_GOLDEN) + np.uint64(key)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    return mixed % np.uint64(modulus)


def _round_keys(key: Sequence[int], rounds: int) -> list[int]:
    """One 64-bit number per round, from the words of the key taken in order (splitmix64 in plain integers)."""
    state = len(key)
    for word in key:
        state = _finalise(state ^ _finalise((int(word) & _MASK) + _GOLDEN))
    return [_finalise((state + (i + 1) * _GOLDEN) & _MASK) for i in range(rounds)]


def _finalise(word: int) -> int:
    word = ((word & _MASK) ^ ((word & _MASK) >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & _MASK
    return word ^ (word >> 31)
