import jax
import numpy as np
import pytest

from jaxdl import interop, trees
from jaxdl.errors import CheckpointError, ConfigError
from jaxdl.interop import InitFrom, files
from jaxdl.interop.layout import TRANSPOSE, Rule
from jaxdl.interop.pretrained import pretrained
from jaxdl.interop.transfer import apply
from jaxdl.models import MLP

MODEL = MLP(num_classes=3, widths=(5,))
IMAGE = np.zeros((1, 2, 2, 1), np.float32)


def mlp():
    return tuple(
        Rule(f"{ours}/{a}", f"{theirs}.{b}", *how)
        for ours, theirs in (("hidden_{i}", "layers.{i}"), ("head", "out"))
        for a, b, *how in (("kernel", "weight", TRANSPOSE), ("bias", "bias"))
    )


@pytest.fixture
def variables():
    return MODEL.init(jax.random.key(3), IMAGE, train=False)


@pytest.fixture
def foreign(variables, tmp_path):
    files.write(tmp_path / "theirs.safetensors", interop.to_theirs(variables, mlp())[0])
    return tmp_path / "theirs.safetensors"


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_foreign_file_with_a_layout(foreign, variables):
    tree, report = apply(InitFrom(path=str(foreign), layout=mlp), MODEL.init(jax.random.key(0), IMAGE, train=False))
    equal(tree, variables)
    assert report.count() == {"transposed": 2, "copied": 2}


def test_a_foreign_file_without_a_layout_is_refused(foreign, variables):
    with pytest.raises(CheckpointError, match="Set a layout"):
        apply(InitFrom(path=str(foreign)), variables)


def test_into_a_part(foreign, variables):
    whole = {"params": {"tower": variables["params"], "other": {"kernel": np.zeros(3)}}}
    empty = jax.tree.map(np.zeros_like, whole)
    tree, report = apply(InitFrom(path=str(foreign), layout=mlp, into="tower", skip=("head/bias", r"out\.bias")), empty)
    equal(tree["params"]["tower"]["hidden_0"], variables["params"]["hidden_0"])
    assert not tree["params"]["tower"]["head"]["bias"].any()
    assert not tree["params"]["other"]["kernel"].any()
    assert "tower/hidden_0/kernel" in str(report)
    assert report.count()["kept"] == 1


def test_into_nothing_is_refused(foreign, variables):
    with pytest.raises(ConfigError, match="head, hidden_0"):
        apply(InitFrom(path=str(foreign), layout=mlp, into="tower"), variables)


def test_a_model_saved_is_the_model_loaded(tmp_path, variables):
    size = interop.save(tmp_path / "x.safetensors", MODEL, variables)
    assert size > 4 * trees.count(variables)
    model, loaded = interop.load(tmp_path / "x.safetensors")
    assert model == MODEL
    equal(loaded, dict(variables))
    tree, _ = apply(InitFrom(path=str(tmp_path / "x.safetensors")), jax.tree.map(np.zeros_like, variables))
    equal(tree, variables)


def test_batch_statistics_are_saved_too(tmp_path):
    from jaxdl.models import LeNet

    model = LeNet(num_classes=3, channels=(2,), dense_width=4, batch_norm=True)
    variables = model.init(jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32), train=False)
    assert "batch_stats" in variables
    interop.save(tmp_path / "x.safetensors", model, variables)
    equal(interop.load(tmp_path / "x.safetensors")[1], dict(variables))


def test_a_model_from_a_config_inside_another_is_written_down(tmp_path):
    from jaxdl.models.bert import Bert
    from jaxdl.models.text_heads import TextClassifier

    inside = Bert(vocab_size=11, features=4, num_layers=1, num_heads=2, hidden=8, max_length=16)
    model = TextClassifier(encoder=inside, num_classes=2)
    variables = model.init(jax.random.key(0), tokens=np.zeros((1, 3), np.int32), train=False)
    interop.save(tmp_path / "x.safetensors", model, variables)
    again, loaded = interop.load(tmp_path / "x.safetensors")
    assert again == model
    equal(loaded, dict(variables))


def test_a_file_that_does_not_say_its_model(foreign, variables):
    with pytest.raises(CheckpointError, match="Pass the model and a layout"):
        interop.load(foreign)
    found = pretrained(foreign, model=MODEL, layout=mlp, inputs={"image": IMAGE})
    equal(found.variables, variables)


def test_what_a_file_lacks_is_initialised_where_it_may_lack_it(foreign, variables):
    from jaxdl.interop import Choices

    found = pretrained(
        foreign,
        model=MODEL,
        layout=mlp,
        inputs={"image": IMAGE},
        choices=Choices(skip=("head/.*",)),
        key=jax.random.key(9),
    )
    fresh = MODEL.init(jax.random.key(9), IMAGE, train=False)
    equal(found.variables["params"]["head"], fresh["params"]["head"])
    equal(found.variables["params"]["hidden_0"], variables["params"]["hidden_0"])


def test_keras_weights_through_a_layout(tmp_path, variables):
    h5py = pytest.importorskip("h5py")

    def keras():
        names = (("hidden_0", "dense"), ("head", "dense_1"))
        return tuple(
            Rule(f"{ours}/{part}", f"layers/{theirs}/vars/{number}")
            for ours, theirs in names
            for number, part in enumerate(("kernel", "bias"))
        )

    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        for name, tensor in interop.to_theirs(variables, keras())[0].items():
            file[name] = tensor
    tree, _ = apply(InitFrom(path=str(tmp_path / "model.weights.h5"), layout=keras), variables)
    equal(tree, variables)


def test_wrong_ending(tmp_path, variables):
    with pytest.raises(ConfigError, match=r"\.safetensors"):
        interop.save(tmp_path / "x.bin", MODEL, variables)
