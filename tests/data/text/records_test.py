import pytest

from jaxdl.data.text import read_jsonl, read_lines, read_parallel, read_table
from jaxdl.errors import DataError


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_lines(tmp_path):
    records = read_lines(path=write(tmp_path / "a.txt", "\ufeffone\r\n\n  \ntwo\n"))
    assert [record["text"] for record in records] == ["one", "two"]
    assert records.places[1].endswith("a.txt:4")


def test_a_folder_of_files(tmp_path):
    write(tmp_path / "b.txt", "b\n2")
    write(tmp_path / "a.txt", "a")
    assert list(read_lines(path=str(tmp_path)).fields["text"]) == ["a", "b", "2"]
    assert list(read_lines(path=str(tmp_path), unit="file").fields["text"]) == ["a", "b\n2"]


def test_another_encoding_is_named_or_left_out(tmp_path):
    path = write(tmp_path / "a.txt", b"good\nbad \xe9\nmore")
    with pytest.raises(DataError, match=r"a\.txt:2: is not utf-8: byte 0xe9 at column 5"):
        read_lines(path=path)
    records = read_lines(path=path, on_bad="skip")
    assert len(records) == 2
    assert records.skipped == {"not utf-8": 1}
    assert read_lines(path=path, encoding="latin1")[1]["text"] == "bad é"
    with pytest.raises(DataError, match="no encoding 'klingon'"):
        read_lines(path=path, encoding="klingon")


def test_json_lines(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"review": "fine", "stars": 5}\n\n{"review": "bad", "stars": 1}\n')
    records = read_jsonl(path=path, fields={"text": "review", "label": "stars"})
    assert [dict(record) for record in records] == [{"text": "fine", "label": "5"}, {"text": "bad", "label": "1"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": ', "no JSON"),
        ("[1]", "no object"),
        ('{"txt": "a"}', "no field 'text'; there is txt"),
        ('{"text": " "}', "'text' is empty"),
        ('{"text": null}', "no field 'text'"),
    ],
)
def test_a_bad_json_line_is_named_or_counted(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", f'{{"text": "good"}}\n{line}\n')
    with pytest.raises(DataError, match=rf"a\.jsonl:2: .*{message}"):
        read_jsonl(path=path, fields=["text"])
    records = read_jsonl(path=path, fields=["text"], on_bad="skip")
    assert (len(records), sum(records.skipped.values())) == (1, 1)


def test_tables(tmp_path):
    path = write(tmp_path / "a.csv", 'id,text,label\n1,"a, ""b""\nc",x\n2,d,y\n')
    records = read_table(path=path, fields=["text", "label"])
    assert list(records.fields["text"]) == ['a, "b"\nc', "d"]
    assert records.places[1].endswith("a.csv:4")
    path = write(tmp_path / "a.tsv", '1\tsay "hi\n2\tb\n')
    assert list(read_table(path=path, fields={"text": 1}, header=False, quoted=False).fields["text"]) == [
        'say "hi',
        "b",
    ]


def test_a_table_without_the_column(tmp_path):
    path = write(tmp_path / "a.csv", "id,text\n1,a\n2\n")
    with pytest.raises(DataError, match="no column label; it has id, text"):
        read_table(path=path, fields=["text", "label"])
    with pytest.raises(DataError, match=r"a\.csv:3: has no field 'text'"):
        read_table(path=path, fields=["text"])
    assert len(read_table(path=path, fields=["text"], on_bad="skip")) == 1


def test_parallel_files(tmp_path):
    source, target = write(tmp_path / "a.en", "one\n\ntwo\n"), write(tmp_path / "a.de", "eins\n\nzwei\n")
    records = read_parallel(source=source, target=target)
    assert [tuple(record.values()) for record in records] == [("one", "eins"), ("two", "zwei")]
    with pytest.raises(DataError, match=r"3 lines, but .* has 1"):
        read_parallel(source=source, target=write(tmp_path / "b.de", "eins\n"))
    half = write(tmp_path / "c.de", "eins\n\n\n")
    with pytest.raises(DataError, match=r"a\.en:3: the field 'target' is empty"):
        read_parallel(source=source, target=half)
    assert read_parallel(source=source, target=half, on_bad="skip").skipped == {"an empty field": 1}


def test_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match="holds no text"):
        read_lines(path=write(tmp_path / "a.txt", "\n"))
    with pytest.raises(DataError, match="cannot be read"):
        read_lines(path=str(tmp_path / "none.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \*\.txt"):
        read_lines(path=str(tmp_path / "empty"))


def test_slices_and_rows(tmp_path):
    records = read_lines(path=write(tmp_path / "a.txt", "a\nb\nc\nd"))
    assert list(records[1:3].fields["text"]) == ["b", "c"]
    assert records.take([3, 0]).places == [records.places[3], records.places[0]]
