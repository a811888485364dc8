"""Recurrent models at published sizes."""

from functools import partial

from jaxdl.models.published.entry import Published
from jaxdl.models.recurrent import RecurrentClassifier, RecurrentLanguageModel

_ZAREMBA = "The paper gives the sizes; the number is that of its equations, with one bias a gate (PyTorch has two)."

PUBLISHED = (
    Published(
        name="LSTM (Zaremba, medium)",
        make=partial(RecurrentLanguageModel, vocab_size=10_000, features=650, num_layers=2, dropout_rate=0.5),
        inputs={"tokens": ((35,), "int32")},
        parameters=19_775_200,
        paper="Zaremba et al. 2014",
        source=_ZAREMBA,
    ),
    Published(
        name="LSTM (Zaremba, large)",
        make=partial(RecurrentLanguageModel, vocab_size=10_000, features=1500, num_layers=2, dropout_rate=0.65),
        inputs={"tokens": ((35,), "int32")},
        parameters=66_022_000,
        paper="Zaremba et al. 2014",
        source=_ZAREMBA,
    ),
    Published(
        name="BiLSTM (IMDB)",
        make=partial(
            RecurrentClassifier, num_classes=1, vocab_size=20_000, features=64, num_layers=2, bidirectional=True
        ),
        inputs={"tokens": ((200,), "int32")},
        parameters=2_757_761,
        paper="Graves and Schmidhuber 2005",
        source="Model summary in Keras's code example 'Bidirectional LSTM on IMDB'.",
    ),
)
