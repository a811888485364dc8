import io

import numpy as np
import pytest

from jaxdl import config
from jaxdl.data import Pipeline
from jaxdl.data.sources import (
    ArraySource,
    Captioned,
    CaptionedFiles,
    Fold,
    ImageFolder,
    class_captions,
    class_prompts,
    digits,
)
from jaxdl.data.text import Records, Tokenizer, characters, read_table, train_tokenizer
from jaxdl.data.transforms import Decode
from jaxdl.errors import ConfigError, DataError

NAMES = ("ant", "bee", "dog")
CAPTIONS = ("a {}", "my {} now")
TOKENIZER = characters(class_captions(captions=CAPTIONS, names=NAMES).fields["text"])
END = TOKENIZER.special("end")
IMAGES = ArraySource(
    arrays={"image": np.zeros((40, 2, 2, 1), np.uint8), "label": np.arange(40, dtype=np.int32) % 3}, name="pictures"
)


def captioned(**changes):
    return Captioned(
        **{"source": IMAGES, "captions": CAPTIONS, "tokenizer": TOKENIZER, "length": 12, "names": NAMES, **changes}
    )


def text_of(row):
    return TOKENIZER.decode(row["tokens"][row["token_mask"] != 0])


def test_each_example_has_a_caption_of_its_class():
    source = captioned()
    texts = [text_of(source[index]) for index in range(40)]
    counts = dict.fromkeys(CAPTIONS, 0)
    for index, text in enumerate(texts):
        (caption,) = [one for one in CAPTIONS if one.replace("{}", NAMES[index % 3]) == text]
        counts[caption] += 1
    assert counts == dict.fromkeys(CAPTIONS, 20)
    row = source[5]
    assert row["match"] == row["label"] == 2
    length = int(row["token_mask"].sum())
    assert row["tokens"][length - 1] == END
    assert (row["tokens"][length:] == 0).all()
    assert {name: row[name].dtype.name for name in ("tokens", "token_mask", "match")} == {
        "tokens": "int32",
        "token_mask": "float32",
        "match": "int32",
    }


def test_captions_depend_on_the_index_and_the_seed_alone():
    source = captioned()
    order = np.random.default_rng(0).permutation(40)
    gathered = source.gather(order)
    for row, index in enumerate(order):
        for name, value in source[int(index)].items():
            np.testing.assert_array_equal(gathered[name][row], value)
    other = captioned(seed=1).gather(order)
    assert (other["tokens"] != gathered["tokens"]).any()


def test_it_is_the_source_in_all_else(tmp_path):
    source = captioned()
    assert (len(source), source.labels, source.describe(3)) == (40, NAMES, "pictures, example 3")
    assert (
        captioned(source=digits(), names=None, captions=("a {}",), tokenizer=characters(["a 0123456789"])).labels[3]
        == "3"
    )
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant" / "1.png").write_bytes(b"x")
    files = captioned(source=ImageFolder(path=str(tmp_path)), names=None)
    assert not hasattr(files, "gather")
    assert files[0]["image"] == b"x"
    assert text_of(files[0]) in ("a ant", "my ant now")
    assert captioned(source=Fold(source=IMAGES, part="test")).gather(np.arange(3))["tokens"].shape == (3, 12)


def test_a_pipeline_reads_it():
    batch = Pipeline(source=captioned(), batch_size=8)[0]
    assert batch["tokens"].shape == batch["token_mask"].shape == (8, 12)
    np.testing.assert_array_equal(batch["match"], batch["label"])


def test_prompts_are_all_captions_of_each_class():
    prompts = class_prompts(tokenizer=TOKENIZER, captions=CAPTIONS, names=NAMES)
    assert [[TOKENIZER.decode(ids) for ids in one] for one in prompts] == [
        [caption.replace("{}", name) for caption in CAPTIONS] for name in NAMES
    ]
    assert all(ids[-1] == END and ids.count(END) == 1 for one in prompts for ids in one)


def test_an_end_token_of_the_tokenizer_s_own_is_not_doubled():
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer.from_str(train_tokenizer(["a dog now"], kind="character").json)
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 3)]
    )
    ((ids,),) = class_prompts(tokenizer=Tokenizer(made.to_str()), captions=("a {}",), names=("dog",))
    assert (ids[0], ids[-1], ids.count(3)) == (2, 3, 1)


