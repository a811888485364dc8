import csv
import gzip

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
        ('{"text": null}', "the field 'text' is null, no text"),
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


def test_a_pair_with_a_bad_line_is_left_out_and_the_rest_still_pairs(tmp_path):
    source, target = tmp_path / "a.en", tmp_path / "a.de"
    source.write_bytes(b"one\ntw\xffo\nthree\n")
    target.write_text("eins\nzwei\ndrei\n")
    with pytest.raises(DataError, match=r"a\.en:2: is not utf-8: byte 0xff at column 3"):
        read_parallel(source=str(source), target=str(target))
    found = read_parallel(source=str(source), target=str(target), on_bad="skip")
    assert [tuple(row.values()) for row in found] == [("one", "eins"), ("three", "drei")]
    assert found.skipped == {"not utf-8": 1}
    assert list(found.places) == [f"{source}:1", f"{source}:3"]


def test_places_in_a_table_count_lines_that_were_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,label\none,x\nb\xffd,x\n"four\nfive",y\nsix,x\n')
    found = read_table(path=str(path), fields=("text", "label"), on_bad="skip")
    assert [row["text"] for row in found] == ["one", "four\nfive", "six"]
    assert [place.rsplit(":", 1)[1] for place in found.places] == ["2", "5", "6"]


def test_a_row_with_more_columns_than_the_header_is_bad(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\nhello, world,pos\n"hello, you",neg\nfine,pos,\n')
    with pytest.raises(DataError, match=r"a\.csv:2: has 3 columns, but the header 2: put quotes around"):
        read_table(path=str(path), fields=("text", "label"))
    found = read_table(path=str(path), fields=("text", "label"), on_bad="skip")
    assert [tuple(row.values()) for row in found] == [("hello, you", "neg"), ("fine", "pos")]
    assert found.skipped == {"more columns than the header": 1}


def test_long_fields_of_a_table_are_read_and_an_open_quote_is_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\n{'x' * 200_000},y\n")
    assert len(read_table(path=str(path), fields=("text",))[0]["text"]) == 200_000
    assert csv.field_size_limit() == 131_072
    path.write_text('text,label\none,x\n"two,x\n' + f"{'y' * 1_000_000},z\n" * 11)
    with pytest.raises(
        DataError, match=r"a\.csv:\d+: field larger .*, in the row that begins at line 3: close its quotes"
    ):
        read_table(path=str(path), fields=("text",))
    assert csv.field_size_limit() == 131_072


def test_a_corpus_may_be_one_long_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("some words and more\n" * 600_000)
    assert len(read_lines(path=str(path), unit="file")[0]["text"]) == 12_000_000
    with pytest.raises(DataError, match="longer than 1,000,000 characters"):
        read_lines(path=str(path), unit="file", limit=1_000_000)


@pytest.mark.parametrize("value", ["null", '["q"]', '{"a": 1}', "true", "NaN"])
def test_json_that_is_no_text(tmp_path, value):
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"text": {value}}}\n{{"text": 2.5}}\n')
    with pytest.raises(DataError, match=r"a\.jsonl:1: the field 'text' is .*, no text"):
        read_jsonl(path=str(path), fields=("text",))
    found = read_jsonl(path=str(path), fields=("text",), on_bad="skip")
    assert [row["text"] for row in found] == ["2.5"]
    assert found.skipped == {"no text": 1}


def test_encodings_whose_lines_do_not_end_in_a_byte_are_refused(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n", encoding="utf-16")
    with pytest.raises(DataError, match="utf-16 cannot be read by lines: convert it to UTF-8"):
        read_lines(path=str(tmp_path / "a.txt"), encoding="utf-16")


QUOTES = 'text\tlabel\n"unclosed\tx\nthe "best" one\ty\nplain\tx\n"closed"\ty\n'


@pytest.mark.parametrize("name", ["a.tsv", "a.tab", "a.tsv.gz"])
def test_a_quote_is_a_character_where_tabs_delimit(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(QUOTES.encode()) if name.endswith(".gz") else QUOTES.encode())
    found = read_table(path=str(path), fields=("text", "label"))
    assert list(found.fields["text"]) == ['"unclosed', 'the "best" one', "plain", '"closed"']
    assert found.places[-1] == f"{path}:5"
    whole = read_table(path=str(path), fields=("text",), quoted=True, on_bad="skip")
    assert len(whole) < 4, "quotes hold new lines where they are asked for"


def test_what_delimits_says_whether_quotes_count(tmp_path):
    (tmp_path / "a.txt").write_text(QUOTES)
    assert len(read_table(path=str(tmp_path / "a.txt"), fields=("text",), delimiter="\t")) == 4
    (tmp_path / "a.csv").write_text('text,label\n"one, two",x\n')
    assert read_table(path=str(tmp_path / "a.csv"), fields=("text",))[0]["text"] == "one, two"
    (tmp_path / "a.tsv").write_text("text\tlabel\none\ttwo\tthree\n")
    with pytest.raises(DataError, match=r"a\.tsv:2: has 3 columns, but the header 2: take '\\t' out of its texts"):
        read_table(path=str(tmp_path / "a.tsv"), fields=("text",))


def test_the_message_says_how_a_recipe_leaves_bad_records_out(tmp_path):
    with pytest.raises(DataError, match=r"by on_bad='skip' \(in the recipes of configs/language by ':skip' at the end"):
        read_jsonl(path=write(tmp_path / "a.jsonl", "nothing"), fields=("text",))
