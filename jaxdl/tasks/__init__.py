"""Tasks: what the model sees, the loss, the measures and the predictions."""

from jaxdl.tasks.classification import Classification
from jaxdl.tasks.language_modeling import LanguageModeling
from jaxdl.tasks.masked_language_modeling import MaskedLanguageModeling
from jaxdl.tasks.question_answering import AnswerReport, QuestionAnswering, WrittenAnswerReport
from jaxdl.tasks.regression import Regression
from jaxdl.tasks.text_classification import TextClassification
from jaxdl.tasks.translation import Translation, TranslationReport

__all__ = [
    "AnswerReport",
    "Classification",
    "LanguageModeling",
    "MaskedLanguageModeling",
    "QuestionAnswering",
    "Regression",
    "TextClassification",
    "Translation",
    "TranslationReport",
    "WrittenAnswerReport",
]
