import dataclasses
import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import config as configs
from jaxdl.config import spec
from jaxdl.data import Pipeline
from jaxdl.data.text import PackedRows, Records, Tokenizer, python_reference, tokenized, utf8_bytes
from jaxdl.errors import CheckpointError, ConfigError, DataError
from jaxdl.inference import (
    GREEDY,
    Sampling,
    TextModel,
    beam_texts,
    export,
    generate_texts,
    load,
    stream_text,
    text_model,
)
from jaxdl.learners import Precision
from jaxdl.models import MLP
from jaxdl.models.gpt2 import GPT2
from jaxdl.models.lora import LoRA
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import LanguageModeling
from jaxdl.train import Evaluation, Experiment, train

PROMPTS = ("The first", "a", "one, two, three")
DRAW = Sampling(temperature=1.0, top_p=0.95, repetition_penalty=1.1)


@cache
def source(max_length=40, extra=3):
    """A model of bytes that draws everything, and three ids that its tokenizer does not have."""
    tokenizer = utf8_bytes()
    model = GPT2(
        vocab_size=tokenizer.vocabulary_size + extra, max_length=max_length, features=8, num_layers=1, num_heads=2
    )
    variables = model.init(jax.random.key(1), jnp.zeros((1, 2), jnp.int32))
    # The ids that no text has would be the likeliest.
    loud = jax.tree.map(lambda leaf: leaf * 4 if leaf.ndim > 1 else leaf, variables)
    return TextModel(model=model, variables=loud, tokenizer=tokenizer)


def test_streams_what_it_generates_whatever_the_chunk():
    expected = generate_texts(source(), PROMPTS[:1], max_tokens=24, sampling=DRAW, seed=5)[0]
    assert expected.text
    for chunk in (1, 30):
        pieces = list(stream_text(source(), PROMPTS[0], max_tokens=24, sampling=DRAW, seed=5, chunk=chunk))
        assert "".join(pieces) == expected.text
        assert len(pieces) > 1 or chunk == 30


@pytest.mark.parametrize("max_tokens", [12, 70])
def test_a_prompt_does_not_depend_on_the_others(max_tokens):
    """Neither on those of its batch nor on the size of the batch; also where the context fills up on the way."""
    options = {"max_tokens": max_tokens, "sampling": GREEDY, "min_tokens": max_tokens}
    whole = generate_texts(source(), PROMPTS, **options)
    for prompt, found in zip(PROMPTS, whole):
        alone = generate_texts(source(), [prompt], **options)[0]
        assert (alone.text, alone.tokens, alone.finish) == (found.text, max_tokens, "length")
        assert alone.score == pytest.approx(found.score, rel=1e-3)
    if max_tokens == 12:
        drawn = [generate_texts(source(), PROMPTS, max_tokens=12, sampling=DRAW, batch_size=size) for size in (2, 3)]
        assert [found.text for found in drawn[0]] == [found.text for found in drawn[1]]


def test_a_full_context_goes_on_from_its_last_half():
    """Against a loop without cache that does the same."""
    one, prompt = source(), "To be, or not to be"
    made = generate_texts(one, [prompt], max_tokens=60, sampling=GREEDY, min_tokens=60)[0]
    end, size = one.tokenizer.special("end"), one.tokenizer.vocabulary_size
    apply = jax.jit(lambda tokens: one.model.apply(one.variables, tokens, train=False)[0])
    context, drawn = one.tokenizer.encode(prompt).tolist(), []
    for _ in range(60):
        context = context[-20:] if len(context) == 40 else context
        row = np.zeros((1, 40), np.int32)
        row[0, : len(context)] = context
        logits = np.array(apply(row)[len(context) - 1, :size])
        logits[end] = -np.inf
        context.append(int(logits.argmax()))
        drawn.append(context[-1])
    whole = one.tokenizer.decode([*one.tokenizer.encode(prompt), *drawn]).rstrip("\ufffd")
    assert prompt + made.text == whole


def test_stop_strings_end_the_text():
    free = generate_texts(source(), PROMPTS[:1], max_tokens=30, sampling=DRAW, seed=5)[0]
    stop = free.text[4:6]
    at = free.text.index(stop)
    found = generate_texts(source(), PROMPTS[:1], max_tokens=30, sampling=DRAW, seed=5, stop=[stop])[0]
    assert (found.text, found.finish) == (free.text[:at], "stop")
    assert found.tokens < free.tokens
    assert found.score > free.score
    for chunk in (1, 30):
        pieces = stream_text(source(), PROMPTS[0], max_tokens=30, sampling=DRAW, seed=5, stop=[stop], chunk=chunk)
        assert "".join(pieces) == found.text


def favouring(token):
    """The model with weights that make one token the likeliest everywhere."""
    variables = jax.tree.map(jnp.copy, source().variables)
    embedding = variables["params"]["token_embedding"]["embedding"]
    variables["params"]["token_embedding"]["embedding"] = embedding.at[token].set(50.0)
    variables["params"]["final_norm"]["bias"] = jnp.full(8, 50.0)
    return dataclasses.replace(source(), variables=variables)


def test_the_end_token_ends_the_text():
    eager = favouring(source().tokenizer.special("end"))
    found = generate_texts(eager, PROMPTS, max_tokens=30, sampling=GREEDY)
    assert {(each.text, each.tokens, each.finish) for each in found} == {("", 0, "end")}
    found = generate_texts(eager, PROMPTS, max_tokens=30, sampling=GREEDY, min_tokens=4)
    assert {(each.tokens, each.finish) for each in found} == {(4, "end")}


