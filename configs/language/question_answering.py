"""Questions whose answers are part of a text, in the form of SQuAD 1.1 or 2.0.

The argument is a folder with `train.json` and `dev.json` (or `train-v2.0.json` and the like). After a colon comes a
folder of Hugging Face with a BERT, or a run of `masked_lm.py`, to start from; without it a small network learns from
nothing.

jaxdl train --config configs/language/question_answering.py:FOLDER:WEIGHTS --workdir runs/answers
jaxdl train --config configs/language/question_answering.py:FOLDER --workdir runs/answers_scratch
jaxdl predict --workdir runs/answers --context FILE --question "Who wrote it?"
"""

from pathlib import Path

from jaxdl.config import build, ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import AnswerWindows, load_tokenizer, read_squad, tokenizer_of_questions
from jaxdl.errors import DataError
from jaxdl.interop.encoders import encoder_from
from jaxdl.models.bert import Bert
from jaxdl.models.text_heads import SpanExtractor
from jaxdl.optim import adam, linear, optimizer
from jaxdl.tasks import AnswerReport, QuestionAnswering
from jaxdl.train import Evaluation, Experiment, Saving

SIZES = {"num_types": 2, "features": 128, "num_layers": 4, "num_heads": 4, "hidden": 512}
EPOCHS = {"pretrained": 2, "scratch": 8}
RATES = {"pretrained": 1e-4, "scratch": 1e-3}


def get_config(arg):
    folder, _, weights = arg.partition(":")
    kind = "pretrained" if weights else "scratch"
    questions = {part: spec(read_squad, path=file_of(folder, part), on_bad="skip") for part in ("train", "dev")}
    if weights:
        tokenizer = spec(load_tokenizer, path=str(Path(weights) / "tokenizer.json"))
        encoder, init_from = encoder_from(weights)
    else:
        tokenizer = spec(tokenizer_of_questions, questions=questions["train"], vocabulary_size=8000)
        vocabulary_size = build(tokenizer).vocabulary_size
        encoder, init_from = spec(Bert, vocab_size=vocabulary_size, max_length=384, pooler=False, **SIZES), None
    length = ref(min(encoder.max_length, 128))
    windows = {
        part: spec(
            AnswerWindows,
            questions=questions[part],
            tokenizer=tokenizer,
            length=length,
            overlap=length // 4,
            max_question=24,
        )
        for part in questions
    }
    no_answer = any(not question.answers for question in build(questions["train"]))
    steps = ref(EPOCHS[kind] * len(build(windows["train"])) // 16)
    return spec(
        Experiment,
        steps=steps,
        model=spec(SpanExtractor, encoder=encoder),
        task=spec(QuestionAnswering, token_types=encoder.num_types > 1),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.01,
            learning_rate=spec(linear, peak=RATES[kind], steps=steps, warmup_steps=steps // 10),
            learning_rate_multipliers=((r"head/.*", 10.0), (".*", 1.0)) if weights else (),
            clip_norm=1.0,
        ),
        init_from=init_from,
        tokenizer=tokenizer,
        train=spec(Pipeline, source=windows["train"], batch_size=16),
        evals={
            "dev": spec(
                Evaluation,
                data=spec(Pipeline, source=windows["dev"], batch_size=64),
                report=spec(AnswerReport, windows=windows["dev"], no_answer=no_answer),
            )
        },
        saving=spec(Saving),
    )


def file_of(folder, part):
    """The file of a part, whatever version its name ends in."""
    found = sorted(Path(folder).glob(f"{part}*.json"))
    if not found:
        raise DataError(f"{folder} holds no {part}.json.")
    return str(found[0])
