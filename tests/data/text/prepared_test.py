import numpy as np
import pytest

from jaxdl.data.text import read_tfds
from jaxdl.errors import ConfigError, DataError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
TEXTS = ["A fine film.", "Quelle déception", "日本語も", "", "x" * 40]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data set `reviews`, and `broken` that is no UTF-8, prepared without TensorFlow."""
    import tensorflow_datasets as tfds

    def builder(name, texts, text_feature):
        features = tfds.features.FeaturesDict(
            {
                "text": text_feature,
                "label": tfds.features.ClassLabel(names=["neg", "pos"]),
                "stars": tfds.features.Tensor(shape=(2,), dtype=np.float32),
                "year": tfds.features.Tensor(shape=(), dtype=np.int32),
            }
        )

        class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")
            pkg_dir_path = None
            url_infos = {}  # It downloads nothing.  # noqa: RUF012

            def _info(self):
                return tfds.core.DatasetInfo(builder=self, features=features)

            def _split_generators(self, manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for i, text in enumerate(texts):
                    yield i, {"text": text, "label": i % 2, "stars": np.zeros(2, np.float32), "year": 1}

        Builder.name = name
        return Builder

    folder = str(tmp_path_factory.mktemp("tfds"))
    text = tfds.features.Text()
    for name, texts in (("reviews", TEXTS), ("broken", ["fine", b"\xff\xfe bad"])):
        builder(name, texts, text)(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def test_texts_and_names_of_classes(data_dir):
    found = read_tfds(name="reviews", data_dir=data_dir, fields=("text", "label"), on_bad="skip")
    pairs = dict(zip(found.fields["text"], found.fields["label"]))
    assert pairs == {text: ["neg", "pos"][i % 2] for i, text in enumerate(TEXTS) if text}
    assert found.skipped == {"an empty field": 1}
    assert all(place.startswith("reviews train, example ") for place in found.places)


def test_bad_records_are_named(data_dir):
    with pytest.raises(DataError, match=r"reviews train, example \d: the field 'text' is empty"):
        read_tfds(name="reviews", data_dir=data_dir)
    with pytest.raises(DataError, match=r"broken train, example \d: is no UTF-8"):
        read_tfds(name="broken", data_dir=data_dir)
    assert read_tfds(name="broken", data_dir=data_dir, on_bad="skip").fields["text"] == ("fine",)


def test_what_is_asked_must_be_text(data_dir):
    with pytest.raises(DataError, match="'stars' is ndarray, neither text nor a class"):
        read_tfds(name="reviews", data_dir=data_dir, fields=("stars",))
    with pytest.raises(DataError, match="has no feature title; it has label, stars, text, year"):
        read_tfds(name="reviews", data_dir=data_dir, fields=("title",))
    with pytest.raises(DataError, match="label, year are all numbers"):
        read_tfds(name="reviews", data_dir=data_dir, fields=("text", "label", "year"))
    with pytest.raises(ConfigError, match="fields must name"):
        read_tfds(name="reviews", data_dir=data_dir, fields=())
    with pytest.raises(DataError, match="Prepare it once"):
        read_tfds(name="imdb_reviews", data_dir=data_dir)
