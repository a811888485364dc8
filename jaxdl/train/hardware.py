"""What accelerators can do at best, for the model FLOP/s utilisation (MFU)."""

import re
from typing import Any

import numpy as np

# Dense matrix multiplication without structured sparsity, in TFLOP/s per device as JAX counts devices:
# (pattern of device_kind, 16-bit floats, float32 as JAX computes it by default there).
# On NVIDIA the second number is TF32, XLA's default for float32 matrix products; on TPUs it is the bfloat16 rate, since
# float32 products run as one bfloat16 pass by default.
PEAKS: tuple[tuple[str, float, float], ...] = (
    # NVIDIA A100 Tensor Core GPU data sheet (2021): BF16 312, TF32 156.
    (r"A100", 312.0, 156.0),
    # NVIDIA H100 data sheet (2023); its tables give the sparse rates 1,979 / 1,513 / 1,671 (SXM / PCIe / NVL): half.
    (r"H100 PCIe", 756.5, 378.0),
    (r"H100 NVL", 835.5, 417.5),
    (r"H100", 989.5, 494.5),
    # NVIDIA GH200 and H200 data sheets (2023, 2024): the H100 SXM's compute with more memory.
    (r"GH200", 989.5, 494.5),
    (r"H200 NVL", 835.5, 418.0),
    (r"H200", 989.5, 494.5),
    # NVIDIA HGX B200 data sheet (2025): 8 GPUs 36 PFLOP/s sparse FP16/BF16 and 18 sparse TF32; per GPU, dense, half.
    (r"GB200", 2500.0, 1250.0),
    (r"B200", 2250.0, 1125.0),
    # Google Cloud TPU documentation, "System architecture", a page per version: bfloat16 peak per chip.
    # v2 and v3 expose each chip as two devices (cores): 45 / 2 and 123 / 2.
    (r"TPU v2", 22.5, 22.5),
    (r"TPU v3", 61.5, 61.5),
    (r"TPU v4 lite|TPU v4i", 138.0, 138.0),
    (r"TPU v4", 275.0, 275.0),
    (r"TPU v5 lite|TPU v5e", 197.0, 197.0),
    (r"TPU v5p?$", 459.0, 459.0),
    (r"TPU v6 lite|TPU v6e", 918.0, 918.0),
)


def peak_flops(device_kind: str, dtype: Any = "bfloat16") -> float | None:
    """The peak FLOP/s of one device in dense matrix products; None where it is not known (every CPU).

    Args:
      device_kind: `jax.Device.device_kind`.
      dtype: Of the computation. float32 means what JAX does by default with float32 inputs on that device.

    >>> peak_flops("NVIDIA H100 80GB HBM3", "bfloat16")
    989500000000000.0
    >>> peak_flops("cpu") is None
    True
    """
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    column = {"bfloat16": 1, "float16": 1, "float32": 2}.get(name)
    if column is None:
        return None
    for row in PEAKS:
        if re.search(rf"(?<![A-Za-z0-9]){row[0] if '$' in row[0] else f'(?:{row[0]})(?![A-Za-z0-9])'}", device_kind):
            return float(row[column]) * 1e12
    return None
