"""Tasks: what the model sees, the loss, the measures and the predictions."""

from jaxdl.tasks.classification import Classification
from jaxdl.tasks.image_text import ImageText
from jaxdl.tasks.language_modeling import LanguageModeling
from jaxdl.tasks.masked_language_modeling import MaskedLanguageModeling
from jaxdl.tasks.question_answering import AnswerReport, QuestionAnswering, WrittenAnswerReport
from jaxdl.tasks.regression import Regression
from jaxdl.tasks.retrieval import RetrievalReport
from jaxdl.tasks.text_classification import TextClassification
from jaxdl.tasks.transcription import CtcTranscription, Transcription, TranscriptionReport
from jaxdl.tasks.translation import Translation, TranslationReport

__all__ = [
    "AnswerReport",
    "Classification",
    "CtcTranscription",
    "ImageText",
    "LanguageModeling",
    "MaskedLanguageModeling",
    "QuestionAnswering",
    "Regression",
    "RetrievalReport",
    "TextClassification",
    "Transcription",
    "TranscriptionReport",
    "Translation",
    "TranslationReport",
    "WrittenAnswerReport",
]
