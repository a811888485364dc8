import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data import Pipeline
from jaxdl.data.text import CorruptSpans, PackedRows, Records, tokenized, train_tokenizer

BEGIN, END, PAD, TEXT = 2, 3, 0, 10


def rebuilt(source, target, first):
    """The text, by the rules alone: each sentinel of the source gives way to what follows it in the target."""
    spans, now = {}, None
    for token in target:
        if token > first - 100:
            now = spans.setdefault(int(token), [])
        else:
            now.append(int(token))
    text = []
    for token in source:
        text += spans[int(token)] if int(token) in spans else [int(token)]
    return text


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(2, 80),
    rate=st.floats(0.05, 0.9),
    mean=st.floats(1, 6),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_source_and_target_together_are_the_text(length, rate, mean, seed, data):
    real = data.draw(st.integers(2, length))
    transform = CorruptSpans(first_sentinel=999, rate=rate, mean_length=mean)
    tokens = np.arange(TEXT, TEXT + length, dtype=np.int32)
    mask = (np.arange(length) < real).astype(np.float32)
    row = transform.random_map({"tokens": tokens, "token_mask": mask}, np.random.default_rng(seed))
    taken, spans = transform.sizes(real)
    source = row["tokens"][row["token_mask"] == 1]
    target = row["targets"][row["target_mask"] == 1]
    assert source[-1] == target[-1] == END
    assert rebuilt(source[:-1], target[:-1], 999) == tokens[:real].tolist()
    assert len(target) == taken + spans + 1
    assert len(source) == real - taken + spans + 1
    assert target[0] == 999
    assert row["targets_in"].tolist() == [BEGIN, *row["targets"][:-1]]
    most, places = transform.sizes(length)
    assert row["tokens"].shape == (length - most + places + 1,)
    assert row["targets"].shape == (most + places + 1,)
    assert (row["tokens"][row["token_mask"] == 0] == PAD).all()


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=9), length=st.integers(2, 40), seed=st.integers(0, 99))
def test_packed_documents_lose_no_token(sizes, length, seed):
    text = "abcdefghijklmnopqrst"
    tokenizer = train_tokenizer([text], kind="character")
    records = Records(fields={"text": [text[:size] for size in sizes]}, places=[f"f:{i}" for i in range(len(sizes))])
    stream = tokenized(records=records, tokenizer=tokenizer)
    source, spans = PackedRows(stream=stream, length=length), CorruptSpans(first_sentinel=999)
    found = []
    for row in range(len(source)):
        made = spans.random_map(source[row], np.random.default_rng(seed))
        taken, given_up = made["tokens"][made["token_mask"] == 1], made["targets"][made["target_mask"] == 1]
        found += rebuilt(taken[:-1], given_up[:-1], 999)
    read = len(source) * length  # The last token of the stream may be a target only.
    assert found == stream.tokens[:read].tolist()


def test_padding_within_a_row_is_refused():
    row = {"tokens": np.arange(TEXT, TEXT + 4), "token_mask": np.float32([1, 0, 1, 1])}
    with pytest.raises(ValueError, match="token_mask has padding before the last of its 3 tokens"):
        CorruptSpans(first_sentinel=99).random_map(row, np.random.default_rng(0))


def test_every_split_is_as_likely_as_another():
    # Two of five tokens in one span: three of text and the span can only be in this order; two spans of one token
    # each leave three tokens of text in two parts, of which there are two ways.
    transform = CorruptSpans(first_sentinel=999, rate=0.4, mean_length=1.0)
    rng = np.random.default_rng(0)
    rows = [transform.random_map({"tokens": np.arange(TEXT, TEXT + 5)}, rng)["tokens"] for _ in range(2_000)]
    share = np.mean([row[1] == 999 for row in rows])
    assert abs(share - 0.5) < 0.05


def test_the_sizes_are_those_of_the_t5_paper():
    # Raffel et al. 2020, section 3.1.4: 15 % in spans of 3 on average; 512 tokens give targets of 114 at the most.
    taken, spans = CorruptSpans(first_sentinel=32_099).sizes(512)
    assert taken / 512 == pytest.approx(0.15, abs=0.001)
    assert taken / spans == pytest.approx(3, abs=0.05)


def test_batches_are_a_function_of_the_seed_and_the_step():
    text = "the quick brown fox jumps over the lazy dog and runs away " * 20
    tokenizer = train_tokenizer([text], kind="character")
    stream = tokenized(records=Records(fields={"text": (text,)}, places=("here",)), tokenizer=tokenizer)
    spans = CorruptSpans(first_sentinel=tokenizer.vocabulary_size + 31)

    def batch(step, seed=0):
        pipeline = Pipeline(source=PackedRows(stream=stream, length=16), batch_size=4, transforms=(spans,), seed=seed)
        return pipeline[step]

    again, other, later = batch(0), batch(0, seed=1), batch(100)
    assert all(np.array_equal(batch(0)[name], again[name]) for name in again)
    assert not np.array_equal(batch(0)["tokens"], other["tokens"])
    assert not np.array_equal(batch(0)["tokens"], later["tokens"])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"rate": 0.0}, "rate"), ({"rate": 1.0}, "rate"), ({"mean_length": 0.5}, "mean_length")],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CorruptSpans(first_sentinel=99, **options)
    with pytest.raises(ValueError, match="first_sentinel"):
        CorruptSpans(first_sentinel=-1)


def test_rows_without_room_are_refused():
    transform = CorruptSpans(first_sentinel=0, mean_length=1.0, rate=0.5)
    with pytest.raises(ValueError, match="none to spare"):
        transform.random_map({"tokens": np.arange(1)}, np.random.default_rng(0))
    with pytest.raises(ValueError, match="sentinels"):
        transform.random_map({"tokens": np.arange(8)}, np.random.default_rng(0))
