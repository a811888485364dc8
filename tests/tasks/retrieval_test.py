import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.errors import ConfigError
from jaxdl.tasks import RetrievalReport
from jaxdl.train.report import Resampling, bootstrap

LABELS = 4


def rows(count, images, texts, seed=0, match=False):
    """Pairs of some images and texts, where an image or text that occurs again has the same vector."""
    random = np.random.default_rng(seed)
    image, text = random.integers(0, images, count), random.integers(0, texts, count)
    vectors = [random.normal(size=(size, 3)).astype(np.float32) for size in (images, texts)]
    decoded = {"image": vectors[0][image], "text": vectors[1][text], "label": random.integers(0, LABELS, count)}
    batch = {
        "image": np.broadcast_to(image[:, None, None, None], (count, 2, 2, 1)).astype(np.uint8),
        "tokens": np.stack([text, random.integers(0, 9, count)], axis=1).astype(np.int32),
        "token_mask": np.tile(np.float32([1, 0]), (count, 1)),  # The second token is not there.
        "label": random.integers(0, LABELS, count),
    }
    return decoded, batch | ({"match": random.integers(0, 3, count)} if match else {})


def cut(decoded, batch, *places):
    def part(values, span):
        return {name: value[span] for name, value in values.items()}

    spans = [slice(begin, end) for begin, end in zip((0, *places), (*places, len(batch["label"])))]
    return [(part(decoded, span), part(batch, span)) for span in spans]


def slowly(decoded, batch, k):
    """Recall in both directions, by the definition."""
    image, text = batch["image"][:, 0, 0, 0], batch["tokens"][:, 0]
    match = batch["match"] if "match" in batch else np.arange(len(image))
    found = []
    for asks, answers in (((image, "image"), (text, "text")), ((text, "text"), (image, "image"))):
        (query, query_name), (candidate, candidate_name) = asks, answers
        hits = []
        for row in range(len(image)):
            right = set(candidate[(query == query[row]) | (match == match[row])].tolist())
            products = {}
            for other, key in enumerate(candidate.tolist()):
                products[key] = float(decoded[query_name][row] @ decoded[candidate_name][other])
            order = sorted(products, key=lambda key, products=products, right=right: (-products[key], key in right))
            hits.append(bool(right & set(order[:k])))
        found.append(np.mean(hits))
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 25), st.integers(1, 12), st.integers(1, 12), st.integers(0, 999), st.booleans())
def test_equals_the_definition_however_the_pass_is_cut(count, images, texts, seed, match):
    decoded, batch = rows(count, images, texts, seed, match)
    report = RetrievalReport(at=(1, 2, 5), zero_shot=True)
    found = report(cut(decoded, batch, *sorted({count // 3, count // 2} - {0})))
    assert set(found) == set(report.names)
    for k in report.at:
        both = [found[f"{way}_recall{k}"] for way in ("image_to_text", "text_to_image")]
        assert both == pytest.approx(slowly(decoded, batch, k))
    assert found["zero_shot_accuracy"] == pytest.approx((decoded["label"] == batch["label"]).mean())


def test_equals_top_k_accuracy_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    image, text = random.normal(size=(2, 600, 4)).astype(np.float32)
    batch = {
        "image": random.integers(0, 256, (600, 4, 4, 3)).astype(np.uint8),
        "tokens": np.arange(600)[:, None],
        "token_mask": np.ones((600, 1)),
    }
    found = RetrievalReport(at=(1, 10, 100))([({"image": image, "text": text}, batch)])
    for way, products in (("image_to_text", image @ text.T), ("text_to_image", text @ image.T)):
        for k in (1, 10, 100):
            expected = metrics.top_k_accuracy_score(np.arange(600), products, k=k)
            assert found[f"{way}_recall{k}"] == pytest.approx(expected)


def test_vectors_that_are_all_the_same_find_nothing():
    decoded, batch = rows(40, 1000, 1000)
    decoded |= {name: np.ones((40, 3), np.float32) for name in ("image", "text")}
    found = RetrievalReport()([(decoded, batch)])
    assert found["image_to_text_recall10"] < 0.2
    assert found["text_to_image_recall10"] < 0.2


def test_it_can_be_resampled():
    decoded, batch = rows(60, 30, 30, match=True)
    report = RetrievalReport(at=(1,))
    assert isinstance(report, Resampling)
    statistics = report.statistics([(decoded, batch)])
    assert statistics.shape == (60, 3)
    low, high = bootstrap(report, statistics, replicates=200)["image_to_text_recall1"]
    assert low <= report([(decoded, batch)])["image_to_text_recall1"] <= high


def test_what_makes_no_sense_is_refused():
    for at in ((), (0,), (1, 1)):
        with pytest.raises(ValueError, match="different positive"):
            RetrievalReport(at=at)
    decoded, batch = rows(3, 3, 3)
    report = RetrievalReport(zero_shot=True)
    with pytest.raises(ConfigError, match="has no 'label'"):
        report([(decoded, {name: value for name, value in batch.items() if name != "label"})])
    del decoded["label"]
    with pytest.raises(ConfigError, match="no prompts"):
        report([(decoded, batch)])
    assert dataclasses.replace(report, zero_shot=False)([(decoded, batch)])
    del decoded["text"]
    with pytest.raises(ConfigError, match="'text'"):
        report([(decoded, batch)])
