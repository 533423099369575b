"""The few-images curve, and where it may lead."""

from __future__ import annotations

import numpy as np
import pytest

from tlaam.probe.curve import CurvePoint, few_images_curve, growth_of
from tlaam.probe.linear import Scaling


def points(count: int, classes: int = 4, spread: float = 1.6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draws = np.random.default_rng(1)
    labels = np.repeat(np.arange(classes), count)
    centres = draws.normal(size=(classes, 12))
    features = centres[labels] + spread * draws.normal(size=(len(labels), 12))
    return features, labels, np.arange(len(labels)) % 5


def test_more_images_name_more_of_the_held_out_ones() -> None:
    features, labels, folds = points(40)
    found = few_images_curve(features, labels, 4, folds, 0.01, Scaling(), np.zeros(4), seed=0)
    assert [point.images for point in found] == [8.0, 16.0]
    assert 0.3 < found[0].top1 < found[1].top1 < 1


def test_the_draw_follows_the_seed_and_offsets_count() -> None:
    features, labels, folds = points(20)
    first, again, other = (
        few_images_curve(features, labels, 4, folds, 0.01, Scaling(), np.zeros(4), seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other
    never = few_images_curve(features, labels, 4, folds, 0.01, Scaling(), np.array([1e6, 0, 0, 0]), seed=0)
    assert never[0].top1 < first[0].top1


def test_nothing_is_drawn_of_too_few_or_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, folds = points(7)
    assert few_images_curve(features, labels, 4, folds, 0.01, Scaling(), np.zeros(4), seed=0) == ()
    features, labels, folds = points(20)
    monkeypatch.setattr("tlaam.probe.curve._MOST_IMAGES", 79)
    assert few_images_curve(features, labels, 4, folds, 0.01, Scaling(), np.zeros(4), seed=0) == ()


def test_a_law_needs_three_points_that_are_not_perfect() -> None:
    assert growth_of([CurvePoint(4, 0.5), CurvePoint(8, 0.7)]) is None
    assert growth_of([CurvePoint(4, 0.5), CurvePoint(8, 0.7), CurvePoint(16, 1.0)]) is None
    flat = growth_of([CurvePoint(4, 0.8), CurvePoint(8, 0.8), CurvePoint(16, 0.7)])
    assert flat is not None and flat.exponent == 0
    assert flat.error(1000) == pytest.approx((0.2 * 0.2 * 0.3) ** (1 / 3))
