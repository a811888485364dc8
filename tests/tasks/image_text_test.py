import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl.errors import ConfigError, DataError
from jaxdl.learners import Precision, supervised
from jaxdl.losses import info_nce
from jaxdl.models import MLP
from jaxdl.models.clip import CLIP, ClipText, clip_vit
from jaxdl.optim import adam, optimizer
from jaxdl.tasks import Classification, ImageText

END = 9
SIZES = {"features": 8, "num_layers": 1, "num_heads": 2, "hidden": 8}
MODEL = CLIP(
    image_encoder=clip_vit(patch_size=4, **SIZES),
    text_encoder=ClipText(vocab_size=10, max_length=6, end_token=END, **SIZES),
    features=6,
)
PROMPTS = (((3, 4, END), (5, END)), ((6, 7, 8, END),), ((4, END), (4, 4, END)))
TASK = ImageText(prompts=PROMPTS, mean=(0.3,), std=(0.2,))


def batch(rows=4, seed=0):
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 6, rows)[:, None]
    tokens = np.where(np.arange(5) == lengths - 1, END, random.integers(3, 9, (rows, 5)))
    return {
        "image": random.integers(0, 256, (rows, 8, 8, 1)).astype(np.uint8),
        "tokens": tokens.astype(np.int32),
        "token_mask": (np.arange(5) < lengths).astype(np.float32),
        "label": random.integers(0, 3, rows).astype(np.int32),
        "mask": np.ones(rows, np.float32),
    }


@functools.cache
def variables():
    return jax.jit(lambda data: MODEL.init(jax.random.key(0), **TASK.inputs(data), train=False))(batch())


APPLY = jax.jit(lambda variables, data: MODEL.apply(variables, **TASK.inputs(data), train=False))


def outputs_of(data):
    return APPLY(variables(), data)


@functools.cache
def predictor(task):
    return jax.jit(lambda variables, data: task.decode(task.predict(MODEL, variables, data)))


def test_inputs_are_those_of_the_model():
    data = batch()
    inputs = TASK.inputs(data)
    assert set(inputs) == {"image", "tokens", "token_mask"}
    expected = Classification(num_classes=2, mean=(0.3,), std=(0.2,)).inputs(data)["image"]
    np.testing.assert_array_equal(inputs["image"], expected)


def test_the_loss_is_a_mean_over_real_rows():
    data = batch(4)
    data["tokens"][:] = np.arange(4)[:, None] + 3
    data["mask"][2] = 0
    outputs = outputs_of(data)
    loss, metrics = TASK.score(outputs, data)
    kept = [0, 1, 3]
    image, text = (np.asarray(outputs[name])[kept] for name in ("image", "text"))
    expected = info_nce(image, text, scale=outputs["scale"])
    assert (float(loss.weight), float(loss.compute())) == (3, pytest.approx(float(expected.mean()), rel=1e-5))
    found = {name: float(metric.compute()) for name, metric in metrics.items()}
    similarity = (image * text).sum(axis=1).mean()
    assert found == pytest.approx({"similarity": similarity, "scale": 1 / 0.07}, rel=1e-5)


def test_equal_texts_and_rows_of_one_match_belong_together():
    data = batch(4)
    data["token_mask"][:] = [1, 1, 0, 0, 0]
    data["tokens"][:, :2] = [[3, END], [4, END], [3, END], [5, END]]  # What the mask hides differs.
    outputs = outputs_of(data)
    image, text, scale = (outputs[name] for name in ("image", "text", "scale"))

    def loss(same, **more):
        found, _ = TASK.score(outputs, data | more)
        np.testing.assert_allclose(found.compute(), info_nce(image, text, scale=scale, same=same).mean(), rtol=1e-6)

    loss(np.asarray([0, 1, 0, 2]))
    loss(np.asarray([0, 1, 0, 1]), match=np.asarray([0, 1, 2, 1], np.int32))


def test_the_scale_is_kept_at_its_largest():
    data = batch()
    outputs = outputs_of(data)
    at, above = (TASK.score({**outputs, "scale": jnp.float32(scale)}, data) for scale in (100, 5000))
    assert float(at[0].compute()) == float(above[0].compute())
    assert float(above[1]["scale"].compute()) == 100
    loss, _ = dataclasses.replace(TASK, largest_scale=200.0).score({**outputs, "scale": jnp.float32(150)}, data)
    assert float(loss.compute()) > float(at[0].compute())


