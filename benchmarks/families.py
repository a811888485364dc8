"""Models of transformers, each in a tiny and a small size, beside ours of the same shape.

PyTorch and transformers are imported where a model of theirs is made, so that a process can run ours alone. Weights go
from theirs to ours as files: `save_pretrained` into a folder, `jaxdl.interop.load` of that folder.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

Size = Literal["tiny", "small"]
"""Of a parity check, or of a speed measurement."""

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Original:
    """A model of theirs.

    Attributes:
      kind: The prefix of the class of its config, such as "Bert".
      head: What follows the prefix in the class of the model, such as "Model".
      config: Options of the config.
      inputs: One batch, by our names.
      options: Options of its `forward`.
    """

    kind: str
    head: str
    config: Mapping[str, Any]
    inputs: Arrays
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def make(self, seed: int = 0) -> Any:
        """The model in evaluation, with random weights that no zero hides and statistics of its own activations."""
        import torch
        import transformers

        torch.manual_seed(seed)
        config = getattr(transformers, f"{self.kind}Config")(**self.config)
        model = getattr(transformers, f"{self.kind}{self.head}")._from_config(config, attn_implementation="eager")
        with torch.no_grad():
            for parameter in model.parameters():
                spread = 0.5 / (parameter.numel() / len(parameter)) ** 0.5 if parameter.ndim > 1 else 0.1
                parameter.add_(spread * torch.randn_like(parameter))
            norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
            for norm in norms:
                norm.momentum = 1.0
            if norms:
                model.train()(**self.theirs())
            for norm in norms:
                # Channels that hardly vary would multiply rounding errors.
                norm.running_var.clamp_(min=0.25 * float(norm.running_var.mean()))
                # A counter that nothing reads; ours has none and writes 0.
                norm.num_batches_tracked.zero_()
        return model.eval()

    def load(self, folder: str, train: bool) -> Any:
        """The model of a folder with the fused attention that PyTorch has."""
        import transformers

        kind = getattr(transformers, f"{self.kind}{self.head}")
        return kind.from_pretrained(folder, attn_implementation="sdpa" if self._has_sdpa(kind) else "eager").train(
            train
        )

    def theirs(self) -> dict[str, Any]:
        """The batch and options as arguments of `forward`."""
        import torch

        tensors = {}
        for name, array in self.inputs.items():
            order = {4: (0, 3, 1, 2), 3: (0, 2, 1)}.get(array.ndim, (0, 1))
            tensor = torch.tensor(np.ascontiguousarray(array.transpose(order)))
            tensors[_THEIR_NAMES[name]] = tensor.long() if array.dtype == np.int32 else tensor
        return tensors | dict(self.options)

    @staticmethod
    def _has_sdpa(kind: Any) -> bool:
        return bool(getattr(kind, "_supports_sdpa", False))


_THEIR_NAMES = MappingProxyType(
    {
        "image": "pixel_values",
        "tokens": "input_ids",
        "targets": "decoder_input_ids",
        "features": "input_features",
        "token_mask": "attention_mask",
    }
)


def our_outputs(outputs: Any, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The arrays of ours that are compared: logits, or hidden and pooled states, or the similarities of CLIP.

    Hidden states of padding count as 0: PyTorch gives the embedding of padding no gradient.
    """
    if not isinstance(outputs, dict):
        return (outputs,)
    if "scale" in outputs:
        return (outputs["scale"] * outputs["image"] @ outputs["text"].T,)
    mask = inputs["token_mask"][..., None] if "token_mask" in inputs else 1
    return mask * outputs["hidden"], outputs["pooled"]


def their_outputs(outputs: Any, inputs: Mapping[str, Any]) -> tuple[Any, ...]:
    """The tensors of theirs that are compared, in the order of ours."""
    if "logits_per_image" in outputs:
        return (outputs.logits_per_image,)
    if "logits" in outputs:
        return (outputs.logits,)
    mask = inputs["attention_mask"][..., None] if "attention_mask" in inputs else 1
    return mask * outputs.last_hidden_state, outputs.pooler_output


def _image(batch: int, side: int) -> Arrays:
    return {"image": np.random.default_rng(0).normal(size=(batch, side, side, 3)).astype(np.float32)}


