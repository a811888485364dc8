"""A small CLIP (Radford et al. 2021) that learns which captions belong to which of scikit-learn's handwritten digits.

It sees no class in training, only captions such as "the number three", letter by letter. A digit is then classified by
the captions that it is nearest to.

jaxdl train --config configs/vision/clip_digits.py --workdir runs/clip_digits
"""

from jaxdl.augment import RandomCrop
from jaxdl.config import build, ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import Captioned, class_captions, class_prompts, digits
from jaxdl.data.text import tokenizer_of
from jaxdl.models.clip import CLIP, ClipText, clip_vit
from jaxdl.optim import adam, cosine, optimizer
from jaxdl.tasks import ImageText, RetrievalReport
from jaxdl.train import Evaluation, Experiment, Saving

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CAPTIONS = ("the digit {}", "the number {}", "a written {}")
SIZES = {"features": 64, "num_heads": 4, "hidden": 128}


def get_config():
    steps, length = ref(1500), ref(18)
    words = {"captions": CAPTIONS, "names": NAMES}
    tokenizer = spec(tokenizer_of, records=spec(class_captions, **words), kind="character")
    made = build(tokenizer)
    source = {
        part: spec(Captioned, source=spec(digits, split=part), tokenizer=tokenizer, length=length, **words)
        for part in ("train", "test")
    }
    text_encoder = spec(
        ClipText,
        vocab_size=made.vocabulary_size,
        max_length=length,
        num_layers=2,
        end_token=made.special("end"),
        **SIZES,
    )
    image_encoder = spec(clip_vit, patch_size=2, num_layers=3, dropout_rate=0.1, **SIZES)
    return spec(
        Experiment,
        steps=steps,
        model=spec(CLIP, image_encoder=image_encoder, text_encoder=text_encoder, features=32),
        task=spec(ImageText, prompts=class_prompts(tokenizer=made, **words)),
        optimizer=spec(
            optimizer,
            rule=spec(adam),
            weight_decay=0.1,
            learning_rate=spec(cosine, peak=2e-3, steps=steps, warmup_steps=steps // 15),
            clip_norm=1.0,
        ),
        augment=spec(RandomCrop, padding=1),
        tokenizer=tokenizer,
        train=spec(Pipeline, source=source["train"], batch_size=64),
        evals={
            "test": spec(
                Evaluation,
                data=spec(Pipeline, source=source["test"], batch_size=120),
                every=500,
                report=spec(RetrievalReport, zero_shot=True),
            )
        },
        saving=spec(Saving, every=500),
    )