def test_measures_do_not_depend_on_the_batches():
    data = batch(6)
    whole = TASK.measure(outputs_of(data), data)
    parts = []
    for rows in ([0, 5, 2], [1, 3, 4]):
        part = {name: value[rows] for name, value in data.items()}
        parts.append(TASK.measure(outputs_of(part), part))
    for name, metric in whole.items():
        added = jax.tree.map(jnp.add, parts[0][name], parts[1][name])
        np.testing.assert_allclose(added.compute(), metric.compute(), rtol=1e-5)


def test_predictions_are_the_vectors_and_the_nearest_class():
    data = batch()
    found = predictor(TASK)(variables(), data)
    outputs = outputs_of(data)
    for name in ("image", "text"):
        np.testing.assert_allclose(found[name], outputs[name], atol=1e-5)
    encode = jax.jit(functools.partial(MODEL.apply, train=False, method="encode_text"))
    classes = []
    for captions in PROMPTS:
        each = [np.asarray(encode(variables(), jnp.asarray([ids]))[0]) for ids in captions]
        mean = np.mean(each, axis=0)
        classes.append(mean / np.linalg.norm(mean))
    logits = np.asarray(outputs["image"]) @ np.stack(classes).T / 0.07
    np.testing.assert_allclose(found["probabilities"], jax.nn.softmax(logits), atol=1e-4)
    np.testing.assert_array_equal(found["label"], logits.argmax(axis=1))
    alone = predictor(TASK)(variables(), {name: data[name] for name in ("image", "mask")})
    assert set(alone) == {"image", "probabilities", "label"}
    np.testing.assert_allclose(alone["probabilities"], found["probabilities"], atol=1e-5)
    without = ImageText(mean=(0.3,), std=(0.2,))
    assert set(predictor(without)(variables(), data)) == {"image", "text"}
    with pytest.raises(ConfigError, match="`prompts`"):
        without.predict(MODEL, variables(), {"image": data["image"]})


@pytest.mark.slow
def test_a_learner_trains_predicts_and_evaluates():
    data = batch()
    data["tokens"][:, :2] = [[3 + row, END] for row in range(4)]
    data["image"] = np.kron(np.eye(4).reshape(4, 2, 2, 1), np.ones((1, 4, 4, 1)) * 255).astype(np.uint8)
    wide = {**SIZES, "features": 16, "hidden": 32}
    text_encoder = ClipText(vocab_size=10, max_length=6, end_token=END, **wide)
    model = CLIP(image_encoder=clip_vit(patch_size=4, **wide), text_encoder=text_encoder, features=6)
    rule = optimizer(rule=adam(), learning_rate=3e-3, clip_norm=1.0)
    learner = supervised(model, TASK, rule, precision=Precision(compute="bfloat16"))
    state = learner.init(jax.random.key(0), data)
    step = jax.jit(learner.step)
    for _ in range(80):
        state, metrics = step(state, data)
    assert float(metrics["loss"].compute()) < 0.9 * math.log(4)  # Better than chance.
    assert set(learner.evaluate(state, data)) == {"loss", "similarity", "scale"}
    assert TASK.decode(learner.predict(state, data))["label"].shape == (4,)


def test_what_makes_no_sense_is_refused():
    for changes, message in (
        ({"largest_scale": 0.0}, "largest_scale"),
        ({"prompts": (((3,),),)}, "two classes"),
        ({"prompts": (((3,),), ())}, "class 1"),
        ({"prompts": (((3,),), ((),))}, "class 1"),
        ({"std": (0.0,)}, "std"),
    ):
        with pytest.raises(ValueError, match=message):
            ImageText(**changes)
    data = batch()
    with pytest.raises(ConfigError, match="'scale'"):
        TASK.score(jnp.zeros((4, 3)), data)
    learner = supervised(MLP(num_classes=3), TASK, optimizer(rule=adam()))
    with pytest.raises(ConfigError, match="tokens"):
        learner.init(jax.random.key(0), data)


def test_bad_rows_are_found():
    data = batch(5)
    assert TASK.check(data) == []
    data["label"][1] = 3
    data["token_mask"][2] = 0
    assert TASK.check(data) == [(1, "label 3 is outside [0, 3)"), (2, "there is no token in it")]
    assert ImageText().check(data) == [(2, "there is no token in it")]
    data["mask"][2] = 0
    assert ImageText().check(data) == []
    data["image"] = np.full((5, 8, 8, 1), 2.0, np.float32)
    assert [row for row, _ in ImageText().check(data)] == [0, 1, 3, 4]
    with pytest.raises(DataError, match=r"integers \(B, T\), not float32 \(5,\)"):
        TASK.check({**data, "tokens": np.zeros(5, np.float32)})
    del data["tokens"]
    with pytest.raises(DataError, match="'tokens'"):
        TASK.check(data)
