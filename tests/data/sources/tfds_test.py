import io
import json
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from jaxdl.data import Pipeline, once
from jaxdl.data.sources import tfds_source
from jaxdl.data.transforms import Decode
from jaxdl.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data set `tiny` of ten images 8 x 8, image n being n everywhere, prepared without TensorFlow."""
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(8, 8, 3)),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            "name": tfds.features.Text(),
            "x": tfds.features.Tensor(shape=(3,), dtype=np.float32),
        }
    )

    class Tiny(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        pkg_dir_path = None
        url_infos = {}  # It downloads nothing.  # noqa: RUF012

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(10):
                image = io.BytesIO()
                Image.new("RGB", (8, 8), (i, i, i)).save(image, "PNG")
                image.seek(0)
                yield i, {"image": image, "label": i % 2, "name": f"n{i}", "x": np.full(3, i, np.float32)}

    class Plain(Tiny):
        def _info(self):
            plain = {name: feature for name, feature in features.items() if name != "image"}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(plain))

        def _generate_examples(self):
            for key, example in Tiny._generate_examples(self):
                yield key, {name: value for name, value in example.items() if name != "image"}

    folder = str(tmp_path_factory.mktemp("tfds"))
    for file_format in ("array_record", "parquet"):
        Tiny(data_dir=f"{folder}/{file_format}", file_format=file_format).download_and_prepare()
    Plain(data_dir=f"{folder}/array_record", file_format="array_record").download_and_prepare()
    return folder


@pytest.mark.parametrize("file_format", ["array_record", "parquet"])
def test_reads_what_was_prepared(data_dir, file_format):
    source = tfds_source(name="tiny", data_dir=f"{data_dir}/{file_format}")
    assert len(source) == 10
    assert source.labels == ("cat", "dog")
    assert set(source[0]) == {"image", "label", "x"}
    (batch,) = once(Pipeline(source=source, batch_size=10, transforms=(Decode(),)))
    numbers = batch["image"][:, 0, 0, 0]
    assert sorted(numbers) == list(range(10))
    assert (batch["label"] == numbers % 2).all()
    assert batch["label"].dtype == np.int32
    assert (batch["x"][:, 1] == numbers).all()
    assert "tensorflow" not in sys.modules


def test_slices_and_fields(data_dir):
    source = tfds_source(name="tiny:1.0.0", split="train[:80%]", data_dir=f"{data_dir}/array_record", fields=("name",))
    assert len(source) == 8
    assert source[7]["name"].startswith(b"n")
    assert source.labels == ()
    assert source.describe(3) == "tiny:1.0.0 train[:80%], example 3"
    with pytest.raises(IndexError, match="8"):
        source[8]


def test_what_is_missing_is_said(data_dir):
    where = f"{data_dir}/array_record"
    with pytest.raises(DataError, match=r"no feature mask; it has image, label, name, x"):
        tfds_source(name="tiny", data_dir=where, fields=("mask",))
    with pytest.raises(DataError, match=r"split 'test'.*Its splits are train"):
        tfds_source(name="tiny", split="test", data_dir=where)
    with pytest.raises(
        DataError, match=r'not prepared.*tfds\.builder\(.mnist.*file_format="array_record"\)\.download_and_pre'
    ):
        tfds_source(name="mnist", data_dir=where)
    assert "tensorflow" not in sys.modules


def test_another_format_is_named(data_dir, tmp_path):
    shutil.copytree(f"{data_dir}/array_record/tiny", tmp_path / "tiny")
    (info,) = tmp_path.glob("tiny/*/dataset_info.json")
    content = json.loads(info.read_text())
    content["fileFormat"] = "tfrecord"
    info.write_text(json.dumps(content))
    with pytest.raises(DataError, match="prepared as tfrecord, which has no random access"):
        tfds_source(name="tiny", data_dir=str(tmp_path))


def test_mocked_data(data_dir):
    import tensorflow_datasets as tfds

    with tfds.testing.mock_data(num_examples=4, data_dir=f"{data_dir}/array_record"):
        source = tfds_source(name="plain")
        assert len(source) == 4
        assert source[0]["x"].shape == (3,)
        assert 0 <= source[0]["label"] < 2
    assert "tensorflow" not in sys.modules
