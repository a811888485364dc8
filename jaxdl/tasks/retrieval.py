"""How well images and texts find each other. Letters: N rows, K candidates, E features, B rows of a block."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxdl.errors import ConfigError

_BLOCK = 512


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RetrievalReport:
    """Recall of all pairs of an evaluation of `ImageText`: a `report` of `jaxdl.train.Evaluation`.

    Each row asks once in each direction, by its image for texts and by its text for images. `image_to_text_recall5` is
    the share of rows that have a right answer among the five candidates with the largest products. All texts of the
    evaluation are candidates, and all images, those that are the same counting once. Right are those of the row itself
    and of every row with the same query or the same `match`. Where candidates have equal products the right one comes
    last, so that vectors that are all the same find nothing.

    Attributes:
      at: The numbers of candidates to look at.
      zero_shot: Whether to give `zero_shot_accuracy` too, the share of rows whose `label` is the class that the task's
        `prompts` predict.
    """

    at: tuple[int, ...] = (1, 5, 10)
    zero_shot: bool = False

    def __post_init__(self) -> None:
        if not self.at or min(self.at) < 1 or len(set(self.at)) < len(self.at):
            raise ValueError(f"at must hold different positive numbers, not {self.at}.")

    @property
    def names(self) -> tuple[str, ...]:
        """The results."""
        recalls = (f"{way}_recall{k}" for way in ("image_to_text", "text_to_image") for k in self.at)
        return (*recalls, *(("zero_shot_accuracy",) if self.zero_shot else ()))

    def statistics(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> np.ndarray:
        """Of each row a one and then, result by result, whether it was a success (N, 1 + results)."""
        images, texts, label = [], [], []
        image_ids, text_ids, matches = _Numbers(), _Numbers(), _Numbers()
        for decoded, batch in predictions:
            self._check(decoded, batch)
            images.append(np.asarray(decoded["image"], np.float32))
            texts.append(np.asarray(decoded["text"], np.float32))
            image_ids.add(batch["image"])
            text_ids.add(np.where(batch["token_mask"] != 0, batch["tokens"], -1))
            count = len(images[-1])
            matches.add(batch["match"] if "match" in batch else np.arange(count) + len(matches.ids))
            label.append(decoded["label"] == batch["label"] if self.zero_shot else np.zeros(count))
        image_NE, text_NE = np.concatenate(images), np.concatenate(texts)
        to_text = ranks(image_NE, text_NE, query=image_ids.ids, candidate=text_ids.ids, match=matches.ids)
        to_image = ranks(text_NE, image_NE, query=text_ids.ids, candidate=image_ids.ids, match=matches.ids)
        columns = [np.ones(len(image_NE)), *(rank < k for rank in (to_text, to_image) for k in self.at)]
        return np.stack([*columns, *([np.concatenate(label)] if self.zero_shot else [])], axis=1).astype(np.float64)

    def values(self, sums: np.ndarray) -> dict[str, float]:
        """The results of summed rows."""
        return {name: float(value / sums[0]) for name, value in zip(self.names, sums[1:], strict=True)}

    def __call__(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, float]:
        """The results."""
        return self.values(self.statistics(predictions).sum(axis=0))

    def _check(self, decoded: Mapping[str, Any], batch: Mapping[str, Any]) -> None:
        if not {"image", "text"} <= set(decoded):
            raise ConfigError(f"RetrievalReport needs vectors of 'image' and 'text', not {', '.join(decoded)}.")
        if self.zero_shot and not ("label" in decoded and "label" in batch):
            missing = "the data has no 'label'" if "label" in decoded else "the task has no prompts"
            raise ConfigError(f"zero_shot=True cannot be: {missing}. Give it, or set zero_shot=False.")


def ranks(
    query_NE: np.ndarray,
    candidate_NE: np.ndarray,
    *,
    query: Sequence[int],
    candidate: Sequence[int],
    match: Sequence[int],
) -> np.ndarray:
    """How many wrong candidates come before the first right one, for each row (N,), from 0.

    Args:
      query_NE: The vectors that ask.
      candidate_NE: The vectors to be found, of the same rows.
      query: Number of the query of each row, equal for the same ones.
      candidate: Number of the candidate of each row, from 0 in the order of their first rows; it is looked for once.
      match: Number of the group of rows of each row, whose candidates are right.
    """
    _, first = np.unique(np.asarray(candidate), return_index=True)
    candidate_KE = candidate_NE[first]
    of_query, of_match = _sets(query, candidate), _sets(match, candidate)
    found = np.empty(len(query_NE), np.int64)
    for begin in range(0, len(query_NE), _BLOCK):
        products_BK = query_NE[begin : begin + _BLOCK] @ candidate_KE.T
        for row, products_K in enumerate(products_BK, begin):
            right = np.asarray(sorted(of_query[query[row]] | of_match[match[row]]))
            best = products_K[right].max()
            found[row] = np.sum(products_K >= best) - np.sum(products_K[right] >= best)
    return found


def _sets(keys: Sequence[int], candidates: Sequence[int]) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for key, candidate in zip(keys, candidates):
        found.setdefault(key, set()).add(candidate)
    return found


class _Numbers:
    """Numbers rows from 0, the same ones alike."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._known: dict[bytes, int] = {}

    def add(self, rows: np.ndarray) -> None:
        for row in np.asarray(rows):
            digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
            self.ids.append(self._known.setdefault(digest, len(self._known)))
