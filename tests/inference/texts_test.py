"""Predictions for lines of text, by small models of random weights."""

import functools

import jax
import numpy as np
import pytest

from jaxdl.config import spec
from jaxdl.data.text import PairRows, Records, characters
from jaxdl.errors import ConfigError
from jaxdl.inference import check_attention, predict_texts
from jaxdl.inference.loaded import Loaded
from jaxdl.learners import supervised
from jaxdl.models.bert import Bert
from jaxdl.models.seq2seq import RecurrentSeq2Seq
from jaxdl.models.text_heads import TextClassifier
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import TextClassification, Translation

LETTERS = "abcdefghijklmnopqrst"


def loaded(model, task, batch, config=None, example=()):
    """What `load` gives, without training."""
    learner = supervised(model, task, optimizer(rule=adam()))
    state = learner.init(jax.random.key(0), batch)
    state = state.replace(params=jax.tree.map(lambda leaf: leaf * 2.5, state.params))
    facts = {"labels": ["left", "right"], "example": {"tokens": {"shape": example}}}
    return Loaded(
        learner=learner,
        state=state,
        task=task,
        preprocess=(),
        config={"evals": {}} | (config or {}),
        facts=facts,
        step=0,
        tokenizer=characters([LETTERS]),
    )


@functools.cache
def classifier():
    """A classifier of at most 20 tokens, which is no power of two."""
    encoder = Bert(
        vocab_size=40, max_length=20, num_types=0, features=8, num_layers=1, num_heads=2, hidden=8, pooler=False
    )
    batch = {"tokens": np.ones((2, 20), np.int32), "token_mask": np.ones((2, 20), np.float32)}
    batch |= {"label": np.zeros(2, np.int32), "mask": np.ones(2, np.float32)}
    model = TextClassifier(encoder=encoder, num_classes=2, pooling="mean")
    written = {"model": spec(TextClassifier, encoder=spec(Bert, vocab_size=40), num_classes=2)}
    return loaded(model, TextClassification(num_classes=2), batch, config=written, example=(20,))


def pairs(texts):
    records = Records(fields={"source": tuple(texts), "target": tuple(texts)}, places=tuple(texts))
    return PairRows(records=records, tokenizer=characters([LETTERS]), widths=(64,), too_long="cut")


@functools.cache
def translator():
    """A translator that seldom ends by itself."""
    task = Translation(vocabulary_size=characters([LETTERS]).vocabulary_size, beams=2)
    model = RecurrentSeq2Seq(vocab_size=task.vocabulary_size, embedding_dim=16, features=16)
    batch = pairs(["ab"]).gather(np.asarray([0])) | {"mask": np.ones(1, np.float32)}
    return loaded(model, task, batch)


def test_a_line_longer_than_any_power_of_two_that_the_model_reads_is_cut():
    found = list(predict_texts(classifier(), ["ab", "abcde" * 4, "abcde" * 30], batch_size=3))
    assert [one.error for one in found] == [None] * 3
    np.testing.assert_allclose(found[1].values["probabilities"], found[2].values["probabilities"], atol=1e-6)
    alone = next(predict_texts(classifier(), ["ab"], batch_size=1))
    np.testing.assert_allclose(alone.values["probabilities"], found[0].values["probabilities"], atol=1e-5)


def test_a_translation_is_that_of_the_evaluation_whatever_else_is_in_the_batch():
    texts = ["ab", "abcdefgh" * 5, "dcba", "t"]
    batch = pairs(texts).gather(np.arange(4)) | {"mask": np.ones(4, np.float32)}
    model = translator()
    evaluated = model.task.decode(jax.jit(model.learner.predict)(model.state, batch))
    together = list(predict_texts(model, texts, batch_size=4))
    alone = list(predict_texts(model, texts, batch_size=1))
    for row, one in enumerate(together):
        tokens = np.asarray(evaluated["tokens"][row, : int(evaluated["length"][row])])
        assert one.values["translation"] == model.tokenizer.decode(tokens).strip()
        assert alone[row].values["translation"] == one.values["translation"]
        assert one.values["score"] == pytest.approx(alone[row].values["score"], abs=1e-4)
        assert one.values["score"] == pytest.approx(float(evaluated["score"][row]), abs=1e-4)


def test_a_line_to_be_translated_is_refused_where_too_long_or_cut_as_in_training():
    long = "abcdefgh" * 130
    (refused,) = predict_texts(translator(), [long], batch_size=1)
    assert refused.error == "its 1041 tokens are more than 1024"
    kept, cut = predict_texts(translator(), ["abcdefghabc", long], batch_size=2, cut=12)
    assert cut.values["translation"] == kept.values["translation"]


def test_only_a_recurrent_translator_has_attention():
    with pytest.raises(ConfigError, match="A TextClassifier has no attention to show"):
        check_attention(classifier())
