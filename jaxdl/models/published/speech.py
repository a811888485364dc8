"""Models of speech at published sizes."""

from functools import partial

from jaxdl.models.conformer import SIZES, Conformer
from jaxdl.models.published.entry import Published
from jaxdl.models.whisper import Whisper


def _whisper(
    size: str,
    layers: int,
    features: int,
    heads: int,
    parameters: int,
    *,
    num_mels: int = 80,
    vocab_size: int = 51_865,
) -> Published:
    return Published(
        name=f"Whisper {size}",
        make=partial(
            Whisper,
            num_layers=layers,
            features=features,
            num_heads=heads,
            num_mels=num_mels,
            vocab_size=vocab_size,
        ),
        inputs={"features": ((3000, num_mels), "float32"), "targets": ((448,), "int32")},
        parameters=parameters,
        paper="Radford et al. 2022",
        source=f"Hugging Face openai/whisper-{size}, the encoder's fixed positions (1500 x {features}) included.",
    )


def _conformer(size: str, parameters: int, published: str) -> Published:
    return Published(
        name=f"Conformer {size} (encoder)",
        make=partial(Conformer, **SIZES[size]),
        inputs={"features": ((1600, 80), "float32")},
        parameters=parameters,
        paper="Gulati et al. 2020",
        source=(
            "The equations of the paper's encoder, with kernels of 31 frames instead of 32. "
            f"Its table 1 has {published} million, rounded, with a transducer's decoder that this encoder lacks."
        ),
    )


PUBLISHED = (
    _whisper("tiny", 4, 384, 6, 37_760_640),
    _whisper("base", 6, 512, 8, 72_593_920),
    _whisper("small", 12, 768, 12, 241_734_912),
    _whisper("medium", 24, 1024, 16, 763_857_920),
    _whisper("large", 32, 1280, 20, 1_543_304_960),
    _whisper("large-v3", 32, 1280, 20, 1_543_490_560, num_mels=128, vocab_size=51_866),
    _conformer("S", 8_708_544, "10.3"),
    _conformer("M", 27_323_392, "30.7"),
    _conformer("L", 115_102_720, "118.8"),
)