def _tokens(batch: int, length: int, vocabulary: int, name: str = "tokens", seed: int = 1) -> Arrays:
    # The first ids are padding and the like in some models.
    return {name: np.random.default_rng(seed).integers(3, vocabulary, (batch, length)).astype(np.int32)}


def _resnet(depth: int, size: Size) -> Original:
    bottleneck = depth == 50
    width = 8 if size == "tiny" else 64
    config = {
        "embedding_size": width,
        "hidden_sizes": [width * (4 if bottleneck else 1) * 2**stage for stage in range(4)],
        "depths": [3, 4, 6, 3] if bottleneck else [2, 2, 2, 2],
        "layer_type": "bottleneck" if bottleneck else "basic",
        "num_labels": 10,
    }
    inputs = _image(4, 64) if size == "tiny" else _image(8 if bottleneck else 16, 64)
    return Original(kind="ResNet", head="ForImageClassification", config=config, inputs=inputs)


def _convnext(size: Size) -> Original:
    depths, first = ([2, 2], 16) if size == "tiny" else ([2, 2, 6, 2], 64)
    config = {
        "num_stages": len(depths),
        "depths": depths,
        "hidden_sizes": [first * 2**stage for stage in range(len(depths))],
        "layer_norm_eps": 1e-6,
        "layer_scale_init_value": 0.5,
        "num_labels": 10,
    }
    inputs = _image(2, 32) if size == "tiny" else _image(8, 64)
    return Original(kind="ConvNext", head="ForImageClassification", config=config, inputs=inputs)


