import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Pipeline, batches
from jaxdl.data.text import (
    PackedRows,
    Records,
    TextRows,
    TokenStream,
    characters,
    read_lines,
    read_stream,
    tokenized,
    train_tokenizer,
    write_stream,
)
from jaxdl.errors import ConfigError, DataError

ALPHABET = "abcdefghij 日é"
TOKENIZER = characters([ALPHABET])


def records(*texts, **fields):
    places = tuple(f"f.txt:{i + 1}" for i in range(len(texts)))
    return Records(fields={"text": texts, **fields}, places=places)


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(st.text(ALPHABET, min_size=1, max_size=12), min_size=1, max_size=6),
    length=st.integers(1, 9),
    stride=st.sampled_from([None, 1, 2]),
)
def test_rows_are_the_documents_token_for_token(texts, length, stride):
    stream = tokenized(records=records(*texts), tokenizer=TOKENIZER)
    source = PackedRows(stream=stream, length=length, stride=stride)
    rows = source.gather(np.arange(len(source)))
    end = TOKENIZER.special("end")
    whole = [(i, j, t) for i, text in enumerate(texts) for j, t in enumerate([*TOKENIZER.encode(text), end])]
    seen = set()
    for row in range(len(source)):
        start = row * (stride or length)
        for column in range(length):
            at = start + column
            if at >= len(whole):
                assert rows["token_mask"][row, column] == 0
                continue
            document, place, token = whole[at]
            assert rows["tokens"][row, column] == token
            first = max(at - place, start)
            assert rows["positions"][row, column] == at - first
            assert rows["segments"][row, column] == document - whole[start][0] + 1
            follows = at + 1 < len(whole) and whole[at + 1][0] == document
            assert rows["token_mask"][row, column] == follows
            if follows:
                assert rows["targets"][row, column] == whole[at + 1][2]
                seen.add(at)
    if stride is None:
        assert len(seen) == sum(len(text) for text in texts)
        # Every byte counts once, but those of each document's first token, which nothing predicts.
        first_bytes = sum(len(text[0].encode()) for text in texts)
        assert rows["target_bytes"].sum() == sum(len(text.encode()) for text in texts) - first_bytes


@pytest.mark.parametrize("kind", ["character", "byte", "bpe", "unigram", "wordpiece"])
def test_spans_sum_to_the_bytes_of_the_text(kind):
    texts = ("Hello wörld  日本, x ", "a b\nc", "zz")
    tokenizer = train_tokenizer(list(texts) * 5, kind=kind, vocabulary_size=300)
    stream = tokenized(records=records(*texts), tokenizer=tokenizer)
    ends = np.append(stream.starts[1:], len(stream))
    sizes = [stream.spans[a:b].sum() for a, b in zip(stream.starts, ends)]
    assert sizes == [len(text.encode()) for text in texts]


def test_a_stream_on_disk_is_the_one_in_memory(tmp_path):
    texts = ["abc", "defg", "hij a"] * 500
    write_stream(texts=iter(texts), tokenizer=TOKENIZER, folder=tmp_path)
    read, made = read_stream(folder=str(tmp_path)), tokenized(records=records(*texts), tokenizer=TOKENIZER)
    for name in ("tokens", "spans", "starts"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    assert read.vocabulary_size == TOKENIZER.vocabulary_size
    (tmp_path / "tokens.bin").write_bytes((tmp_path / "tokens.bin").read_bytes()[:-2])
    with pytest.raises(DataError, match="cut short"):
        read_stream(folder=str(tmp_path))
    with pytest.raises(DataError, match="no token stream"):
        read_stream(folder=str(tmp_path / "none"))


def test_parts_cut_between_documents():
    stream = tokenized(records=records("abc", "defg", "hi", "jab"), tokenizer=TOKENIZER)
    left, right = stream.part(0, 0.5), stream.part(0.5, 1)
    np.testing.assert_array_equal(np.concatenate([left.tokens, right.tokens]), stream.tokens)
    assert [len(left.starts), len(right.starts)] == [2, 2]
    one = tokenized(records=records("abcdefghij"), tokenizer=TOKENIZER)
    assert len(one.part(0.5, 1)) == 6
    assert len(stream.part(0.99, 1.0)) == 1, "no document begins there, so the last one is cut"
    middle = tokenized(records=records("a", "abcdefghij" * 9, "b"), tokenizer=TOKENIZER)
    message = r"f\.txt: the part from 0\.5 to 0\.6 of 95 tokens in 3 documents is empty: .* Choose other shares"
    with pytest.raises(DataError, match=message):
        middle.part(0.5, 0.6)


SHARES = st.floats(0, 1, allow_nan=False)


@settings(deadline=None, max_examples=200)
@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8), shares=st.lists(SHARES, max_size=3))
def test_parts_hold_every_token_once_and_two_are_never_empty(sizes, shares):
    count = sum(sizes)
    stream = TokenStream(
        tokens=np.arange(count, dtype=np.uint16), spans=np.ones(count, np.uint16),
        starts=np.cumsum([0, *sizes[:-1]]), vocabulary_size=count,
    )  # fmt: skip
    edges = [0.0, *sorted(shares), 1.0]
    parts = []
    for begin, end in itertools.pairwise(edges):
        try:
            parts.append(stream.part(begin, end))
        except DataError:
            assert len(shares) != 1 or count < 2 or not 0 < shares[0] < 1
    np.testing.assert_array_equal(np.concatenate([part.tokens for part in parts]), stream.tokens)
    inside = {0, count, *stream.starts.tolist()}
    for part in parts:
        assert part.starts[0] == 0
        begins = {int(part.tokens[start]) for start in part.starts}
        assert begins <= {int(part.tokens[0]), *stream.starts.tolist()}
        assert int(part.tokens[0]) in inside or int(part.tokens[0]) > stream.starts[-1], "only the last one is cut"


