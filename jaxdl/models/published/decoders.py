"""Decoders and encoder-decoders of text at published sizes."""

from functools import partial

from jaxdl.models.gpt2 import GPT2
from jaxdl.models.llama import Llama
from jaxdl.models.published.entry import Published
from jaxdl.models.t5 import T5
from jaxdl.models.transformer import Transformer

_HUB = "The parameters of the checkpoint on the Hugging Face hub, {}."
_ONE = {"tokens": ((128,), "int32")}
_TWO = {"tokens": ((128,), "int32"), "targets": ((128,), "int32")}
_VASWANI = "Ours, of the sizes in table 3 and a shared vocabulary of 37,000; the table says {} million."


def _gpt2(name: str, hub: str, layers: int, features: int, heads: int, parameters: int) -> Published:
    return Published(
        name=name,
        make=partial(GPT2, num_layers=layers, features=features, num_heads=heads),
        inputs=_ONE,
        parameters=parameters,
        paper="Radford et al. 2019",
        source=_HUB.format(hub),
    )


PUBLISHED = (
    Published(
        name="Transformer base",
        make=Transformer,
        inputs=_TWO,
        parameters=63_082_496,
        paper="Vaswani et al. 2017",
        source=_VASWANI.format(65),
    ),
    Published(
        name="Transformer big",
        make=partial(Transformer, features=1024, num_heads=16, hidden=4096, dropout_rate=0.3),
        inputs=_TWO,
        parameters=214_245_376,
        paper="Vaswani et al. 2017",
        source=_VASWANI.format(213),
    ),
    _gpt2("GPT-2", "gpt2", 12, 768, 12, 124_439_808),
    _gpt2("GPT-2 medium", "gpt2-medium", 24, 1024, 16, 354_823_168),
    _gpt2("GPT-2 large", "gpt2-large", 36, 1280, 20, 774_030_080),
    _gpt2("GPT-2 XL", "gpt2-xl", 48, 1600, 25, 1_557_611_200),
    Published(
        name="Llama 2 7B",
        make=Llama,
        inputs=_ONE,
        parameters=6_738_415_616,
        paper="Touvron et al. 2023",
        source=_HUB.format("Llama-2-7b-hf"),
    ),
    Published(
        name="Llama 3 8B",
        make=partial(Llama, vocab_size=128_256, num_kv_heads=8, hidden=14_336, rope_base=500_000.0),
        inputs=_ONE,
        parameters=8_030_261_248,
        paper="Grattafiori et al. 2024",
        source=_HUB.format("Meta-Llama-3-8B"),
    ),
    Published(
        name="Llama 3.2 1B",
        make=partial(
            Llama,
            vocab_size=128_256,
            features=2048,
            num_layers=16,
            num_kv_heads=8,
            hidden=8192,
            rope_base=500_000.0,
            rope_factor=32.0,
            rope_original_length=8192,
            tie_embeddings=True,
        ),
        inputs=_ONE,
        parameters=1_235_814_400,
        paper="Grattafiori et al. 2024",
        source=_HUB.format("Llama-3.2-1B"),
    ),
    Published(
        name="Mistral 7B",
        make=partial(Llama, num_kv_heads=8, hidden=14_336, window=4096),
        inputs=_ONE,
        parameters=7_241_732_096,
        paper="Jiang et al. 2023",
        source=_HUB.format("Mistral-7B-v0.1"),
    ),
    Published(
        name="SmolLM2 135M",
        make=partial(
            Llama,
            vocab_size=49_152,
            features=576,
            num_layers=30,
            num_heads=9,
            num_kv_heads=3,
            hidden=1536,
            rope_base=100_000.0,
            tie_embeddings=True,
        ),
        inputs=_ONE,
        parameters=134_515_008,
        paper="Allal et al. 2025",
        source=_HUB.format("SmolLM2-135M"),
    ),
    Published(
        name="T5 small",
        make=T5,
        inputs=_TWO,
        parameters=60_506_624,
        paper="Raffel et al. 2020",
        source=_HUB.format("t5-small"),
    ),
    Published(
        name="T5 base",
        make=partial(T5, features=768, num_layers=12, num_heads=12, hidden=3072),
        inputs=_TWO,
        parameters=222_903_552,
        paper="Raffel et al. 2020",
        source=_HUB.format("t5-base"),
    ),
    Published(
        name="T5 large",
        make=partial(T5, features=1024, num_layers=24, num_heads=16, hidden=4096),
        inputs=_TWO,
        parameters=737_668_096,
        paper="Raffel et al. 2020",
        source=_HUB.format("t5-large"),
    ),
    Published(
        name="T5 1.1 small",
        make=partial(T5, num_layers=8, num_heads=6, hidden=1024, gated=True, activation="gelu", tie_embeddings=False),
        inputs=_TWO,
        parameters=76_961_152,
        paper="Raffel et al. 2020",
        source=_HUB.format("t5-v1_1-small"),
    ),
    Published(
        name="T5 1.1 base",
        make=partial(
            T5,
            features=768,
            num_layers=12,
            num_heads=12,
            hidden=2048,
            gated=True,
            activation="gelu",
            tie_embeddings=False,
        ),
        inputs=_TWO,
        parameters=247_577_856,
        paper="Raffel et al. 2020",
        source=_HUB.format("t5-v1_1-base"),
    ),
)