def test_one_beam_is_greedy_and_more_beams_are_likelier():
    options = {"max_tokens": 10}
    greedy = generate_texts(source(), PROMPTS, sampling=GREEDY, **options)
    one = beam_texts(source(), PROMPTS, beams=1, **options)
    more = beam_texts(source(), PROMPTS, beams=6, **options)
    for alone, first, many in zip(greedy, one, more):
        assert alone.score <= first[0].score + 1e-3
        assert first[0].score <= many[0].score + 1e-3
        assert len(many) == 6
        assert all(a.score >= b.score for a, b in itertools.pairwise(many))


def test_ids_beyond_the_tokenizer_are_never_drawn():
    outside = source().tokenizer.vocabulary_size + 2
    loud = favouring(outside)
    logits = loud.model.apply(loud.variables, jnp.asarray([[7, 8]]), train=False)
    assert int(jnp.argmax(logits[0, -1])) == outside
    found = generate_texts(loud, ["ab"], max_tokens=5, sampling=GREEDY, min_tokens=5)[0]
    assert found.tokens == 5


def test_refuses_prompts_that_cannot_be_read():
    with pytest.raises(DataError, match="Prompt 2 is empty: give at least one token"):
        generate_texts(source(), ["a", ""])
    with pytest.raises(DataError, match="Prompt 2 holds half a character"):
        generate_texts(source(), ["a", "b\ud800"])
    with pytest.raises(DataError, match="Prompt 1 has 41 tokens, but the model reads 40: shorten it"):
        next(stream_text(source(), "x" * 41))
    assert generate_texts(source(), ["x" * 40], max_tokens=2)[0].tokens <= 2
    with pytest.raises(DataError, match=r"Prompt 1 and what may follow have 5 \+ 36 tokens, but .* of 40"):
        beam_texts(source(), ["x" * 5], max_tokens=36)


def test_refuses_models_that_write_no_text():
    with pytest.raises(ConfigError, match="A MLP writes no text: that takes a decoder with a cache"):
        TextModel(model=MLP(num_classes=3), variables={}, tokenizer=utf8_bytes())
    with pytest.raises(ConfigError, match="The tokenizer has 262 tokens, but the GPT2 only 10"):
        TextModel(model=GPT2(vocab_size=10), variables={}, tokenizer=utf8_bytes())


def corpus():
    """A little of the reference."""
    text = python_reference().fields["text"][0][:4000]
    return Records(fields={"text": (text,)}, places=("here",))


def experiment(**changes):
    rows = PackedRows(stream=tokenized(records=corpus(), tokenizer=utf8_bytes()), length=16)
    settings = {
        "steps": 3,
        "model": spec(GPT2, vocab_size=262, max_length=32, features=8, num_layers=1, num_heads=2),
        "task": spec(LanguageModeling, vocabulary_size=262),
        "optimizer": spec(optimizer, rule=spec(adam)),
        **{name: value for name, value in changes.items() if name in ("model", "precision")},
    }
    config = spec(Experiment, train=spec(Pipeline, source=None, batch_size=8), tokenizer=spec(utf8_bytes), **settings)
    made = Experiment(
        **{name: configs.build(value) if hasattr(value, "items") else value for name, value in settings.items()},
        train=Pipeline(source=rows, batch_size=8),
        evals={"val": Evaluation(data=Pipeline(source=rows, batch_size=8))},
        tokenizer=None if changes.get("tokenizer", True) is None else utf8_bytes(),
        tensorboard=False,
        steps_per_dispatch=2,
    )
    return made, {"config.json": configs.to_json(config)}


LORA = spec(
    LoRA,
    model=spec(GPT2, vocab_size=262, max_length=32, features=8, num_layers=1, num_heads=2),
    targets=(".*/query/kernel",),
    rank=2,
)


@pytest.mark.parametrize("variant", ["plain", "bfloat16"])
def test_the_tokenizer_goes_with_the_run_and_with_its_export(tmp_path, variant):
    half = {"precision": spec(Precision, params="bfloat16", compute="bfloat16")} if variant == "bfloat16" else {}
    made, record = experiment(**half)
    outcome = train(made, tmp_path / "run", record=record, quiet=True)
    assert {"val/loss", "val/perplexity", "val/bits_per_byte"} <= outcome.results.keys()
    # Bytes are the tokens, so that bits per byte are the loss in bits.
    assert outcome.results["val/bits_per_byte"] == pytest.approx(outcome.results["val/nll"] / np.log(2), rel=1e-3)
    loaded = load(tmp_path / "run")
    assert loaded.tokenizer == utf8_bytes()
    export(loaded, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.tokenizer == loaded.tokenizer
    texts = [
        generate_texts(text_model(one), ["The"], max_tokens=10, sampling=GREEDY, min_tokens=10)
        for one in (loaded, again)
    ]
    assert texts[0] == texts[1]
    if variant == "plain":
        (tmp_path / "run" / "tokenizer.json").write_text("{")
        with pytest.raises((CheckpointError, DataError), match=r"tokenizer\.json: This is no tokenizer\.json"):
            load(tmp_path / "run")


def test_a_model_without_tokenizer_takes_one(tmp_path):
    made, record = experiment(tokenizer=None)
    train(made, tmp_path, record=record, quiet=True)
    loaded = load(tmp_path)
    assert loaded.tokenizer is None
    assert not (tmp_path / "tokenizer.json").exists()
    with pytest.raises(ConfigError, match=r"was saved without a tokenizer: give its tokenizer\.json"):
        text_model(loaded)
    assert isinstance(text_model(loaded, tokenizer=utf8_bytes()).tokenizer, Tokenizer)
