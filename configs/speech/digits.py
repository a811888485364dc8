"""Spoken digits to text, letter by letter, on the Free Spoken Digit Dataset (Jackson et al. 2018) or one named like it.

The argument is the folder of `DIGIT_SPEAKER_NUMBER.wav`; after a colon the model: `conformer` (Gulati et al. 2020, with
connectionist temporal classification) or `whisper` (Radford et al. 2022, much smaller); and after another the speaker
who is held out, instead of the recordings numbered 0 to 4 of all.

jaxdl train --config configs/speech/digits.py:FOLDER --workdir runs/conformer
jaxdl train --config configs/speech/digits.py:FOLDER:whisper --workdir runs/whisper
jaxdl train --config configs/speech/digits.py:FOLDER:conformer:theo --workdir runs/theo
"""

from jaxdl.augment import MaskSpectra
from jaxdl.config import build, ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.audio import LogMel, SpeechRows, spoken_digits
from jaxdl.data.text import tokenizer_of
from jaxdl.errors import ConfigError
from jaxdl.models.conformer import Conformer
from jaxdl.models.whisper import Whisper
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import CtcTranscription, Transcription, TranscriptionReport
from jaxdl.train import Evaluation, Experiment, Saving

STEPS = {"conformer": 1_200, "whisper": 2_000}
NUM_MELS = 40
FRAMES = 128  # A second; of the data set three words in a thousand take longer, and lose their end.


def get_config(arg="data/fsdd"):
    folder, kind, speaker = (arg.split(":") + ["conformer", ""][arg.count(":") :])[:3]
    if kind not in STEPS:
        raise ConfigError(
            f"The model is one of {', '.join(STEPS)}, not {kind!r}: configs/speech/digits.py:FOLDER:MODEL."
        )
    records = {part: spec(spoken_digits, path=folder, part=part, speaker=speaker or None) for part in ("train", "test")}
    tokenizer = spec(tokenizer_of, records=records["train"], kind="character")
    size = ref(build(tokenizer).vocabulary_size)
    steps = ref(STEPS[kind])
    model, task = conformer(size) if kind == "conformer" else whisper(size)
    return spec(
        Experiment,
        steps=steps,
        model=model,
        task=task,
        tokenizer=tokenizer,
        optimizer=spec(
            optimizer,
            rule=spec(adam, b2=0.98),
            weight_decay=0.01,
            clip_norm=1.0,
            learning_rate=spec(cosine, peak=2e-3, steps=steps, warmup_steps=steps // 10),
        ),
        augment=spec(MaskSpectra, bands=2, widest_band=8, times=2, widest_time=12),
        train=spec(Pipeline, source=rows(records["train"], tokenizer), batch_size=32),
        evals={
            "test": spec(
                Evaluation,
                data=spec(Pipeline, source=rows(records["test"], tokenizer), batch_size=50),
                report=spec(TranscriptionReport, tokenizer=tokenizer, records=records["test"]),
            )
        },
        saving=spec(Saving),
        ema_decay=0.99,
    )


def rows(records, tokenizer):
    features = spec(LogMel, rate=8_000, window=256, hop=64, num_mels=NUM_MELS, relative=True)
    return spec(SpeechRows, records=records, tokenizer=tokenizer, features=features, widths=(FRAMES,), too_long="cut")


def conformer(size):
    model = spec(
        Conformer,
        vocab_size=size,
        num_mels=NUM_MELS,
        features=64,
        num_layers=2,
        num_heads=4,
        kernel_size=15,
    )
    return model, spec(CtcTranscription, vocabulary_size=size)


def whisper(size):
    model = spec(
        Whisper,
        vocab_size=size,
        num_mels=NUM_MELS,
        max_frames=FRAMES // 2,
        max_length=16,
        features=64,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.1,
    )
    return model, spec(Transcription, vocabulary_size=size, longest=12)
