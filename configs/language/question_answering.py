"""Questions whose answers are part of a text, in the form of SQuAD 1.1 or 2.0.

The argument is a folder with `train.json` and `dev.json` (or `train-v2.0.json` and the like). After a colon comes a
folder of Hugging Face with a BERT, or a run of `masked_lm.py`, to start from; without it a small network learns from
nothing. With `t5` a small T5 learns to write the answer (Raffel et al. 2020) instead of finding its place.
Bad questions, such as those whose answer is not where it is said to be, are left out and counted.

jaxdl train --config configs/language/question_answering.py:FOLDER:WEIGHTS --workdir runs/answers
jaxdl train --config configs/language/question_answering.py:FOLDER --workdir runs/answers_scratch
jaxdl train --config configs/language/question_answering.py:FOLDER:t5 --workdir runs/answers_t5
jaxdl predict --workdir runs/answers --context FILE --question "Who wrote it?"
"""

from pathlib import Path

from jaxdl.config import build, ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.text import AnswerWindows, PairRows, load_tokenizer, question_pairs, read_squad, tokenizer_of_questions
from jaxdl.errors import DataError
from jaxdl.interop.encoders import encoder_from
from jaxdl.models.bert import Bert
from jaxdl.models.t5 import T5
from jaxdl.models.text_heads import SpanExtractor
from jaxdl.optim import adam, linear, optimizer
from jaxdl.tasks import AnswerReport, QuestionAnswering, Translation, WrittenAnswerReport
from jaxdl.train import Evaluation, Experiment, Saving

SIZES = {"num_types": 2, "features": 128, "num_layers": 4, "num_heads": 4, "hidden": 512}
EPOCHS = {"pretrained": 2, "scratch": 8}
RATES = {"pretrained": 1e-4, "scratch": 1e-3}


def get_config(arg):
    folder, _, weights = arg.partition(":")
    questions = {part: spec(read_squad, path=file_of(folder, part), on_bad="skip") for part in ("train", "dev")}
    if weights == "t5":
        return written(questions)
    kind = "pretrained" if weights else "scratch"
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


def written(questions):
    tokenizer = spec(tokenizer_of_questions, questions=questions["train"], kind="bpe", vocabulary_size=4000)
    vocabulary_size = build(tokenizer).vocabulary_size
    rows = {
        part: spec(
            PairRows,
            records=spec(question_pairs, questions=questions[part]),
            tokenizer=tokenizer,
            widths=(256,) if part == "dev" else (96, 160, 256),
            too_long="cut",
        )
        for part in questions
    }
    steps = ref(EPOCHS["scratch"] * len(build(rows["train"])) // 16)
    return spec(
        Experiment,
        steps=steps,
        model=spec(T5, vocab_size=vocabulary_size, features=128, num_layers=3, num_heads=4, head_dim=32, hidden=512),
        task=spec(
            Translation,
            vocabulary_size=vocabulary_size,
            label_smoothing=0.0,
            beams=1,
            longest=0.05,
            spare=16,
        ),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.01,
            learning_rate=spec(linear, peak=1e-3, steps=steps, warmup_steps=steps // 10),
            clip_norm=1.0,
        ),
        tokenizer=tokenizer,
        train=spec(Pipeline, source=rows["train"], batch_size=16, window=50),
        evals={
            "dev": spec(
                Evaluation,
                data=spec(Pipeline, source=rows["dev"], batch_size=64),
                report=spec(WrittenAnswerReport, tokenizer=tokenizer, questions=questions["dev"]),
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
