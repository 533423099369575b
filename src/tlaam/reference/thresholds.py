"""How a detector's thresholds are chosen: on images that the model has not seen or was not fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.data.folds import stratified_folds
from tlaam.reference.contrast import Contrast
from tlaam.reference.ood_detector import IN_DISTRIBUTION, NO_THRESHOLD, NearStrangers, OODDetector, quantile
from tlaam.reference.similarity import Floats, class_means, groups_of_copies, left_out

_FOLDS = 5
_ENOUGH = 60
"""Fewest images for detecting near strangers: with fewer, the contrast would be chosen on too little data."""


def by_training_images(
    directions: NDArray[np.float32],
    labels: NDArray[np.integer[Any]],
    classes: int,
    *,
    sure_from: float,
    chosen_on: str,
    share: float = 1 - IN_DISTRIBUTION,
) -> OODDetector:
    """Return the detector for features that were not fitted to the images; each image is compared without itself.

    The share `share` of the index's images counts as strangers, by one threshold or the other. Both thresholds are
    crossed equally often.

    Args:
        directions: embeddings of length 1, ``(N, E)``.
        labels: class index of each embedding, ``(N,)``.
        classes: number of classes C.
        sure_from, chosen_on: see `OODDetector`.
        share: share of the images that count as strangers.
    """
    means = class_means(directions, labels, classes)
    similarity, known = left_out(directions, labels, classes)
    if not known.any():
        return OODDetector(means, NO_THRESHOLD, sure_from, chosen_on)
    contrast = Contrast.fit(directions, labels) if known.sum() >= _ENOUGH else None
    each = None if contrast is None else _contrast_left_out(directions, labels)
    if contrast is None or each is None:
        return OODDetector(means, quantile(similarity[known], share), sure_from, chosen_on)
    asked = each[known]
    first, second = _thresholds(similarity[known], asked, share)
    scale = float(similarity[known].std() / max(asked.std(), 1e-12))
    return OODDetector(means, first, sure_from, chosen_on, NearStrangers(contrast, second, scale))


def _contrast_left_out(directions: NDArray[np.float32], labels: NDArray[np.integer[Any]]) -> NDArray[np.float64] | None:
    """Return each image's contrast, fitted without the image and its copies, ``(N,)``; None if there are too few."""
    names = [str(number) for number in range(len(labels))]
    folds = stratified_folds(labels.tolist(), names, _FOLDS, groups=groups_of_copies(directions))
    found = np.full(len(labels), np.nan)
    for fold in range(_FOLDS):
        out = folds == fold
        contrast = Contrast.fit(directions[~out], labels[~out])
        if contrast is None:
            return None
        found[out] = contrast.of(directions[out])
    return found


def _thresholds(similarity: Floats, contrast: Floats, share: float) -> tuple[float, float]:
    """Return two equally often crossed thresholds, such that at most a share of the images crosses either.

    Examples:
        >>> _thresholds(np.arange(100.0), np.arange(100.0)[::-1], 0.1)
        (5.0, 5.0)
    """
    steps = range(int(share * len(similarity)), -1, -1)
    for step in steps:
        pair = quantile(similarity, step / len(similarity)), quantile(contrast, step / len(similarity))
        if ((similarity < pair[0]) | (contrast < pair[1])).mean() <= share:
            return pair
    return quantile(similarity, 0.0), quantile(contrast, 0.0)
