"""Predictions for lines of text: translations, classes. Letters: B batch, S tokens, T tokens of a translation."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxdl import config as configs
from jaxdl.data.text import Tokenizer
from jaxdl.errors import ConfigError
from jaxdl.inference.loaded import Loaded
from jaxdl.tasks.text_classification import TextClassification
from jaxdl.tasks.translation import Translation, texts_of

LONGEST = 1024
"""The longest line that is translated, in tokens."""
_NARROWEST = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextPrediction:
    """What a model says of one line.

    Attributes:
      line: Its number, from 1.
      values: For a translation `translation` and `score`, a log-probability; else what the task decodes, such as
        `probabilities`. None where there is no answer.
      error: Why there is none.
    """

    line: int
    values: Mapping[str, Any] | None
    error: str | None = None


def predict_texts(
    loaded: Loaded, texts: Iterable[str], *, batch_size: int = 32, cut: int | None = None
) -> Iterator[TextPrediction]:
    """Predicts on lines as they come, in order, with the tokenizer of the run.

    A line to be classified is cut to the length that the model was trained with, as its training texts were. A blank
    line is translated by a blank line, and has no class.

    Args:
      loaded: From `load`.
      texts: The lines.
      batch_size: Lines a call; a call waits for as many.
      cut: Where a line to be translated is cut, in tokens; by default one of more than `LONGEST` has an error.

    Raises:
      ConfigError: the model does not read text, or was saved without a tokenizer.
    """
    if not isinstance(loaded.task, Translation | TextClassification):
        raise ConfigError(f"The task {type(loaded.task).__name__} has no predictions for lines of text.")
    if loaded.tokenizer is None:
        raise ConfigError("This model was saved without a tokenizer: set `tokenizer` in the experiment's config.")
    predict = jax.jit(lambda state, batch: loaded.task.decode(loaded.learner.predict(state, batch)))
    lines, longest = enumerate(texts, 1), _longest(loaded, cut)
    while chunk := list(itertools.islice(lines, batch_size)):
        rows = _encoded(loaded, loaded.tokenizer, [text for _, text in chunk], cut)
        good = [row for row, (_, text) in enumerate(chunk) if text.strip() and 0 < len(rows[row]) <= longest]
        outputs: Mapping[str, np.ndarray] = {}
        if good:
            batch = _batch([rows[row] for row in good], batch_size, loaded.tokenizer, longest)
            outputs = jax.device_get(predict(loaded.state, batch))
        place = {row: number for number, row in enumerate(good)}
        for row, (line, text) in enumerate(chunk):
            if row not in place:
                yield _unanswered(loaded, line, text, len(rows[row]))
                continue
            values = {name: output[place[row]] for name, output in outputs.items()}
            yield TextPrediction(line=line, values=_readable(loaded.tokenizer, values))


def _longest(loaded: Loaded, cut: int | None) -> int:
    """The most tokens of a row: a model may read no more than it was trained with."""
    if isinstance(loaded.task, Translation):
        return LONGEST if cut is None else cut
    (length,) = loaded.facts["example"]["tokens"]["shape"]
    return length


def _encoded(loaded: Loaded, tokenizer: Tokenizer, texts: Sequence[str], cut: int | None) -> list[np.ndarray]:
    """Token ids of texts, as the training data had them."""
    if isinstance(loaded.task, Translation):
        most = None if cut is None else cut - 1
        return [np.append(ids[:most], np.int32(loaded.task.end)) for ids in tokenizer.encode_all(texts)]
    length = _longest(loaded, cut)
    return [ids[:length] for ids in tokenizer.encode_all(texts, special=_special(loaded))]


def _special(loaded: Loaded) -> bool:
    """Whether the evaluation's source adds the tokens of the tokenizer's template."""
    evals = loaded.config["evals"] if "evals" in loaded.config else {}
    sources = [evals[name]["data"]["source"] for name in evals]
    return next((bool(source["special"]) for source in sources if "special" in source), True)


def _batch(rows: Sequence[np.ndarray], size: int, tokenizer: Tokenizer, longest: int) -> dict[str, np.ndarray]:
    """One of a few shapes, so that few programs are compiled, and none longer than what the model reads."""
    width = _NARROWEST
    while width < max(map(len, rows)):
        width *= 2
    width = min(width, longest)
    tokens = np.full((size, width), tokenizer.find("pad") or 0, np.int32)
    mask = np.zeros((size, width), np.float32)
    for number in range(size):
        ids = rows[min(number, len(rows) - 1)]  # Rows that nobody reads repeat the last.
        tokens[number, : len(ids)], mask[number, : len(ids)] = ids, 1
    return {"tokens": tokens, "token_mask": mask, "mask": np.ones(size, np.float32)}


def _readable(tokenizer: Tokenizer, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    if "length" not in values:
        return dict(values)
    (text,) = texts_of(tokenizer, values["tokens"][None], values["length"][None])
    return {"translation": text, "score": float(values["score"])}


def _unanswered(loaded: Loaded, line: int, text: str, tokens: int) -> TextPrediction:
    if text.strip():
        problem = f"its {tokens} tokens are more than {LONGEST}" if tokens else "there is no token in the line"
        return TextPrediction(line=line, values=None, error=problem)
    if isinstance(loaded.task, Translation):
        return TextPrediction(line=line, values={"translation": "", "score": 0.0})
    return TextPrediction(line=line, values=None, error="the line is blank")


def check_attention(loaded: Loaded, *, allow: Sequence[str] = ()) -> None:
    """Raises where there is no `attention_of`.

    Raises:
      ConfigError: the model is no translator with `attend`, as `RecurrentSeq2Seq` is, or has no tokenizer.
    """
    _attending(loaded, allow)


def _attending(loaded: Loaded, allow: Sequence[str]) -> tuple[Any, Tokenizer, Translation]:
    model: Any = configs.build(loaded.config["model"], allow=tuple(allow)) if "model" in loaded.config else None
    if not hasattr(model, "attend") or loaded.tokenizer is None or not isinstance(loaded.task, Translation):
        what = "This model" if model is None else f"A {type(model).__name__}"
        raise ConfigError(f"{what} has no attention to show: only a recurrent translator has.")
    return model, loaded.tokenizer, loaded.task


def attention_of(
    loaded: Loaded, text: str, translation: str, *, allow: Sequence[str] = ()
) -> tuple[np.ndarray, list[str], list[str]]:
    """The weights (T, S) of each target token's attention to the source, and the tokens of both, targets first.

    Raises:
      ConfigError: as `check_attention`.
    """
    model, tokenizer, task = _attending(loaded, allow)
    source, target = (np.append(ids, np.int32(task.end)) for ids in tokenizer.encode_all([text, translation]))
    targets = np.concatenate([[task.begin], target[:-1]]).astype(np.int32)
    variables = {"params": loaded.state.params, **loaded.state.model_state}
    _, weights = model.apply(variables, source[None], targets[None], None, method="attend")
    return np.asarray(weights[0]), _words(tokenizer, target), _words(tokenizer, source)


def _words(tokenizer: Tokenizer, ids: np.ndarray) -> list[str]:
    """Each token as text; a special one, or part of a character, as the vocabulary spells it."""
    words = [tokenizer.decode([one]).strip() for one in ids]
    return [word if word and "\ufffd" not in word else tokenizer.token(one) for word, one in zip(words, ids)]
