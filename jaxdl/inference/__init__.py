"""Trained models: loading them from a run folder or one file, predicting, exporting."""

from jaxdl.decoding import GREEDY, Sampling
from jaxdl.inference.adapters import merge_lora
from jaxdl.inference.export import export
from jaxdl.inference.images import Prediction, predict_images
from jaxdl.inference.loaded import Loaded, load
from jaxdl.inference.pictures import heat_map
from jaxdl.inference.text import Generated, TextModel, beam_texts, generate_texts, stream_text, text_model
from jaxdl.inference.texts import TextPrediction, attention_of, check_attention, predict_texts

__all__ = [
    "GREEDY",
    "Generated",
    "Loaded",
    "Prediction",
    "Sampling",
    "TextModel",
    "TextPrediction",
    "attention_of",
    "beam_texts",
    "check_attention",
    "export",
    "generate_texts",
    "heat_map",
    "load",
    "merge_lora",
    "predict_images",
    "predict_texts",
    "stream_text",
    "text_model",
]
