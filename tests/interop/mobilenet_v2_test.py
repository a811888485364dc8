import pytest

from jaxdl.errors import ConfigError
from jaxdl.interop.families import mobilenet_v2

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from tests.interop.convolutional import compare, make_with_statistics  # noqa: E402


@pytest.mark.parametrize("tf_padding", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_outputs_equal_theirs_and_the_file_comes_back(tmp_path, tf_padding):
    config = transformers.MobileNetV2Config(depth_multiplier=0.35, num_labels=5, tf_padding=tf_padding)
    reference = make_with_statistics(transformers.MobileNetV2ForImageClassification, config)
    model, _, _ = compare(reference, mobilenet_v2, tmp_path, 36)
    assert (model.width_factor, model.num_classes) == (0.35, 5)


def test_options_that_are_not_implemented_are_refused_by_name():
    with pytest.raises(ConfigError, match="output_stride=16"):
        mobilenet_v2.model_from({"output_stride": 16})


def test_a_width_whose_first_block_would_differ_is_refused():
    with pytest.raises(ConfigError, match=r"depth_multiplier=0\.25: .*shortcut"):
        mobilenet_v2.model_from({"depth_multiplier": 0.25})
