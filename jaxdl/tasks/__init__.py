"""Tasks: what the model sees, the loss, the measures and the predictions."""

from jaxdl.tasks.classification import Classification
from jaxdl.tasks.regression import Regression

__all__ = ["Classification", "Regression"]
