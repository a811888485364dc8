"""From one text to another. Letters: B batch, S source tokens, T target tokens, N new tokens, W beams, V vocabulary."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.text import Records, Tokenizer
from jaxdl.decoding import GREEDY, Decoded, Step, beam_search, begin, decode
from jaxdl.errors import ConfigError, DataError
from jaxdl.losses import cross_entropy
from jaxdl.metrics.language import Perplexity
from jaxdl.metrics.mean import Mean
from jaxdl.metrics.translation import BleuTokenizer, TranslationScores
from jaxdl.types import Array, Batch, Metric, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class Translation:
    """Rows of `jaxdl.data.text.PairRows`, for any model from a sequence of tokens to another.

    The loss is the mean over target tokens, the end included. Predictions are what a search finds, token by token; the
    model needs `encode` and `decode`, as `Transformer`, `T5` and `RecurrentSeq2Seq` have them.

    Attributes:
      vocabulary_size: V of the target.
      begin: The token that targets begin with; 2 in a tokenizer that was trained here.
      end: The token that ends them; there 3.
      pad: What fills up rows; there 0.
      label_smoothing: Share of the target that is spread over the vocabulary (Szegedy et al. 2016).
      beams: W of the search; 1 always takes the likeliest token.
      length_penalty: Of the search, as in `jaxdl.decoding.beam_search`.
      longest: The most new tokens as a share of the source's tokens, beside `spare`.
      spare: New tokens beyond that.
    """

    vocabulary_size: int
    begin: int = 2
    end: int = 3
    pad: int = 0
    label_smoothing: float = 0.1
    beams: int = 4
    length_penalty: float = 0.6
    longest: float = 1.5
    spare: int = 10

    def __post_init__(self) -> None:
        for name in ("begin", "end", "pad"):
            if not 0 <= getattr(self, name) < self.vocabulary_size:
                raise ValueError(f"{name}={getattr(self, name)} is outside the vocabulary [0, {self.vocabulary_size}).")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), not {self.label_smoothing}.")
        if not 1 <= self.beams < self.vocabulary_size:
            raise ValueError(f"beams must be in [1, {self.vocabulary_size}), not {self.beams}.")
        if self.longest <= 0 or self.spare < 0:
            raise ValueError(f"longest must be positive and spare not negative: {self.longest}, {self.spare}.")

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`tokens` and `token_mask` (B, S), and `targets` (B, T), those that the decoder reads."""
        names = {"tokens": "tokens", "token_mask": "token_mask", "targets": "targets_in"}
        return {ours: jnp.asarray(batch[theirs]) for ours, theirs in names.items()}

    def score(self, outputs: jax.Array, batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss of logits (B, T, V) per token in nats, and "accuracy"."""
        if outputs.shape[-1] < self.vocabulary_size:
            raise ConfigError(
                f"The model gives {outputs.shape[-1]} numbers for a token, but the vocabulary has "
                f"{self.vocabulary_size}: give the model vocab_size={self.vocabulary_size} or more."
            )
        targets = jnp.asarray(batch["targets"])
        weight = jnp.asarray(batch["target_mask"], jnp.float32) * jnp.asarray(batch["mask"], jnp.float32)[:, None]
        loss = Mean.of(cross_entropy(outputs, targets, label_smoothing=self.label_smoothing), weight)
        return loss, {"accuracy": Mean.of(jnp.argmax(outputs, axis=-1) == targets, weight)}

    def measure(self, outputs: jax.Array, batch: Batch) -> dict[str, Metric]:
        """Per token "accuracy", and without smoothing "nll" and "perplexity"."""
        plain = dataclasses.replace(self, label_smoothing=0.0)
        nll, metrics = plain.score(outputs, batch)
        return metrics | {"nll": nll, "perplexity": Perplexity(nll=nll)}

    def predict(self, model: Any, variables: PyTree, batch: Batch) -> Decoded:
        """Searches for the translation of `tokens` (B, S): one a row, the best, whatever the row's padding."""
        tokens_BS = jnp.asarray(batch["tokens"])
        most = np.asarray([int(self.longest * length) + self.spare for length in range(tokens_BS.shape[1] + 1)])
        count, limit_B = int(most[-1]), jnp.asarray(most)[jnp.sum(jnp.asarray(batch["token_mask"]) != 0, axis=1)]
        step, logits_BV, state = started(model, variables, tokens_BS, batch["token_mask"], begin=self.begin, room=count)
        return self.search(step, logits_BV, state, count=count, limit=limit_B)

    def search(
        self, step: Step, logits_BV: jax.Array, state: PyTree, *, count: int, limit: Array | None = None
    ) -> Decoded:
        """The best of what follows a begin token, one a row.

        Args:
          step: One step of the model.
          logits_BV: Of the first new token.
          state: The model's.
          count: N.
          limit: The most new tokens of each row (B,), where they are fewer.
        """
        if self.beams == 1:
            first_B1 = jnp.full((len(logits_BV), 1), self.begin, jnp.int32)
            progress = begin(logits_BV, state, jax.random.key(0), first_B1, jnp.ones_like(first_B1))
            return decode(step, progress, count=count, limit=limit, sampling=GREEDY, end=self.end, pad=self.pad)[0]
        found = beam_search(
            step,
            logits_BV,
            state,
            count=count,
            beams=self.beams,
            end=self.end,
            pad=self.pad,
            length_penalty=self.length_penalty,
            limit=limit,
        )
        return jax.tree.map(lambda leaf: leaf[:, 0], found)

    def decode(self, outputs: Decoded) -> dict[str, jax.Array]:
        """`tokens` (B, N) int32, `length` (B,) without the end token, and `score` (B,), of what `predict` found."""
        return {"tokens": outputs.tokens, "length": outputs.lengths, "score": outputs.scores}

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every row with a target outside the vocabulary, or without a source.

        Raises:
          DataError: a key is missing.
        """
        for name in ("tokens", "token_mask"):
            if name not in batch:
                raise DataError(f"Translation needs {name!r}; there is {', '.join(batch)}.")
        found = dict(outside(batch, self.vocabulary_size))
        for row in np.flatnonzero(np.asarray(batch["token_mask"]).sum(axis=1) == 0):
            found.setdefault(int(row), "there is no token in its source")
        return sorted(found.items())


def outside(batch: Mapping[str, np.ndarray], vocabulary_size: int) -> list[tuple[int, str]]:
    """`(row, reason)` of every row with a target outside the vocabulary.

    Raises:
      DataError: targets are missing.
    """
    for name in ("targets_in", "targets", "target_mask"):
        if name not in batch:
            raise DataError(f"The task needs {name!r}; there is {', '.join(batch)}.")
    found: dict[int, str] = {}
    for name in ("targets_in", "targets"):
        low, high = batch[name].min(axis=1), batch[name].max(axis=1)
        for row in np.flatnonzero((low < 0) | (high >= vocabulary_size)):
            bad = int(low[row] if low[row] < 0 else high[row])
            found.setdefault(int(row), f"the token {bad} is outside the vocabulary [0, {vocabulary_size})")
    return sorted(found.items())


def started(
    model: Any, variables: PyTree, tokens_BS: Array, token_mask_BS: Array, *, begin: int, room: int
) -> tuple[Step, jax.Array, PyTree]:
    """An encoder-decoder after a source and the begin token: its step, the logits (B, V) that follow, and its state.

    Args:
      model: With `encode`, `decode` and `empty_cache`, or recurrent with `encode` and `decode` of one token.
      variables: Its variables.
      tokens_BS: The source.
      token_mask_BS: 1 for a token, 0 for padding.
      begin: The begin token.
      room: New tokens that a cache must hold.

    Raises:
      ConfigError: the model has no such methods.
    """
    if not (hasattr(model, "encode") and hasattr(model, "decode")):
        raise ConfigError(f"A {type(model).__name__} cannot be searched: it has no `encode` and `decode`.")
    rows = len(tokens_BS)
    run = _recurrent(model, variables) if not hasattr(model, "empty_cache") else _attending(model, variables)
    encoded = model.apply(variables, tokens_BS, token_mask=token_mask_BS, train=False, method="encode")
    first_B = jnp.full(rows, begin, jnp.int32)
    if not hasattr(model, "empty_cache"):
        return run, *run(encoded, first_B)
    cache = model.empty_cache(rows, room + 1)
    mask = jnp.asarray(token_mask_BS)
    logits, cache = model.apply(
        variables, first_B[:, None], encoded, token_mask=mask, cache=cache, train=False, method="decode"
    )
    return run, logits[:, -1], (cache, mask)


def _recurrent(model: Any, variables: PyTree) -> Step:
    def step(state: PyTree, tokens_B: jax.Array) -> tuple[jax.Array, PyTree]:
        logits, state, _ = model.apply(variables, state, tokens_B, method="decode")
        return logits, state

    return step


def _attending(model: Any, variables: PyTree) -> Step:
    def step(state: PyTree, tokens_B: jax.Array) -> tuple[jax.Array, PyTree]:
        cache, mask = state
        logits, cache = model.apply(
            variables, tokens_B[:, None], None, token_mask=mask, cache=cache, train=False, method="decode"
        )
        return logits[:, -1], (cache, mask)

    return step


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TranslationReport:
    """BLEU and chrF of all translations of an evaluation: a `report` of `jaxdl.train.Evaluation`.

    Attributes:
      tokenizer: Of the target.
      records: The records of the evaluation's `PairRows`, whose targets are the references; None to take the text of
        the target's tokens, which is the same where the tokenizer loses nothing and no target was cut.
      target_field: The field of the records that is the target.
      bleu_tokenizer: See `TranslationScores`.
      lowercase: Whether case does not count.
    """

    tokenizer: Tokenizer
    records: Records | None = None
    target_field: str = "target"
    bleu_tokenizer: BleuTokenizer = "13a"
    lowercase: bool = False

    def __post_init__(self) -> None:
        assert self._scores is not None

    @property
    def _scores(self) -> TranslationScores:
        return TranslationScores(bleu_tokenizer=self.bleu_tokenizer, lowercase=self.lowercase)

    @property
    def names(self) -> tuple[str, ...]:
        """The results."""
        return self._scores.names

    @property
    def signatures(self) -> dict[str, str]:
        """The signature of sacreBLEU of each result."""
        return self._scores.signatures

    def statistics(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> np.ndarray:
        """The counts of each sentence (N, K)."""
        hypotheses: list[str] = []
        references: list[str] = []
        for decoded, batch in predictions:
            hypotheses += texts_of(self.tokenizer, decoded["tokens"], decoded["length"])
            references += references_of(self.tokenizer, self.records, self.target_field, batch)
        return self._scores.statistics(hypotheses, references)

    def values(self, sums: np.ndarray) -> dict[str, float]:
        """The results of summed counts (K,)."""
        return self._scores.values(sums)

    def __call__(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, float]:
        """The results."""
        return self.values(self.statistics(predictions).sum(axis=0))


def references_of(tokenizer: Tokenizer, records: Records | None, field: str, batch: Mapping[str, Any]) -> list[str]:
    """The texts that the targets of a batch (B, T) stand for: the records' own, or where there are none the tokens'."""
    if records is None:
        lengths = (batch["target_mask"] != 0).sum(axis=1) - 1  # Without the end token.
        return texts_of(tokenizer, batch["targets"], lengths)
    return [records.fields[field][int(number)] for number in batch["record"]]


def texts_of(tokenizer: Tokenizer, tokens: np.ndarray, lengths: np.ndarray) -> list[str]:
    """The texts of rows of token ids (B, N), each as long as `lengths` (B,) says."""
    return [tokenizer.decode(row[: int(length)]).strip() for row, length in zip(tokens, lengths)]
