"""Tasks: what the model sees, the loss, the measures and the predictions."""

from jaxdl.tasks.classification import Classification
from jaxdl.tasks.language_modeling import LanguageModeling
from jaxdl.tasks.regression import Regression
from jaxdl.tasks.text_classification import TextClassification

__all__ = ["Classification", "LanguageModeling", "Regression", "TextClassification"]
