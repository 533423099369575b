"""Doubtful labels: worked by hand, and beside cleanlab."""

from __future__ import annotations

import numpy as np
import pytest

from tlaam.cleaning.label_issues import label_issues

PROBABILITIES = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.5, 0.4], [0.1, 0.1, 0.8]])
LABELS = np.array([0, 1, 1, 2, 2])
"""Thresholds: 0.8 of class 0, (0.3 + 0.7) / 2 = 0.5 of class 1, (0.4 + 0.8) / 2 = 0.6 of class 2."""


def test_thresholds_are_what_a_class_is_believed_on_average() -> None:
    found = label_issues(PROBABILITIES, LABELS)
    # (0.6 − 0.8) − (0.3 − 0.5) = 0; (0.5 − 0.5) − (0.4 − 0.6) = 0.2; (0.1 − 0.5) − (0.8 − 0.8) = −0.4 of class 1
    np.testing.assert_allclose(found.margins, [-0.4, 0.0, -0.7, 0.2, -0.6], atol=1e-12)
    assert found.suggested.tolist() == [1, 0, 2, 1, 1]
    assert found.confident.tolist() == [False, False, False, True, False]


def test_of_images_that_nothing_is_known_of_nothing_is_said() -> None:
    known = np.array([True, True, True, False, True])
    found = label_issues(PROBABILITIES, LABELS, known)
    assert np.isnan(found.margins[3]) and not found.confident[3]
    assert found.margins[4] == pytest.approx((0.1 - 0.5) - (0.8 - 0.8))


def test_a_class_without_images_is_never_suggested() -> None:
    found = label_issues(np.array([[0.5, 0.1, 0.4], [0.2, 0.7, 0.1]]), np.array([0, 1]))
    assert found.suggested.tolist() == [1, 0] and np.isfinite(found.margins).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_confident_ones_are_cleanlabs(seed: int) -> None:
    counting = pytest.importorskip("cleanlab.count")
    random = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(4), random.integers(0, 4, 196)])
    logits = random.normal(size=(200, 4))
    logits[np.arange(200), np.where(random.random(200) < 0.8, labels, random.integers(0, 4, 200))] += 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    _, wanted = counting.compute_confident_joint(
        labels, probabilities, calibrate=False, return_indices_of_off_diagonals=True
    )
    assert len(wanted) > 5
    assert np.flatnonzero(label_issues(probabilities, labels).confident).tolist() == sorted(wanted)
