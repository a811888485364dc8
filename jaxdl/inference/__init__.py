"""Trained models: loading them from a run folder or one file, predicting, exporting."""

from jaxdl.inference.export import export
from jaxdl.inference.images import Prediction, predict_images
from jaxdl.inference.loaded import Loaded, load

__all__ = ["Loaded", "Prediction", "export", "load", "predict_images"]
