"""Trained models: loading them from a run folder or one file, predicting, exporting."""

from jaxdl.inference.adapters import merge_lora
from jaxdl.inference.export import export
from jaxdl.inference.images import Prediction, predict_images
from jaxdl.inference.loaded import Loaded, load

__all__ = ["Loaded", "Prediction", "export", "load", "merge_lora", "predict_images"]