def test_the_last_of_several_files_may_be_larger_than_what_is_held_out(tmp_path):
    for name, size in (("a", 3), ("b", 5), ("c", 2000)):
        (tmp_path / f"{name}.txt").write_text("abcdefghij"[:size] if size < 10 else "jihg" * (size // 4))
    stream = tokenized(records=read_lines(path=str(tmp_path), unit="file"), tokenizer=TOKENIZER)
    train, val = stream.part(0.0, 0.99), stream.part(0.99, 1.0)
    assert (len(train) + len(val), len(val)) == (len(stream), 21)
    assert (train.starts.tolist(), val.starts.tolist()) == ([0, 4, 10], [0])
    assert stream.name == f"{tmp_path / 'a.txt'} and 2 more"
    assert tokenized(records=records("ab", "c"), tokenizer=TOKENIZER).name == "f.txt"


PIECES = train_tokenizer(["some words of a corpus"] * 20, kind="wordpiece", vocabulary_size=40)


def test_a_document_without_tokens_is_named_or_counted(tmp_path):
    texts = ["some words", "", "words", "x" * 70_000]
    with pytest.raises(DataError, match=r"^document 2: the tokenizer makes no token of ''\. .* on_bad='skip'"):
        write_stream(texts=texts, tokenizer=PIECES, folder=tmp_path)
    with pytest.raises(DataError, match=r"^corpus\.xml, page 7: the tokenizer makes no token"):
        write_stream(texts=texts[1:], tokenizer=PIECES, folder=tmp_path, places=("corpus.xml, page 7", "b", "c"))
    with pytest.raises(DataError, match=r"^document 1: a token stands for 70,000 bytes"):
        write_stream(texts=texts[3:], tokenizer=PIECES, folder=tmp_path)
    write_stream(texts=iter(texts), tokenizer=PIECES, folder=tmp_path, on_bad="skip")
    read = read_stream(folder=str(tmp_path))
    skipped = {"no token": 1, "an unknown text": 1}
    assert (read.skipped, read.part(0, 0.5).skipped) == (skipped, skipped)
    made = tokenized(records=records(*texts), tokenizer=PIECES, on_bad="skip")
    assert made.skipped == skipped
    for name in ("tokens", "spans", "starts"):
        np.testing.assert_array_equal(getattr(read, name), getattr(made, name))
    with pytest.raises(DataError, match=r"^f\.txt:2: the tokenizer makes no token"):
        tokenized(records=records(*texts), tokenizer=PIECES)
    with pytest.raises(DataError, match=r"f\.txt holds no text that gives tokens \({'no token': 1} left out\)"):
        tokenized(records=records(""), tokenizer=PIECES, on_bad="skip")
    with pytest.raises(DataError, match=r"No text is there to write to .*{'no token': 1} left out"):
        write_stream(texts=[""], tokenizer=PIECES, folder=tmp_path, on_bad="skip")


def test_streams_that_were_written_before_skipped_was_are_read(tmp_path):
    write_stream(texts=["abc"], tokenizer=TOKENIZER, folder=tmp_path)
    facts = json.loads((tmp_path / "stream.json").read_text())
    del facts["skipped"]
    (tmp_path / "stream.json").write_text(json.dumps(facts))
    assert read_stream(folder=str(tmp_path)).skipped == {}
    (tmp_path / "stream.json").write_text(json.dumps({**facts, "skipped": {"a": "b"}}))
    with pytest.raises(DataError, match="it is damaged"):
        read_stream(folder=str(tmp_path))


def test_any_number_of_processes_reads_the_same_rows():
    stream = TokenStream(
        tokens=np.arange(1000, dtype=np.uint16), spans=np.ones(1000, np.uint16), starts=np.array([0, 333]),
        vocabulary_size=1000,
    )  # fmt: skip
    source = PackedRows(stream=stream, length=16, stride=3)
    whole = Pipeline(source=source, batch_size=8, seed=3)
    parts = [Pipeline(source=source, batch_size=8, seed=3, shard=(i, 4)) for i in range(4)]
    for step, batch in enumerate(batches(whole, 0, 5)):
        joined = np.concatenate([part[step]["tokens"] for part in parts])
        np.testing.assert_array_equal(batch["tokens"], joined)


def test_texts_with_labels():
    source = TextRows(records=records("ab", "c", "defgh", label=("y", "x", "y")), tokenizer=TOKENIZER, length=3)
    rows = source.gather(np.array([0, 2, 1]))
    assert rows["token_mask"].tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert rows["tokens"][2].tolist() == [TOKENIZER.encode("c")[0], 0, 0]
    assert (source.labels, rows["label"].tolist()) == (("x", "y"), [1, 1, 0])
    assert source.truncated == 1
    assert source.describe(1) == "f.txt:2"


def test_what_does_not_fit():
    with pytest.raises(DataError, match=r"f\.txt:2: the label 'z' is none of x"):
        TextRows(records=records("a", "b", label=("x", "z")), tokenizer=TOKENIZER, length=3, labels=("x",))
    with pytest.raises(ConfigError, match="no field 'label'; they have text"):
        TextRows(records=records("a"), tokenizer=TOKENIZER, length=3)
    with pytest.raises(ValueError, match="at least 1"):
        PackedRows(stream=tokenized(records=records("ab"), tokenizer=TOKENIZER), length=0)
