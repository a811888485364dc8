"""Rows of tokens some of which are hidden, the same ones at every evaluation. Letters: B batch, T tokens."""

import dataclasses

import numpy as np

from jaxdl.types import Source


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MaskedRows:
    """A source of `tokens` and `token_mask` whose tokens are hidden as by `jaxdl.augment.MaskTokens`.

    What is hidden in a row depends on the seed and the number of the row alone, so that evaluations can be compared
    with one another whatever their batches are. Adds `targets` (B, T) int32 and `target_mask` (B, T) float32.

    Attributes:
      source: Rows such as those of `TextRows`; must offer `gather`.
      vocabulary_size: Random tokens have ids below it.
      mask_token: The id that hides a token.
      rate: Share of the tokens that are chosen.
      masked: Share of the chosen that become the mask token.
      random: Share of the chosen that become a random token.
      random_from: The least id of a random token.
      never: Ids that are not chosen.
      seed: Another one hides other tokens.
    """

    source: Source
    vocabulary_size: int
    mask_token: int
    rate: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    random_from: int = 0
    never: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1 or min(self.masked, self.random) < 0 or self.masked + self.random > 1:
            raise ValueError(
                f"rate must be in (0, 1] and masked + random at most 1, not {self.rate}, {self.masked}, {self.random}."
            )
        if not 0 <= self.random_from < self.vocabulary_size:
            raise ValueError(f"random_from must be in [0, {self.vocabulary_size}), not {self.random_from}.")
        if not hasattr(self.source, "gather"):
            raise TypeError(f"A {type(self.source).__name__} cannot gather rows of tokens: give a TextRows.")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {name: rows[0] for name, rows in self.gather(np.asarray([index])).items()}

    def gather(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """The rows at `indices` (B,)."""
        rows = dict(self.source.gather(indices))  # type: ignore[attr-defined]
        targets = rows["tokens"]
        choice, kind, spread = (_uniform(self.seed, stream, indices, targets.shape[1]) for stream in range(3))
        chosen = (choice < self.rate) & (rows["token_mask"] != 0) & ~np.isin(targets, self.never)
        other = self.random_from + (spread * (self.vocabulary_size - self.random_from)).astype(targets.dtype)
        hidden = np.where(kind < self.masked, targets.dtype.type(self.mask_token), targets)
        hidden = np.where(kind >= 1 - self.random, other, hidden)
        tokens = np.where(chosen, hidden, targets)
        return {**rows, "tokens": tokens, "targets": targets, "target_mask": chosen.astype(np.float32)}

    def describe(self, index: int) -> str:
        """As the source says it."""
        return self.source.describe(index) if hasattr(self.source, "describe") else f"example {index}"


def _uniform(seed: int, stream: int, rows: np.ndarray, length: int) -> np.ndarray:
    """Numbers in [0, 1), (B, length), each a hash of the seed, the stream, the row and the place."""
    start = _mixed(np.full(1, seed * 3 + stream, np.uint64))
    row_B1 = _mixed(start ^ np.asarray(rows, np.uint64))[:, None]
    return (_mixed(row_B1 ^ np.arange(length, dtype=np.uint64)[None]) >> np.uint64(11)) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    """The output function of SplitMix64 (Steele et al. 2014); products wrap around."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
