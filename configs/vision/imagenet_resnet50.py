"""ResNet-50 v1.5 on ImageNet for 90 epochs (He et al., 2016; Goyal et al., 2017), data parallel over all devices.

TensorFlow Datasets must have prepared `imagenet2012` in the array_record format; docs/data.md says how. The argument is
its folder where that is not TFDS's own; `synthetic` stands for noise of the same shapes, to plan and time a run.

jaxdl train --config configs/vision/imagenet_resnet50.py --workdir runs/imagenet
jaxdl plan --config configs/vision/imagenet_resnet50.py:synthetic --devices 64
"""

from jaxdl.config import ref, spec
from jaxdl.data import Pipeline
from jaxdl.data.sources import Synthetic, tfds_source
from jaxdl.data.sources.synthetic import Field
from jaxdl.data.transforms import CenterCrop, Decode, RandomFlip, RandomResizedCrop, ResizeSmallest
from jaxdl.learners import Precision
from jaxdl.models import ResNet
from jaxdl.optim import cosine, optimizer, sgd
from jaxdl.tasks import Classification
from jaxdl.train import Evaluation, Experiment, Saving

EXAMPLES, BATCH = 1_281_167, 1024


def get_config(data_dir=None):
    steps = ref(90 * EXAMPLES // BATCH)
    val_transforms = (spec(Decode), spec(ResizeSmallest, size=256), spec(CenterCrop, size=224))
    train_transforms = (spec(Decode), spec(RandomResizedCrop, size=224), spec(RandomFlip))
    if data_dir == "synthetic":
        source = {"train": noise(EXAMPLES), "validation": noise(50_000)}
        val_transforms = train_transforms = ()
    else:
        source = {
            split: spec(tfds_source, name="imagenet2012", split=split, data_dir=data_dir, fields=("image", "label"))
            for split in ("train", "validation")
        }
    val = spec(Pipeline, source=source["validation"], batch_size=BATCH, transforms=val_transforms)
    return spec(
        Experiment,
        steps=steps,
        model=spec(ResNet, num_classes=1000, depth=50),
        task=spec(
            Classification,
            num_classes=1000,
            label_smoothing=0.1,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
        ),
        # 0.1 for each 256 rows of a batch, after five epochs of warm-up (Goyal et al., section 2.2).
        optimizer=spec(
            optimizer,
            rule=spec(sgd, momentum=0.9, nesterov=True),
            l2=1e-4,
            learning_rate=spec(cosine, peak=0.1 * BATCH / 256, steps=steps, warmup_steps=5 * EXAMPLES // BATCH),
        ),
        precision=spec(Precision, compute="bfloat16"),
        mesh={"data": -1, "fsdp": 1},
        train=spec(Pipeline, source=source["train"], batch_size=BATCH, transforms=train_transforms),
        evals={"validation": spec(Evaluation, data=val, every_epochs=1.0)},
        saving=spec(Saving, every=5000, best="validation/accuracy", mode="max"),
    )


def noise(count):
    """Images and labels of random numbers."""
    fields = {"image": spec(Field, dtype="uint8", shape=(224, 224, 3)), "label": spec(Field, dtype="int32", high=1000)}
    return spec(Synthetic, count=count, fields=fields)
