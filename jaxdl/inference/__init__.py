"""Trained models: loading them from a run folder or one file, predicting, exporting."""

from jaxdl.inference.loaded import Loaded, load
from jaxdl.inference.export import export
from jaxdl.inference.images import Prediction, predict_images

__all__ = ["Loaded", "Prediction", "export", "load", "predict_images"]
