"""Decoding beside `generate` of transformers, on the same tiny random GPT-2."""

import jax
import numpy as np
import pytest

from jaxdl.decoding import beam_search, generate, prefill, stepping
from jaxdl.interop.families import gpt2

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.reference import make, read, saved  # noqa: E402

TINY = {"vocab_size": 40, "n_positions": 32, "n_embd": 24, "n_layer": 2, "n_head": 3, "initializer_range": 0.3}
PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 30]]
END, PAD, COUNT = 11, 39, 12


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Theirs; ours with its variables."""
    theirs = make(transformers.GPT2LMHeadModel, transformers.GPT2Config(**TINY, eos_token_id=END, pad_token_id=PAD))
    tensors, config = saved(theirs, tmp_path_factory.mktemp("model"))
    model = gpt2.model_from(config)
    return theirs, model, read(model, tensors, gpt2.layout(), {"tokens": np.zeros((1, 3), np.int32)})


def padded(left):
    """Tokens and mask, padded before for them and behind for us."""
    tokens, mask = np.full((3, 5), PAD, np.int32), np.zeros((3, 5), np.int32)
    for row, prompt in enumerate(PROMPTS):
        where = slice(5 - len(prompt), 5) if left else slice(0, len(prompt))
        tokens[row, where], mask[row, where] = prompt, 1
    return tokens, mask


def generated(theirs, **options):
    tokens, mask = (torch.tensor(x, dtype=torch.long) for x in padded(left=True))
    with torch.no_grad():
        made = theirs.generate(
            tokens, attention_mask=mask, max_new_tokens=COUNT, do_sample=False, pad_token_id=PAD, **options
        )
    made = np.asarray(made)[:, 5:]
    return np.where(made == END, PAD, np.pad(made, ((0, 0), (0, COUNT - made.shape[1])), constant_values=PAD))


@pytest.mark.parametrize("options", [{}, {"min_new_tokens": 6}, {"repetition_penalty": 1.5}], ids=str)
def test_greedy_equals_theirs(models, options):
    from jaxdl.decoding import Sampling

    theirs, model, variables = models
    expected = generated(theirs, **options)
    sampling = Sampling(temperature=0, repetition_penalty=options.get("repetition_penalty", 1.0))
    made = generate(
        model,
        variables,
        *padded(left=False),
        key=jax.random.key(0),
        count=COUNT,
        sampling=sampling,
        end=END,
        pad=PAD,
        least=options.get("min_new_tokens", 0),
    )
    np.testing.assert_array_equal(made.tokens, expected)


@pytest.mark.parametrize("beams", [2, 5])
def test_beams_equal_theirs(models, beams):
    theirs, model, variables = models
    expected = generated(theirs, num_beams=beams, length_penalty=0.0, num_return_sequences=beams, early_stopping=False)
    tokens, mask = padded(left=False)
    logits, cache = prefill(model, variables, tokens, mask, COUNT)
    made = beam_search(stepping(model, variables), logits, cache, count=COUNT, beams=beams, end=END, pad=PAD)
    np.testing.assert_array_equal(made.tokens[:, 0], expected.reshape(3, beams, COUNT)[:, 0])
