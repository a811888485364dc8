"""From speech to text. Letters: B batch, F frames, S those of the model, T target tokens, N new ones, V vocabulary."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.data.text import Records, Tokenizer
from jaxdl.decoding import Decoded, Step
from jaxdl.errors import ConfigError, DataError
from jaxdl.losses import ctc, least_frames
from jaxdl.metrics import transcription
from jaxdl.metrics.mean import Mean
from jaxdl.tasks.translation import Translation, outside, references_of, texts_of
from jaxdl.types import Array, Batch, Metric, PyTree


@dataclasses.dataclass(frozen=True, kw_only=True)
class CtcTranscription:
    """Rows of `jaxdl.data.audio.SpeechRows`, for a model that says for each frame which token it hears, or none.

    The loss is connectionist temporal classification (Graves et al. 2006), in nats per token, its end token apart. The
    model gives `logits` and `lengths`, as `Conformer` does. A row with fewer frames than its text needs has no loss and
    counts as "impossible". Predictions take the likeliest token of each frame.

    Attributes:
      vocabulary_size: V; the model's logits are as many.
      blank: The token that stands for none; that of padding, which no text holds.
    """

    vocabulary_size: int
    blank: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.blank < self.vocabulary_size:
            raise ValueError(f"blank={self.blank} is outside the vocabulary [0, {self.vocabulary_size}).")

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`features` (B, F, M) float32 and `lengths` (B,)."""
        return {"features": jnp.asarray(batch["mel"], jnp.float32), "lengths": jnp.asarray(batch["lengths"])}

    def score(self, outputs: Mapping[str, jax.Array], batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss of logits (B, S, V), and the share of rows that are "impossible"."""
        if outputs["logits"].shape[-1] != self.vocabulary_size:
            raise ConfigError(
                f"The model gives {outputs['logits'].shape[-1]} numbers for a frame, but the vocabulary has "
                f"{self.vocabulary_size}: give the model vocab_size={self.vocabulary_size}."
            )
        labels_BT, mask_BT = _labels(batch)
        count_B = jnp.sum(mask_BT, axis=1)
        loss_B = ctc(outputs["logits"], outputs["lengths"], labels_BT, mask_BT, blank=self.blank)
        impossible_B = outputs["lengths"] < least_frames(labels_BT, mask_BT)
        real_B = jnp.asarray(batch["mask"], jnp.float32)
        weight_B = jnp.where(impossible_B, 0.0, count_B * real_B)
        loss = Mean.of(jnp.where(impossible_B, 0.0, loss_B) / jnp.maximum(count_B, 1), weight_B)
        return loss, {"impossible": Mean.of(impossible_B, real_B)}

    def measure(self, outputs: Mapping[str, jax.Array], batch: Batch) -> dict[str, Metric]:
        """The shares of rows that are "impossible", and that are transcribed without an error, "exact"."""
        labels_BT, mask_BT = _labels(batch)
        found, lengths_B, _ = best_path(outputs["logits"], outputs["lengths"], blank=self.blank)
        width = max(found.shape[1], labels_BT.shape[1])
        labels_BW = _filled(jnp.where(mask_BT != 0, labels_BT, self.blank), width, self.blank)
        same_B = jnp.all(_filled(found, width, self.blank) == labels_BW, axis=1)
        exact_B = same_B & (lengths_B == jnp.sum(mask_BT, axis=1))
        _, metrics = self.score(outputs, batch)
        return metrics | {"exact": Mean.of(exact_B, batch["mask"])}

    def decode(self, outputs: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """`tokens` (B, S) int32, `length` (B,), and `score` (B,), the log-probability of the likeliest path."""
        tokens, lengths, scores = best_path(outputs["logits"], outputs["lengths"], blank=self.blank)
        return {"tokens": tokens, "length": lengths, "score": scores}

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every row with a bad target or without a frame.

        Raises:
          DataError: a key is missing.
        """
        found = dict(_bad(batch, self.vocabulary_size))
        labels, mask = (np.asarray(one) for one in _labels(batch))
        for row in np.flatnonzero(((labels == self.blank) & (mask != 0)).any(axis=1)):
            found.setdefault(int(row), f"the token {self.blank} is the blank, which no text may hold")
        return sorted(found.items())


def best_path(logits_BSV: Array, lengths_B: Array, *, blank: int = 0) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The tokens (B, S) int32 of the likeliest class of each frame, how many they are, and the log-probability (B,).

    Equal classes that follow one another are one token, and blanks are none (Graves et al. 2006, section 3.2). Behind
    the tokens stand blanks.

    >>> path = jax.nn.one_hot(jnp.array([[0, 2, 2, 0, 2, 1]]), 3)
    >>> best_path(path, jnp.array([6]))[0]
    Array([[2, 2, 1, 0, 0, 0]], dtype=int32)

    Args:
      logits_BSV: Of the classes in each frame.
      lengths_B: Frames of each row.
      blank: The class that stands for no token.
    """
    logs_BSV = jax.nn.log_softmax(jnp.asarray(logits_BSV, jnp.float32))
    best_BS = jnp.argmax(logs_BSV, axis=-1).astype(jnp.int32)
    rows, frames = best_BS.shape
    inside_BS = jnp.arange(frames)[None] < jnp.asarray(lengths_B)[:, None]
    before_BS = jnp.concatenate([jnp.full((rows, 1), -1, jnp.int32), best_BS[:, :-1]], axis=1)
    kept_BS = inside_BS & (best_BS != blank) & (best_BS != before_BS)
    places_BS = jnp.where(kept_BS, jnp.cumsum(kept_BS, axis=1) - 1, frames)
    tokens = jnp.full((rows, frames), blank, jnp.int32)
    tokens = tokens.at[jnp.arange(rows)[:, None], places_BS].set(best_BS, mode="drop")
    scores_B = jnp.sum(jnp.where(inside_BS, jnp.max(logs_BSV, axis=-1), 0), axis=1)
    return tokens, jnp.sum(kept_BS, axis=1, dtype=jnp.int32), scores_B


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transcription:
    """Rows of `jaxdl.data.audio.SpeechRows`, for a model that writes token by token what it hears, such as `Whisper`.

    The loss is the mean over target tokens, the end included. Predictions are what a search finds; the model needs
    `encode`, `decode` and `empty_cache`, as `Whisper` has them. It sees the silence behind a recording, too, so that
    rows should be of one width in training and afterwards.

    Attributes:
      vocabulary_size: V.
      begin: The token that targets begin with; 2 in a tokenizer that was trained here.
      end: The token that ends them; there 3.
      pad: What fills up rows; there 0.
      label_smoothing: Share of the target that is spread over the vocabulary (Szegedy et al. 2016).
      beams: Of the search; 1 always takes the likeliest token.
      length_penalty: Of the search, as in `jaxdl.decoding.beam_search`.
      longest: N, the most new tokens, the end included.
    """

    vocabulary_size: int
    begin: int = 2
    end: int = 3
    pad: int = 0
    label_smoothing: float = 0.1
    beams: int = 1
    length_penalty: float = 0.6
    longest: int = 100

    def __post_init__(self) -> None:
        if self.longest < 1:
            raise ValueError(f"longest must be at least 1, not {self.longest}.")
        assert self._text is not None

    @property
    def _text(self) -> Translation:
        """What is the same whatever the text is made from."""
        fields = dataclasses.asdict(self)
        del fields["longest"]
        return Translation(**fields)

    def inputs(self, batch: Batch) -> dict[str, jax.Array]:
        """`features` (B, F, M) float32, and `targets` (B, T), those that the decoder reads."""
        return {"features": jnp.asarray(batch["mel"], jnp.float32), "targets": jnp.asarray(batch["targets_in"])}

    def score(self, outputs: jax.Array, batch: Batch) -> tuple[Mean, dict[str, Metric]]:
        """The loss of logits (B, T, V) per token in nats, and "accuracy"."""
        return self._text.score(outputs, batch)

    def measure(self, outputs: jax.Array, batch: Batch) -> dict[str, Metric]:
        """Per token "accuracy", and without smoothing "nll" and "perplexity"."""
        return self._text.measure(outputs, batch)

    def predict(self, model: Any, variables: PyTree, batch: Batch) -> Decoded:
        """Searches for what is said in `mel` (B, F, M): one text a row, the best."""
        for name in ("encode", "decode", "empty_cache"):
            if not hasattr(model, name):
                raise ConfigError(f"A {type(model).__name__} cannot be searched: it has no `{name}`.")
        most = getattr(model, "max_length", self.longest)
        if most < self.longest:
            raise ConfigError(f"The model writes at most {most} tokens: give the task longest={most} or less.")
        features = jnp.asarray(batch["mel"], jnp.float32)
        context = model.apply(variables, features, train=False, method="encode")
        step = _stepping(model, variables)
        first_B = jnp.full(len(features), self.begin, jnp.int32)
        cache = model.empty_cache(len(features), self.longest + 1)
        logits, cache = model.apply(variables, first_B[:, None], context, cache=cache, train=False, method="decode")
        return self._text.search(step, logits[:, -1], cache, count=self.longest)

    def decode(self, outputs: Decoded) -> dict[str, jax.Array]:
        """`tokens` (B, N) int32, `length` (B,) without the end token, and `score` (B,), of what `predict` found."""
        return self._text.decode(outputs)

    def check(self, batch: Mapping[str, np.ndarray]) -> list[tuple[int, str]]:
        """`(row, reason)` of every row with a target outside the vocabulary, or without a frame.

        Raises:
          DataError: a key is missing.
        """
        return _bad(batch, self.vocabulary_size)


def _stepping(model: Any, variables: PyTree) -> Step:
    def step(cache: PyTree, tokens_B: jax.Array) -> tuple[jax.Array, PyTree]:
        logits, cache = model.apply(variables, tokens_B[:, None], None, cache=cache, train=False, method="decode")
        return logits[:, -1], cache

    return step


def _labels(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Targets (B, T) and their mask, in which the end token, the last of each row, is masked too."""
    mask_BT = jnp.asarray(batch["target_mask"], jnp.float32)
    return jnp.asarray(batch["targets"]), jnp.pad(mask_BT[:, 1:], ((0, 0), (0, 1)))


def _filled(tokens: jax.Array, width: int, blank: int) -> jax.Array:
    return jnp.pad(tokens, ((0, 0), (0, width - tokens.shape[1])), constant_values=blank)


def _bad(batch: Mapping[str, np.ndarray], vocabulary_size: int) -> list[tuple[int, str]]:
    for name in ("mel", "lengths"):
        if name not in batch:
            raise DataError(f"Transcription needs {name!r}; there is {', '.join(batch)}.")
    found = dict(outside(batch, vocabulary_size))
    for row in np.flatnonzero(np.asarray(batch["lengths"]) < 1):
        found.setdefault(int(row), "there is no frame in it")
    return sorted(found.items())


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TranscriptionReport:
    """Word and character error rates of an evaluation, "wer" and "cer" in percent: a `report` of `Evaluation`.

    Attributes:
      tokenizer: Of the text.
      records: The records of the evaluation's `SpeechRows`, whose texts are the references; None to take the text of
        the target's tokens, which is the same where the tokenizer loses nothing and no target was cut.
      text_field: The field of the records that is said.
      normalizer: What both texts go through first; see `jaxdl.metrics.transcription.normalized`.
    """

    tokenizer: Tokenizer
    records: Records | None = None
    text_field: str = "text"
    normalizer: transcription.Normalizer = "words"

    def __post_init__(self) -> None:
        transcription.normalized("", self.normalizer)
        if self.records is not None and self.text_field not in self.records.fields:
            raise ConfigError(
                f"The records have no field {self.text_field!r}; they have {', '.join(self.records.fields)}."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The results."""
        return transcription.NAMES

    @property
    def signatures(self) -> dict[str, str]:
        """The definition of each result."""
        return transcription.signatures(self.normalizer)

    def statistics(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> np.ndarray:
        """The errors and lengths of each text (N, 4)."""
        heard: list[str] = []
        said: list[str] = []
        for decoded, batch in predictions:
            heard += texts_of(self.tokenizer, decoded["tokens"], decoded["length"])
            said += references_of(self.tokenizer, self.records, self.text_field, batch)
        return transcription.statistics(heard, said, normalizer=self.normalizer)

    def values(self, sums: np.ndarray) -> dict[str, float]:
        """The results of summed errors and lengths (4,)."""
        return transcription.values(sums)

    def __call__(self, predictions: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> dict[str, float]:
        """The results."""
        return self.values(self.statistics(predictions).sum(axis=0))
