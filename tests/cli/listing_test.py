import pkgutil
from functools import partial

import jaxdl.data
from jaxdl.cli.listing import KINDS
from jaxdl.data import audio, sources, text
from jaxdl.models import MLP
from jaxdl.models.published import Published


def test_published_sizes_stand_below_the_models(jaxdl, monkeypatch):
    entry = Published(
        name="Perceptron-32",
        make=partial(MLP, num_classes=10, widths=(32,)),
        inputs={"image": ((8, 8), "float32")},
        parameters=2410,
        flops=4_736_000_000,
        paper="Rosenblatt 1958",
        source="nowhere",
    )
    monkeypatch.setattr("jaxdl.models.published.PUBLISHED", (entry,))
    code, out, _ = jaxdl("list", "models")
    assert code == 0
    assert "  MLP    " in out
    row = next(line for line in out.splitlines() if "Perceptron-32" in line)
    assert row.split() == ["Perceptron-32", "2,410", "4.736", "image", "8", "x", "8", "Rosenblatt", "1958"]
    assert "Perceptron-32" not in jaxdl("list", "tasks")[1]


def test_data_are_listed_from_every_room_that_holds_them(jaxdl):
    code, out, err = jaxdl("list", "data")
    assert (code, err) == (0, "")
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    assert heads == ["data (jaxdl.data.sources)", "data (jaxdl.data.text)", "data (jaxdl.data.audio)"]
    listed = {line.split()[0] for line in out.splitlines() if line.startswith(" ")}
    assert listed == {*sources.__all__, *text.__all__, *audio.__all__}
    assert {"read_table", "PackedRows", "train_tokenizer", "SpeechRows", "ImageFolder"} <= listed


def test_no_room_of_the_data_is_forgotten():
    rooms = {found.name for found in pkgutil.iter_modules(jaxdl.data.__path__, "jaxdl.data.") if found.ispkg}
    assert rooms == {name for names in KINDS.values() for name in names if name.startswith("jaxdl.data.")}
