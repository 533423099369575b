"""Probable label errors from out-of-fold answers: confident learning (Northcutt et al. 2021, 1911.00068)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]


class LabelIssues(NamedTuple):
    """What the answers indicate about N given labels.

    Attributes:
        margins: probability of the suggested class minus that of the given class, each reduced by the mean probability
            of that class for its own images, ``(N,)``; the higher, the more doubtful. NaN where nothing is known.
        suggested: the other class, ``(N,)``.
        confident: whether another class reaches its own images' mean probability, and is the most probable class to
            do so, ``(N,)``: the off-diagonal entries of the confident joint.
    """

    margins: NDArray[np.float64]
    suggested: NDArray[np.int64]
    confident: NDArray[np.bool_]


def label_issues(probabilities: Probabilities, labels: Labels, known: NDArray[np.bool_] | None = None) -> LabelIssues:
    """Return how doubtful labels are.

    Args:
        probabilities: out of fold, ``(N, C)``.
        labels: the given labels, ``(N,)``.
        known: whether the model that answered had seen the class in other images, ``(N,)``; the rest are not judged.

    Examples:
        >>> found = label_issues(np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9]]), np.array([0, 0, 1]))
        >>> found.suggested.tolist(), found.confident.tolist()
        ([1, 1, 0], [False, False, False])
        >>> found.margins.round(2).tolist()  # the second: (0.8 − 0.9) − (0.2 − 0.55)
        [-1.15, 0.25, -0.45]
    """
    values, rows = np.asarray(probabilities, dtype=np.float64), np.arange(len(labels))
    answered = np.ones(len(labels), dtype=bool) if known is None else known
    classes = values.shape[1]
    thresholds = np.full(classes, np.inf)
    for label in np.unique(labels[answered]):
        thresholds[label] = values[answered & (labels == label), label].mean()
    above = np.where(values >= thresholds - 1e-6, values, -1.0)
    confident = answered & (above.max(1) >= 0) & (above.argmax(1) != labels)
    beyond = values - thresholds
    given = beyond[rows, labels]
    beyond[rows, labels] = -np.inf
    suggested = beyond.argmax(1)
    with np.errstate(invalid="ignore"):
        margins = np.where(answered, beyond[rows, suggested] - given, np.nan)
    return LabelIssues(margins, suggested, confident)