def test_what_makes_no_sense_is_refused():
    for changes, message in (
        ({"length": 10}, "11 tokens.*length=10"),
        ({"captions": ("a dog",)}, "{} once.*'a dog'"),
        ({"captions": ()}, "captions and names"),
        ({"names": None}, "captions and names"),
    ):
        with pytest.raises(ConfigError, match=message):
            captioned(**changes)
    with pytest.raises(ConfigError, match="no 'end' token"):
        captioned(tokenizer=_without_end())
    with pytest.raises(DataError, match="pictures, example 2: its label is none of the 2"):
        captioned(names=("ant", "bee"))[2]


def _without_end():
    tokenizers = pytest.importorskip("tokenizers")
    return Tokenizer(tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")).to_str())


@pytest.fixture
def table(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for number in range(2):
        file = io.BytesIO()
        image.fromarray(np.full((4, 5, 3), number, np.uint8)).save(file, "PNG")
        (tmp_path / f"{number}.png").write_bytes(file.getvalue())
    (tmp_path / "captions.csv").write_text("file,caption\n0.png,a ant\n1.png,my dog now\n0.png,my ant\n2.png,a bee\n")
    return tmp_path


def files_of(table, **changes):
    records = read_table(path=str(table / "captions.csv"), fields={"image": "file", "text": "caption"})
    return CaptionedFiles(**{"records": records, "folder": str(table), "tokenizer": TOKENIZER, "length": 7, **changes})


def test_a_table_of_images_and_captions(table):
    source = files_of(table)
    assert (len(source), source.truncated) == (4, 1)
    assert source.notes == (f"1 of 4 captions are longer than {source.length} tokens and were cut.",)
    assert [int(source[index]["match"]) for index in range(3)] == [0, 1, 0]
    assert [text_of(source[index]) for index in range(3)] == ["a ant", "my dog", "my ant"]
    assert source[1]["tokens"][-1] == END
    batch = Pipeline(source=source, batch_size=2, transforms=(Decode(),), shuffle=False)[0]
    assert batch["image"].shape == (2, 4, 5, 3)
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], [0, 1])
    assert source.describe(3).endswith("captions.csv:5")


def test_tables_that_do_not_fit_are_refused(table):
    with pytest.raises(DataError, match=r"2\.png cannot be read: No such file"):
        files_of(table)[3]
    (table / "2.png").mkdir()
    with pytest.raises(DataError, match=r"2\.png is no file"):
        files_of(table)[3]
    with pytest.raises(ConfigError, match="no field 'caption'; they have image, text"):
        files_of(table, text_field="caption")
    with pytest.raises(ValueError, match="length must be at least 2"):
        files_of(table, length=1)


def test_names_that_lead_out_of_the_folder_are_never_read(table, monkeypatch):
    inside = table / "inside"
    inside.mkdir()
    (table / "0.png").rename(inside / "0.png")
    names = ("0.png", f"{inside}/0.png", "x/../0.png", "../1.png", f"{table}/1.png", "x/../../1.png", "..", ".", "\0")
    fields = {"image": names, "text": ("a ant",) * len(names)}
    records = Records(fields=fields, places=[f"t:{row}" for row in range(len(names))])
    source = files_of(table, records=records, folder=str(inside))
    assert [source[row]["image"] for row in range(3)] == [(inside / "0.png").read_bytes()] * 3
    for row in range(3, 8):
        with pytest.raises(DataError, match=r"is no file in .*inside"):
            source[row]
    with pytest.raises(DataError, match="no file can be called"):
        source[8]
    assert files_of(table, records=records, folder="/")[4]["image"]
    monkeypatch.chdir(table)
    assert files_of(table, records=records, folder="inside")[1]["image"]
    batch = Pipeline(source=source, batch_size=9, transforms=(Decode(),), shuffle=False, on_bad="skip")[0]
    assert batch["mask"].tolist() == [1] * 3 + [0] * 6


def test_a_config_writes_it_down():
    tokenizer = config.spec(characters, texts=("abc dog",))
    tree = config.spec(Captioned, source=config.spec(digits), captions=("a {}",), tokenizer=tokenizer, length=5)
    config.check(tree)
    assert config.build(config.from_json(config.to_json(tree)))[0]["tokens"].shape == (5,)
