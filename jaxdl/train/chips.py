"""The memory and the links of accelerators, for predictions. Their peak FLOP/s are in `jaxdl.train.hardware`."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from jaxdl.errors import ConfigError
from jaxdl.train.hardware import peak_flops

GB = 10**9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One device.

    Attributes:
      kind: As JAX calls it.
      memory: In bytes.
      link: Bytes per second to its neighbours, all links together, one way.
    """

    kind: str
    memory: int
    link: float

    def peak(self, dtype: str) -> float:
        """Its FLOP/s in matrix products of a dtype.

        Raises:
          ConfigError: they are not known.
        """
        found = peak_flops(self.kind, dtype)
        if found is None:
            raise ConfigError(
                f"The peak of a {self.kind} in {dtype} is not known, so no step in it can be planned: set "
                "precision.compute to float32, bfloat16 or float16."
            )
        return found


# NVIDIA data sheets (A100 2021, H100 2023, H200 2024, HGX B200 2025): memory, and half of the NVLink bandwidth, which
# they give for both ways. Google Cloud TPU documentation, a page per version: memory and interchip bandwidth of a chip.
CHIPS: Mapping[str, Chip] = MappingProxyType(
    {
        "a100": Chip(kind="NVIDIA A100-SXM4-80GB", memory=80 * GB, link=300e9),
        "h100": Chip(kind="NVIDIA H100 80GB HBM3", memory=80 * GB, link=450e9),
        "h200": Chip(kind="NVIDIA H200", memory=141 * GB, link=450e9),
        "b200": Chip(kind="NVIDIA B200", memory=180 * GB, link=900e9),
        "v4": Chip(kind="TPU v4", memory=32 * 2**30, link=300e9),
        "v5e": Chip(kind="TPU v5e", memory=16 * 2**30, link=200e9),
        "v5p": Chip(kind="TPU v5p", memory=95 * 2**30, link=600e9),
        "v6e": Chip(kind="TPU v6e", memory=32 * 2**30, link=448e9),
    }
)
