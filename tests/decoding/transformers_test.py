"""Decoding beside `generate` of transformers, on the same tiny random GPT-2."""

import jax
import numpy as np
import pytest

from jaxdl.decoding import beam_search, generate, prefill, stepping
from jaxdl.interop import Foreign, to_ours
from jaxdl.interop.families import gpt2

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

END, PROMPTS = 11, np.array([[3, 1, 4, 1], [9, 2, 6, 5], [8, 8, 7, 0]], np.int32)
