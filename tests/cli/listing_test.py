from functools import partial

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