def _efficientnet(size: Size) -> Original:
    factors = {"width_coefficient": 0.5, "depth_coefficient": 0.5, "hidden_dim": 640} if size == "tiny" else {
        "width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280}  # fmt: skip
    config = {**factors, "num_labels": 10, "dropout_rate": 0.0, "drop_connect_rate": 0.0}
    inputs = _image(4 if size == "tiny" else 8, 64)
    return Original(kind="EfficientNet", head="ForImageClassification", config=config, inputs=inputs)


def _mobilenet_v2(size: Size) -> Original:
    config = {"depth_multiplier": 0.5 if size == "tiny" else 1.0, "num_labels": 10, "classifier_dropout_prob": 0.0}
    inputs = _image(4 if size == "tiny" else 8, 64)
    return Original(kind="MobileNetV2", head="ForImageClassification", config=config, inputs=inputs)


def _vit(kind: str, head: str, size: Size) -> Original:
    config = {
        "image_size": 32 if size == "tiny" else 64,
        "patch_size": 8,
        "hidden_size": 96 if size == "tiny" else 192,
        "num_hidden_layers": 3 if size == "tiny" else 12,
        "num_attention_heads": 3,
        "intermediate_size": 192 if size == "tiny" else 768,
        "num_labels": 10,
        **_NO_DROPOUT,
    }
    inputs = _image(2, 32) if size == "tiny" else _image(16, 64)
    return Original(kind=kind, head=head, config=config, inputs=inputs)


def _bert(kind: str, size: Size) -> Original:
    batch, length, vocabulary = (3, 24, 400) if size == "tiny" else (8, 128, 30_522)
    config = {
        "vocab_size": vocabulary,
        "hidden_size": 96 if size == "tiny" else 256,
        "num_hidden_layers": 3 if size == "tiny" else 4,
        "num_attention_heads": 4,
        "intermediate_size": 256 if size == "tiny" else 1024,
        "max_position_embeddings": length + 2,
        **_NO_DROPOUT,
    }
    inputs = _tokens(batch, length, vocabulary)
    if size == "tiny":
        lengths = np.array([length, length // 2, length - 3])[:, None]
        inputs["token_mask"] = (np.arange(length)[None] < lengths).astype(np.int32)
        inputs["tokens"] = np.where(inputs["token_mask"], inputs["tokens"], 1).astype(np.int32)
    return Original(kind=kind, head="Model", config=config, inputs=inputs)


def _gpt2(size: Size) -> Original:
    batch, length, vocabulary = (2, 24, 400) if size == "tiny" else (8, 128, 8192)
    config = {
        "vocab_size": vocabulary,
        "n_positions": length,
        "n_embd": 96 if size == "tiny" else 256,
        "n_layer": 3 if size == "tiny" else 4,
        "n_head": 4,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
    }
    inputs = _tokens(batch, length, vocabulary)
    return Original(kind="GPT2", head="LMHeadModel", config=config, inputs=inputs, options={"use_cache": False})


def _llama(size: Size) -> Original:
    batch, length, vocabulary = (2, 24, 400) if size == "tiny" else (8, 128, 8192)
    config = {
        "vocab_size": vocabulary,
        "hidden_size": 96 if size == "tiny" else 256,
        "intermediate_size": 256 if size == "tiny" else 688,
        "num_hidden_layers": 3 if size == "tiny" else 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": length,
    }
    inputs = _tokens(batch, length, vocabulary)
    return Original(kind="Llama", head="ForCausalLM", config=config, inputs=inputs, options={"use_cache": False})


def _t5(size: Size) -> Original:
    batch, length, vocabulary = (2, 24, 400) if size == "tiny" else (8, 128, 8192)
    config = {
        "vocab_size": vocabulary,
        "d_model": 96 if size == "tiny" else 256,
        "d_kv": 24 if size == "tiny" else 64,
        "d_ff": 256 if size == "tiny" else 1024,
        "num_layers": 3,
        "num_decoder_layers": 3,
        "num_heads": 4,
        "dropout_rate": 0.0,
    }
    inputs = _tokens(batch, length, vocabulary) | _tokens(batch, length // 2, vocabulary, "targets", 2)
    head = "ForConditionalGeneration"
    return Original(kind="T5", head=head, config=config, inputs=inputs, options={"use_cache": False})


def _clip(size: Size) -> Original:
    batch, length, vocabulary = (3, 16, 400) if size == "tiny" else (8, 32, 8192)
    tower = {
        "hidden_size": 96 if size == "tiny" else 192,
        "intermediate_size": 192 if size == "tiny" else 768,
        "num_hidden_layers": 3 if size == "tiny" else 6,
        "num_attention_heads": 3,
        "projection_dim": 64,
    }
    text = {"vocab_size": vocabulary, "max_position_embeddings": length, "eos_token_id": 1, "bos_token_id": 0}
    side = 32 if size == "tiny" else 64
    config = {
        "text_config": {**tower, **text},
        "vision_config": {**tower, "image_size": side, "patch_size": 8},
        "projection_dim": 64,
    }
    inputs = _image(batch, side) | _tokens(batch, length, vocabulary)
    inputs["tokens"][:, -1] = 1
    return Original(kind="CLIP", head="Model", config=config, inputs=inputs)


def _whisper(size: Size) -> Original:
    batch, frames, length, vocabulary = (2, 40, 12, 400) if size == "tiny" else (4, 400, 32, 8192)
    width, layers = (96, 2) if size == "tiny" else (256, 3)
    config = {
        "vocab_size": vocabulary,
        "num_mel_bins": 40 if size == "tiny" else 80,
        "d_model": width,
        **{f"{side}_layers": layers for side in ("encoder", "decoder")},
        **{f"{side}_attention_heads": 4 for side in ("encoder", "decoder")},
        **{f"{side}_ffn_dim": 4 * width for side in ("encoder", "decoder")},
        "max_source_positions": frames // 2,
        "max_target_positions": length,
        "decoder_start_token_id": 1,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    mels = np.random.default_rng(0).normal(size=(batch, frames, config["num_mel_bins"])).astype(np.float32)
    inputs = {"features": mels} | _tokens(batch, length, vocabulary, "targets")
    head = "ForConditionalGeneration"
    return Original(kind="Whisper", head=head, config=config, inputs=inputs, options={"use_cache": False})


_NO_DROPOUT = MappingProxyType({"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0})

FAMILIES: Mapping[str, Callable[[Size], Original]] = MappingProxyType(
    {
        "resnet18": lambda size: _resnet(18, size),
        "resnet50": lambda size: _resnet(50, size),
        "mobilenet_v2": _mobilenet_v2,
        "efficientnet": _efficientnet,
        "convnext": _convnext,
        "vit": lambda size: _vit("ViT", "ForImageClassification", size),
        "deit": lambda size: _vit("DeiT", "ForImageClassificationWithTeacher", size),
        "bert": lambda size: _bert("Bert", size),
        "roberta": lambda size: _bert("Roberta", size),
        "gpt2": _gpt2,
        "llama": _llama,
        "t5": _t5,
        "clip": _clip,
        "whisper": _whisper,
    }
)
