"""Fuzz targets: files of weights, and the configs beside them."""

import io
import json
import struct
import zipfile

import numpy as np

from jaxdl.inference import load
from jaxdl.interop import files
from jaxdl.interop.families import family
from tests.security.fuzz_inputs import FACTS, byte_tokens, document, folder, joined, split, written


def safetensors(data: bytes) -> None:
    """A file of weights, every tensor of it; ours too, as a whole model."""
    path = written("w.safetensors", data)
    try:
        source = files.read(path)
        for name in source.tensors:
            source.tensors[name]
    finally:
        load(path)


def safetensors_seeds() -> tuple[bytes, ...]:
    from safetensors.numpy import save

    metadata = {"config": json.dumps(document()), "facts": json.dumps(FACTS), "step": "3"}
    tensors = {"params/w": np.zeros((2, 3), np.float32), "params/b": np.zeros(3, np.int32)}
    return (
        save(tensors),
        save(tensors, metadata),
        save(tensors, {"model": json.dumps(document()), "huggingface": "{}", "step": "1"}),
    )


def safetensors_header(data: bytes) -> None:
    """The JSON of the header alone, under a length that fits."""
    header, rest = split(data, 2)
    safetensors(struct.pack("<Q", len(header)) + header + rest)


def safetensors_header_seeds() -> tuple[bytes, ...]:
    found = []
    for whole in safetensors_seeds():
        size = struct.unpack("<Q", whole[:8])[0]
        found.append(joined(whole[8 : 8 + size], whole[8 + size :]))
    return tuple(found)


def metadata_json(data: bytes) -> None:
    """What the header of an exported file says, value by value."""
    from safetensors.numpy import save

    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(values, dict):
        return
    texts = {}
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        texts[name.encode("utf-8", "replace").decode()] = text.encode("utf-8", "replace").decode()
    tensors = {"params/w": np.zeros((2, 3), np.float32), "model_state/a/b": np.zeros(2, np.float32)}
    safetensors(save(tensors, texts))


def metadata_json_seeds() -> tuple[bytes, ...]:
    ours = {"config": document(), "facts": FACTS, "step": "3", "tokenizer": json.loads(byte_tokens().json)}
    return (json.dumps(ours).encode(), json.dumps({"model": document(), "huggingface": {"a": 1}, "step": "1"}).encode())


def huggingface(data: bytes) -> None:
    """A folder with `config.json`, an index and a shard."""
    from safetensors.numpy import save

    config, index = split(data, 2)
    path = folder() / "huggingface"
    path.mkdir(exist_ok=True)
    (path / "config.json").write_bytes(config)
    (path / files.INDEX).write_bytes(index)
    (path / "s.safetensors").write_bytes(save({"a": np.zeros(2, np.float32)}))
    source = files.read(path)
    for name in source.tensors:
        source.tensors[name]
    if source.config is not None and "model_type" in source.config:
        family(source.config["model_type"]).model_from(source.config)


def huggingface_seeds() -> tuple[bytes, ...]:
    index = json.dumps({"weight_map": {"a": "s.safetensors"}}).encode()
    bert = {"model_type": "bert", "hidden_size": 8, "num_attention_heads": 2, "architectures": ["BertModel"]}
    gpt = {"model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1, "activation_function": "gelu_new"}
    others = [
        {"model_type": name} for name in ("llama", "t5", "vit", "clip", "whisper", "resnet", "roberta", "convnext")
    ]
    vit = {"model_type": "vit", "image_size": 32, "patch_size": 8, "hidden_act": "gelu", "id2label": {"0": "a"}}
    return tuple(joined(json.dumps(one).encode(), index) for one in (bert, gpt, vit, *others))


def hdf5(data: bytes) -> None:
    source = files.read(written("w.weights.h5", data))
    for name in source.tensors:
        source.tensors[name]


def hdf5_seeds() -> tuple[bytes, ...]:
    return (_h5(), _h5(compression="gzip", chunks=(2, 2)))


def _h5(**options: object) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.ones((4, 4), np.float32), **options)
        file.create_dataset("layers/dense/vars/1", data=np.ones(3, np.float32))
    return buffer.getvalue()


def keras(data: bytes) -> None:
    """A `.keras` archive: the zip, and the weights in it."""
    hdf5(data)


def keras_seeds() -> tuple[bytes, ...]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr(zipfile.ZipInfo(files.KERAS_WEIGHTS), _h5(), method)
        made.append(buffer.getvalue())
    return tuple(made)


def torch(data: bytes) -> None:
    hdf5(data)


def torch_seeds() -> tuple[bytes, ...]:
    import torch as library

    buffer = io.BytesIO()  # Of files before PyTorch 1.6, its own reader takes minutes for 70 kB without a line's end.
    library.save({"a": library.ones(2, 3), "b": library.ones(2, dtype=library.bfloat16)}, buffer)
    return (buffer.getvalue(),)
