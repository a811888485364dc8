"""Spans of a text taken out, to be filled in: rows for encoder-decoders from unlabelled text."""

import dataclasses

import numpy as np

from jaxdl.types import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class CorruptSpans:
    """Takes spans out of a row of tokens; what was taken out is the target (Raffel et al. 2020, section 3.1.4).

    A transform of a `Pipeline`, of rows with `tokens` (L,) and, where some are padding at the end, `token_mask` (L,),
    or of `PackedRows`, whose documents are taken for one text. A sentinel stands for each span in the source and comes
    before the span in the target; both close with the end token. The spans are as many and together as long as `rate`
    and `mean_length` say; where they are, and how long each is, is drawn from all ways to do so. A row begins with text
    and ends with a span.

    Gives the fields of `PairRows`: `tokens` and `token_mask` (S,), `targets`, `targets_in` and `target_mask` (T,).

    Attributes:
      first_sentinel: The id of the first span's sentinel; those of the others count down from it, as T5's do.
      begin: The token that targets begin with; T5 takes its padding.
      end: The token that closes source and target.
      pad: What fills up short rows.
      rate: Share of the tokens that is taken out.
      mean_length: Mean length of a span, in tokens.
    """

    first_sentinel: int
    begin: int = 2
    end: int = 3
    pad: int = 0
    rate: float = 0.15
    mean_length: float = 3.0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1 or self.mean_length < 1:
            raise ValueError(
                f"rate must be in (0, 1) and mean_length at least 1, not {self.rate} and {self.mean_length}."
            )
        if self.first_sentinel < 0:
            raise ValueError(f"first_sentinel must be an id, not {self.first_sentinel}.")

    def sizes(self, length: int) -> tuple[int, int]:
        """How many tokens of `length` are taken out, and in how many spans.

        >>> CorruptSpans(first_sentinel=99).sizes(512)
        (77, 26)
        """
        taken = min(max(round(length * self.rate), 1), length - 1)
        return taken, min(max(round(taken / self.mean_length), 1), taken, length - taken)

    def random_map(self, element: Example, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The row as source and target.

        Raises:
          ValueError: it has less than two tokens, or padding before its end, or fewer ids lie below the first sentinel
            than there are spans.
        """
        tokens = np.asarray(element["tokens"])
        real = _real(element, len(tokens))
        if real < 2:
            raise ValueError(f"a row of {real} tokens has none to spare")
        taken, spans = self.sizes(real)
        if self.first_sentinel - spans + 1 < 0:
            raise ValueError(f"{spans} spans need as many sentinels, from {self.first_sentinel} down to 0")
        lengths = np.stack([_parts(rng, real - taken, spans), _parts(rng, taken, spans)], axis=1)
        pieces = np.split(tokens[:real], np.cumsum(lengths)[:-1])
        sentinels = [[self.first_sentinel - number] for number in range(spans)]
        source = [part for pair in zip(pieces[::2], sentinels) for part in pair]
        target = [part for pair in zip(sentinels, pieces[1::2]) for part in pair]
        most, places = self.sizes(len(tokens))
        rows = {}
        rows["tokens"], rows["token_mask"] = self._row(source, len(tokens) - most + places + 1)
        rows["targets"], rows["target_mask"] = self._row(target, most + places + 1)
        rows["targets_in"] = np.concatenate([[self.begin], rows["targets"][:-1]]).astype(np.int32)
        return rows

    def _row(self, parts: list, width: int) -> tuple[np.ndarray, np.ndarray]:
        ids = np.concatenate([*parts, [self.end]]).astype(np.int32)
        row = np.full(width, self.pad, np.int32)
        row[: len(ids)] = ids
        return row, (np.arange(width) < len(ids)).astype(np.float32)


def _real(element: Example, length: int) -> int:
    """How many tokens of a row are no padding."""
    # The mask of packed rows is of the targets: 0 at the end of each document too.
    name = next((name for name in ("segments", "token_mask") if name in element), None)
    if name is None:
        return length
    there = np.asarray(element[name]) != 0
    real = int(np.count_nonzero(there))
    if not there[:real].all():
        raise ValueError(f"{name} has padding before the last of its {real} tokens: it must be at the end of a row")
    return real


def _parts(rng: np.random.Generator, total: int, count: int) -> np.ndarray:
    """`count` lengths of at least 1 that add up to `total`, each way of doing so as likely as another."""
    edges = np.sort(rng.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], edges, [total]]).astype(np.int64))
