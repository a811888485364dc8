"""Fuzz targets: texts, token streams and tokenizers."""

import contextlib
import gzip
import json

import numpy as np

from jaxdl.cli.texts import read_text
from jaxdl.data.audio import recordings
from jaxdl.data.sources import CaptionedFiles
from jaxdl.data.text import (
    PackedRows,
    load_tokenizer,
    read_jsonl,
    read_lines,
    read_parallel,
    read_squad,
    read_stream,
    read_table,
    write_stream,
)
from jaxdl.errors import JaxdlError
from jaxdl.inference.answers import read_questions
from tests.security.fuzz_inputs import byte_tokens, folder, joined, split, written


def lines(data: bytes) -> None:
    for name in ("text.txt.gz", "text.txt"):
        path = written(name, data)
        with contextlib.suppress(JaxdlError):
            read_lines(path=path, on_bad="skip")
    read_lines(path=path)


def lines_seeds() -> tuple[bytes, ...]:
    text = "one line\r\nanother \u00fc\n\nthe last".encode()
    return (text, b"\xef\xbb\xbf" + text, gzip.compress(text, mtime=0), "a\u2028b\x85c\x00d\n".encode())


def jsonl(data: bytes) -> None:
    path = written("rows.jsonl", data)
    try:
        found = read_jsonl(path=path, fields={"text": "t", "label": "l"}, on_bad="skip")
        byte_tokens().encode_all(found.fields["text"])
    finally:
        read_jsonl(path=path, fields=("t",))


def jsonl_seeds() -> tuple[bytes, ...]:
    good = b'{"t": "a", "l": 1}\n{"t": "\\u00fc", "l": 2.5}\n\n'
    return (good, good + b'{"l": "x", "t": [1]}\n{"t": "b", "l": null}\n', b'{"t": "\\ud800", "l": 0}\n')


def table(data: bytes) -> None:
    for name, options in (("t.csv", {}), ("t.tsv", {"quoted": False}), ("u.csv", {"header": False})):
        path = written(name, data)
        fields = {"text": 0, "label": 1} if options.get("header") is False else ("text", "label")
        with contextlib.suppress(JaxdlError):  # The next reader wants to see the input too.
            read_table(path=path, fields=fields, on_bad="skip", **options)


def table_seeds() -> tuple[bytes, ...]:
    return (b'text,label\n"a ""b""\nc",1\nd,2\n', b"text\tlabel\na\t1\n", b"label,text,text\n1,2,3,4\n5\n")


def parallel(data: bytes) -> None:
    source, target = split(data, 2)
    paths = {"source": written("a.txt", source), "target": written("b.txt", target)}
    try:
        read_parallel(**paths, on_bad="skip")
    finally:
        read_parallel(**paths)


def parallel_seeds() -> tuple[bytes, ...]:
    return (joined(b"a\nb\n\n", b"x\ny\n\n"),)


def squad(data: bytes) -> None:
    path = written("squad.json", data)
    try:
        read_squad(path=path, on_bad="skip")
    finally:
        read_squad(path=path)


def squad_seeds() -> tuple[bytes, ...]:
    answer = {"answer_start": 4, "text": "Ann"}
    asked = {"id": "1", "question": "Who?", "answers": [answer], "is_impossible": False}
    none = {"id": 2, "question": "What?", "answers": [], "is_impossible": True}
    article = {"title": "T", "paragraphs": [{"context": "was Ann.", "qas": [asked, none]}]}
    return (json.dumps({"version": "2", "data": [article]}).encode(),)


def questions(data: bytes) -> None:
    read_questions(read_text(written("questions.jsonl", data)), place="questions.jsonl")


def questions_seeds() -> tuple[bytes, ...]:
    return (b'{"context": "It was Ann.", "question": "Who?"}\n',)


def speech(data: bytes) -> None:
    """A manifest of recordings."""
    for name in ("m.tsv", "m.jsonl"):
        with contextlib.suppress(JaxdlError):
            recordings(path=written(name, data), on_bad="skip")


def speech_seeds() -> tuple[bytes, ...]:
    return (b"path\ttext\na.wav\tone\n", b'{"path": "a.wav", "text": "one"}\n')


def transcript(data: bytes) -> None:
    """What is said in a recording, in a file beside it."""
    path = folder() / "transcripts"
    path.mkdir(exist_ok=True)
    (path / "a.wav").touch()
    (path / "a.txt").write_bytes(data)
    with contextlib.suppress(JaxdlError):
        recordings(path=str(path), on_bad="skip")
    byte_tokens().encode_all(recordings(path=str(path)).fields["text"])


def transcript_seeds() -> tuple[bytes, ...]:
    return ("good day, \u00fc\r\nand more".encode(), b"\xef\xbb\xbfone\x00two", b" \n")


def captions(data: bytes) -> None:
    """A table of images and captions, and the files that it names."""
    path = folder() / "captions"
    (path / "images").mkdir(parents=True, exist_ok=True)
    (path / "images" / "a.png").touch()
    records = read_table(path=written("captions/table.csv", data), fields={"image": 0, "text": 1}, header=False)
    source = CaptionedFiles(records=records, folder=str(path), tokenizer=byte_tokens(), length=8)
    for index in range(len(source)):
        with contextlib.suppress(JaxdlError):
            source[index]


def captions_seeds() -> tuple[bytes, ...]:
    inside = b'images/a.png,a dog\n./images/../images/a.png,"my, dog"\n'
    return (inside, b"../captions/images/a.png,one\n/dev/zero,x\n")


_STREAM_FILES = ("stream.json", "tokens.bin", "spans.bin", "starts.npy")


def token_stream(data: bytes) -> None:
    path = folder() / "stream"
    path.mkdir(exist_ok=True)
    for name, part in zip(_STREAM_FILES, split(data, 4), strict=True):
        (path / name).unlink(missing_ok=True)
        (path / name).write_bytes(part)
    stream = read_stream(folder=str(path))
    rows = PackedRows(stream=stream, length=4)
    rows.gather(np.arange(min(len(rows), 4)))
    stream.part(0.0, 1.0)


def token_stream_seeds() -> tuple[bytes, ...]:
    path = folder() / "sound_stream"
    write_stream(texts=["abc", "d", "ü and more"], tokenizer=byte_tokens(), folder=path)
    return (joined(*[(path / name).read_bytes() for name in _STREAM_FILES]),)


def tokenizer(data: bytes) -> None:
    made = load_tokenizer(path=written("tokenizer.json", data))
    made.decode(made.encode("some text, \u00fc \ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")))
    made.find("end")


def tokenizer_seeds() -> tuple[bytes, ...]:
    from jaxdl.data.text import train_tokenizer

    texts = ["the cat sat on the mat"] * 3
    made = [train_tokenizer(texts, kind="wordpiece", vocabulary_size=40), train_tokenizer(texts, kind="character")]
    made += [train_tokenizer(texts, kind="unigram", vocabulary_size=30)]
    return tuple(one.json.encode() for one in made)
