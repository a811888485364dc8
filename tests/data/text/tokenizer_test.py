import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.text import Tokenizer, characters, load_tokenizer, train_tokenizer, utf8_bytes
from jaxdl.data.text.tokenizer import SPECIAL
from jaxdl.errors import ConfigError, DataError

CORPUS = ["The quick brown fox jumps over the lazy dog.", "Ünïcode: 日本語, naïve café.", "the the the"] * 4
KINDS = ("character", "byte", "bpe", "unigram", "wordpiece")


def trained(kind):
    return train_tokenizer(CORPUS, kind=kind, vocabulary_size=300)


@pytest.mark.parametrize("kind", ["character", "byte", "bpe"])
def test_what_the_vocabulary_knows_comes_back_as_it_was(kind):
    tokenizer = trained(kind)
    for text in CORPUS:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_bytes_hold_any_text(text):
    for tokenizer in (_bytes, _pairs):
        assert tokenizer.decode(tokenizer.encode(text)) == text


_bytes, _pairs = utf8_bytes(), train_tokenizer(["aa bb aab"] * 3, kind="bpe", vocabulary_size=264)


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_come_first_and_are_never_made_of_text(kind):
    tokenizer = trained(kind)
    assert [tokenizer.token(i) for i in range(len(SPECIAL))] == list(SPECIAL)
    roles = ("pad", "unknown", "begin", "end", "mask", "separator")
    assert [tokenizer.special(role) for role in roles] == list(range(6))
    assert tokenizer.encode("the fox").max() < tokenizer.vocabulary_size
    assert tokenizer.decode([2, *tokenizer.encode("the"), 3]).strip() == "the"


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_same_tokens(kind, tmp_path):
    tokenizer = trained(kind)
    tokenizer.save(tmp_path / "tokenizer.json")
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        np.testing.assert_array_equal(load_tokenizer(path=str(path)).encode(CORPUS[1]), tokenizer.encode(CORPUS[1]))


def test_the_library_of_hugging_face_reads_the_file(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer = trained("bpe")
    tokenizer.save(tmp_path / "tokenizer.json")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    assert theirs(CORPUS[0])["input_ids"] == tokenizer.encode(CORPUS[0]).tolist()


def test_many_texts_are_encoded_as_each_alone():
    tokenizer = trained("bpe")
    for one, many in zip(CORPUS, tokenizer.encode_all(CORPUS), strict=True):
        np.testing.assert_array_equal(tokenizer.encode(one), many)


def test_offsets_point_into_the_text():
    ids, offsets = trained("wordpiece").offsets("the quick")
    assert ["the quick"[begin:end] for begin, end in offsets] == ["the", "quick"]
    assert len(ids) == 2


def test_unknown_characters_are_the_unknown_token():
    tokenizer = characters(["ab"])
    assert tokenizer.encode("axb").tolist() == [6, 1, 7]
    assert tokenizer.unknown("xaéxb") == ("x", "é")
    assert tokenizer.unknown("ab") == utf8_bytes().unknown("é") == ()
    assert trained("wordpiece").unknown("the ∞ quick") == ("∞",)


def many_words():
    """Enough words with equal counts that whatever decides between equals shows."""
    rng = np.random.default_rng(0)
    letters = np.array(list("aeiounrstlmdkpé"))
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(3000)]
    return [" ".join(rng.choice(words, 12)) for _ in range(800)]


@pytest.mark.parametrize("kind", KINDS)
def test_training_again_gives_the_same_file(kind):
    texts = many_words()
    made = train_tokenizer(texts, kind=kind, vocabulary_size=600)
    for _ in range(3):
        assert train_tokenizer(iter(texts), kind=kind, vocabulary_size=600).json == made.json
    assert kind in ("character", "byte") or made.vocabulary_size == pytest.approx(600, abs=5)


def test_another_process_gives_the_same_file():
    code = "from tests.data.text import tokenizer_test as t; import hashlib\n"
    code += "for kind in ('unigram', 'wordpiece'):\n"
    code += "    made = t.train_tokenizer(t.many_words(), kind=kind, vocabulary_size=600)\n"
    code += "    print(hashlib.sha256(made.json.encode()).hexdigest())"
    told = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, **changed}
        ).stdout
        for changed in ({"PYTHONHASHSEED": "1", "RAYON_NUM_THREADS": "1"}, {"PYTHONHASHSEED": "2"})
    }
    assert len(told) == 1


def test_pieces_of_words_are_not_found_in_texts():
    made = train_tokenizer(CORPUS, kind="wordpiece", vocabulary_size=300)
    inner = next(made.token(i) for i in range(made.vocabulary_size) if made.token(i).startswith("##"))
    assert made.token(made.encode(inner)[0]) in ("#", "<unk>")


def test_unigram_pieces_hold_ends_of_lines():
    texts = ["one\ttwo\nthree\r\nfour  five "] * 20
    made = train_tokenizer(texts, kind="unigram", vocabulary_size=60)
    assert made.decode(made.encode(texts[0])) == texts[0]


def test_unigram_without_room_is_refused():
    with pytest.raises(ConfigError, match="vocabulary_size=12 does not fit these texts"):
        train_tokenizer(CORPUS, kind="unigram", vocabulary_size=12)


def test_what_cannot_be():
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(["", ""])
    with pytest.raises(ConfigError, match="above 262"):
        train_tokenizer(CORPUS, kind="bpe", vocabulary_size=100)
    with pytest.raises(ConfigError, match="'word'"):
        train_tokenizer(CORPUS, kind="word")
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        Tokenizer("{}")
    with pytest.raises(DataError, match="cannot be read"):
        load_tokenizer(path="nowhere")
    with pytest.raises(KeyError, match="no token 999"):
        characters(["a"]).token(999)
    with pytest.raises(DataError, match="no character"):
        characters([""])


def test_a_missing_role_is_named():
    import tokenizers

    bare = Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0}, unk_token="a")).to_str())
    assert bare.find("pad") is None
    with pytest.raises(ConfigError, match="'pad'"):
        bare.special("pad")
