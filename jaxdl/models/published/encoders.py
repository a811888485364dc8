"""Encoders of text, of images, and of both."""

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from jaxdl.models.bert import Bert, roberta
from jaxdl.models.clip import CLIP, ClipText, clip_vit
from jaxdl.models.published.entry import Published
from jaxdl.models.vit import ViT

_TOKENS = {"tokens": ((512,), "int32")}
_IMAGE = {"image": ((224, 224, 3), "float32")}
_PAIR = {**_IMAGE, "tokens": ((77,), "int32")}
_BASE: Mapping[str, Any] = MappingProxyType({})
_LARGE: Mapping[str, Any] = MappingProxyType({"num_layers": 24, "features": 1024, "num_heads": 16, "hidden": 4096})
_WIDE_TEXT: Mapping[str, Any] = MappingProxyType({"features": 768, "num_heads": 12, "hidden": 3072})
_BERT = "Devlin et al. 2019"
_ROBERTA = "Liu et al. 2019"
_VIT = "Dosovitskiy et al. 2021"
_DEIT = "Touvron et al. 2021"
_CLIP = "Radford et al. 2021"


def _bert(name: str, parameters: int, paper: str, source: str, **sizes: Any) -> Published:
    return Published(
        name=name,
        make=partial(Bert, **sizes),
        inputs=_TOKENS,
        parameters=parameters,
        paper=paper,
        source=source,
    )


def _roberta(name: str, parameters: int, **sizes: Any) -> Published:
    return Published(
        name=name,
        make=partial(roberta, pooler=True, **sizes),
        inputs=_TOKENS,
        parameters=parameters,
        paper=_ROBERTA,
        source="Hugging Face RobertaModel, with the pooler that its files hold and without the head over tokens",
    )


def _vit(name: str, parameters: int, paper: str, *, distilled: bool = False, **sizes: Any) -> Published:
    kind = "DeiTForImageClassificationWithTeacher" if distilled else "ViTForImageClassification"
    return Published(
        name=name,
        make=partial(ViT, num_classes=1000, distilled=distilled, **sizes),
        inputs=_IMAGE,
        parameters=parameters,
        paper=paper,
        source=f"Hugging Face {kind} and timm, with 1,000 classes",
    )


def _clip(name: str, parameters: int, patch_size: int) -> Published:
    large = patch_size == 14
    return Published(
        name=name,
        make=partial(
            CLIP,
            image_encoder=clip_vit(patch_size=patch_size, **(_LARGE if large else _BASE)),
            text_encoder=ClipText(**(_WIDE_TEXT if large else _BASE)),
            features=768 if large else 512,
        ),
        inputs=_PAIR,
        parameters=parameters,
        paper=_CLIP,
        source="Hugging Face CLIPModel and the published checkpoint",
    )


_TINY: Mapping[str, Any] = MappingProxyType({"features": 192, "num_heads": 3, "hidden": 768})
_SMALL: Mapping[str, Any] = MappingProxyType({"features": 384, "num_heads": 6, "hidden": 1536})
_HUGE: Mapping[str, Any] = MappingProxyType(
    {"patch_size": 14, "num_layers": 32, "features": 1280, "num_heads": 16, "hidden": 5120}
)
_MINILM: Mapping[str, Any] = MappingProxyType({"num_layers": 6, "features": 384, "num_heads": 12, "hidden": 1536})
_HEADLESS = "Hugging Face BertModel, without the heads of pretraining"

PUBLISHED = (
    _bert("BERT-base", 109_482_240, _BERT, _HEADLESS),
    _bert("BERT-large", 335_141_888, _BERT, _HEADLESS, **_LARGE),
    _bert("MiniLM-L6", 22_713_216, "Wang et al. 2020", "sentence-transformers all-MiniLM-L6-v2", **_MINILM),
    _roberta("RoBERTa-base", 124_645_632),
    _roberta("RoBERTa-large", 355_359_744, **_LARGE),
    _vit("ViT-Ti/16", 5_717_416, _DEIT, **_TINY),
    _vit("ViT-S/16", 22_050_664, _DEIT, **_SMALL),
    _vit("ViT-B/32", 88_224_232, _VIT, patch_size=32),
    _vit("ViT-B/16", 86_567_656, _VIT),
    _vit("ViT-L/16", 304_326_632, _VIT, **_LARGE),
    _vit("ViT-H/14", 632_045_800, _VIT, **_HUGE),
    _vit("DeiT-Ti distilled", 5_910_800, _DEIT, distilled=True, **_TINY),
    _vit("DeiT-S distilled", 22_436_432, _DEIT, distilled=True, **_SMALL),
    _vit("DeiT-B distilled", 87_338_192, _DEIT, distilled=True),
    _clip("CLIP ViT-B/32", 151_277_313, 32),
    _clip("CLIP ViT-B/16", 149_620_737, 16),
    _clip("CLIP ViT-L/14", 427_616_513, 14),
)
"""BERT, RoBERTa, ViT (of which DeiT without distillation is the small sizes), distilled DeiT and CLIP."""
