"""Near strangers: the relative Mahalanobis distance, and the thresholds that are chosen with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from tlaam.reference.contrast import Contrast, _covariance
from tlaam.reference.ood_detector import OODDetector
from tlaam.reference.similarity import unit
from tlaam.reference.thresholds import by_training_images


def drawn(classes: int, each: int, seed: int, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Directions of classes that share much and differ along a few axes, in which members differ little."""
    centres = np.random.default_rng(3).normal(size=(12, 6)) @ np.random.default_rng(4).normal(size=(6, width))
    draws, labels = np.random.default_rng(seed), np.repeat(np.arange(classes), each)
    common = 12 * np.ones(width)
    noise = draws.normal(size=(len(labels), 10)) @ np.random.default_rng(5).normal(size=(10, width)) * 1.5
    return unit(common + 0.8 * centres[labels] + noise), labels


def test_it_is_the_difference_of_two_mahalanobis_distances_with_shrunk_covariances() -> None:
    """By scikit-learn's covariances, in the principal axes of a singular value decomposition."""
    directions, labels = drawn(6, 40, 0)
    contrast = Contrast.fit(directions, labels)
    assert contrast is not None and contrast.axes.shape == (40, 40)
    mean = directions.mean(0, dtype=float)
    z = (directions - mean) @ np.linalg.svd(directions - mean)[2].T
    means = np.stack([z[labels == label].mean(0) for label in range(6)])
    within = np.linalg.inv(ledoit_wolf(z - means[labels], assume_centered=True)[0])
    everything = np.linalg.inv(ledoit_wolf(z, assume_centered=True)[0])
    away = z[:, None] - means
    expected = np.einsum("ni,ij,nj->n", z, everything, z) - np.einsum("nci,ij,ncj->nc", away, within, away).min(1)
    np.testing.assert_allclose(contrast.of(directions), expected, rtol=0.02, atol=0.05)  # axes are kept in 16 bits


def test_covariances_are_ledoits_and_wolfs() -> None:
    x = np.random.default_rng(0).normal(size=(30, 8)) @ np.random.default_rng(1).normal(size=(8, 8))
    x -= x.mean(0)
    np.testing.assert_allclose(_covariance(x), ledoit_wolf(x, assume_centered=True)[0], rtol=1e-6)


@pytest.mark.parametrize(("classes", "each"), [(2, 60), (4, 4), (30, 1)])
def test_of_too_few_there_is_none(classes: int, each: int) -> None:
    directions = unit(np.random.default_rng(0).normal(size=(classes * each, 10)))
    assert Contrast.fit(directions, np.repeat(np.arange(classes), each)) is None


def test_more_near_strangers_are_told_and_no_more_of_its_own() -> None:
    directions, labels = drawn(8, 40, 0)
    detector = by_training_images(directions, labels, 8, sure_from=0.5, chosen_on="x")
    assert detector.near is not None
    plain = by_training_images(directions[:50], labels[:50] % 2, 2, sure_from=0.5, chosen_on="x")
    assert plain.near is None, "two classes are too few"
    new, of_new = drawn(12, 100, 1)
    own, others = new[of_new < 8], new[of_new >= 8]

    def told(which: OODDetector, asked: np.ndarray) -> float:
        return float((which.similarity(asked) < which.threshold).mean())

    assert told(detector, own) < 0.08 and told(detector, others) > 0.9
    alone = replace(detector, near=None)
    assert told(alone, others) < 0.5, "by the cosine alone they are not"
    assert told(detector, directions) <= 0.05
    far = unit(np.random.default_rng(9).normal(size=(200, 40)))
    assert told(detector, far) == 1


def test_another_length_changes_nothing() -> None:
    directions, labels = drawn(8, 40, 0)
    detector = by_training_images(directions, labels, 8, sure_from=0.5, chosen_on="x")
    np.testing.assert_allclose(detector.similarity(7 * directions), detector.similarity(directions), atol=1e-5)


def test_it_goes_through_text() -> None:
    directions, labels = drawn(8, 40, 0)
    detector = by_training_images(directions, labels, 8, sure_from=0.5, chosen_on="x")
    text = detector.to_text()
    assert text is not None
    again = OODDetector.from_text(text, 8)
    np.testing.assert_array_equal(again.similarity(directions), detector.similarity(directions))
    assert again.near is not None and detector.near is not None and again.near.facts() == detector.near.facts()


@pytest.mark.parametrize("name", ["mean", "axes", "centres", "spread"])
def test_what_is_none_is_refused(name: str) -> None:
    directions, labels = drawn(8, 40, 0)
    contrast = Contrast.fit(directions, labels)
    assert contrast is not None
    arrays = contrast.arrays()
    assert Contrast.checked(arrays, 40).axes.shape == contrast.axes.shape
    for wrong in (arrays[name][..., :-1], np.full_like(arrays[name], np.nan), arrays[name][:0]):
        with pytest.raises(ValueError, match="contrast"):
            Contrast.checked({**arrays, name: wrong}, 40)
    for facts in (None, {}, {**contrast.to_facts(), name: 3}, {**contrast.to_facts(), name: "AAAA"}):
        with pytest.raises(ValueError, match=r"contrast|buffer size"):
            Contrast.from_facts(facts, 40)
