import numpy as np
import pytest

from jaxdl.data.text import (
    Records,
    part_of,
    python_reference,
    read_lines,
    tokenized,
    tokenizer_of,
    train_tokenizer,
)
from jaxdl.errors import DataError


def test_the_reference_is_real_text_of_some_size():
    (text,) = python_reference().fields["text"]
    assert len(text) > 400_000
    assert "The Python" in text
    assert "\ufffd" not in text


def test_its_paragraphs_are_its_text_again():
    whole, parts = python_reference(), python_reference(unit="paragraph")
    assert len(parts) > 1_000
    assert " ".join(parts.fields["text"]).split() == whole.fields["text"][0].split()
    assert all(text == text.strip() and text for text in parts.fields["text"])
    assert len(set(parts.places)) == len(parts)


@pytest.mark.parametrize("kind", ["character", "byte", "bpe"])
def test_parts_and_tokenizer_of_a_file(tmp_path, kind):
    file = tmp_path / "text.txt"
    file.write_text("Der Käse ist müde.\n" * 30)
    records = read_lines(path=str(file), unit="file")
    tokenizer = tokenizer_of(records=records, kind=kind, vocabulary_size=270)
    stream = tokenized(records=records, tokenizer=tokenizer)
    first, last = part_of(stream=stream, end=0.9), part_of(stream=stream, begin=0.9)
    assert len(first) == int(0.9 * len(stream))
    np.testing.assert_array_equal(np.concatenate([first.tokens, last.tokens]), stream.tokens)
    assert tokenizer.decode(stream.tokens) == file.read_text()
    assert stream.spans.sum() == len(file.read_bytes())
    with pytest.raises(DataError, match="is empty"):
        part_of(stream=stream, begin=1.0)


def test_a_token_of_more_bytes_than_are_counted_is_refused():
    tokenizer = train_tokenizer(["some words of a corpus"] * 20, kind="wordpiece", vocabulary_size=40)
    records = Records(fields={"text": ("x" * 70_000,)}, places=("a.txt:7",))
    with pytest.raises(DataError, match=r"a\.txt:7: a token stands for 70,000 bytes"):
        tokenized(records=records, tokenizer=tokenizer)
