"""How a probe's accuracy grows with its images: the few-images curve of the given data set, and its extrapolation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.probe.linear import Floats, Labels, Scaling
from tlaam.probe.solver import solve

SHARES = (0.25, 0.5)
"""Shares of each class's images outside the held-out fold; the probe itself is measured with all of them."""
_MOST_IMAGES = 5000
"""With more images, the curve is not worth the time: each point costs as much as a probe."""


class CurvePoint(NamedTuple):
    """Accuracy of a probe with some of its images.

    Attributes:
        images: mean number of images per class that it was solved on.
        top1: accuracy on the held-out images.
    """

    images: float
    top1: float


def few_images_curve(
    features: Floats,
    labels: Labels,
    classes: int,
    folds: NDArray[np.int64],
    l2: float,
    scaling: Scaling,
    offsets: Floats,
    seed: int,
) -> tuple[CurvePoint, ...]:
    """Return the out-of-fold accuracy of probes with fewer images; empty for very many images, or for very few.

    Args:
        features: ``(N, K)``.
        labels: ``(N,)``.
        classes: C.
        folds: the fold in which each image is held out, ``(N,)``.
        l2, scaling: as chosen with all images.
        offsets: subtracted from the scores, ``(C,)``.
        seed: seed of the random subsets of images; a smaller subset is part of a larger one.
    """
    counts = np.bincount(labels, minlength=classes)
    if len(labels) > _MOST_IMAGES or counts[counts > 0].min() < 2 / SHARES[0]:
        return ()
    order = np.random.default_rng(seed).permutation(len(labels))
    points = []
    for share in SHARES:
        right, learnt = 0, 0
        for fold in np.unique(folds):
            rows = _share_of(order[folds[order] != fold], labels, share)
            out = folds == fold
            scores = solve(features[rows], labels[rows], classes, l2, scaling).logits(features[out]) - offsets
            right += int((scores.argmax(1) == labels[out]).sum())
            learnt += len(rows)
        mean = learnt / len(np.unique(folds)) / int((counts > 0).sum())
        points.append(CurvePoint(round(mean, 1), right / len(labels)))
    return tuple(points)


def _share_of(rows: NDArray[np.int64], labels: Labels, share: float) -> NDArray[np.int64]:
    """Return the first rows of each class, at least one."""
    of_class = labels[rows]
    kept = [rows[of_class == label] for label in np.unique(of_class)]
    return np.concatenate([part[: max(1, round(share * len(part)))] for part in kept])


class Growth(NamedTuple):
    """How the error falls with the number of images: ``error = factor * images ** -exponent``, a line in log-log scale.

    Attributes:
        factor: error with one image per class.
        exponent: how fast it falls; 0 if more images have not helped.
    """

    factor: float
    exponent: float

    def error(self, images: float) -> float:
        """Return the expected share of wrong predictions with this many images per class."""
        return min(1.0, self.factor * float(images**-self.exponent))


def growth_of(points: Sequence[CurvePoint]) -> Growth | None:
    """Return the power law through points (Hestness et al. 2017, arXiv 1712.00409).

    None for fewer than three points, or if one of them is perfect.

    Examples:
        >>> law = growth_of([CurvePoint(4, 0.6), CurvePoint(8, 0.8), CurvePoint(16, 0.9)])
        >>> round(law.exponent, 2), round(law.error(32), 3)
        (1.0, 0.05)
    """
    known = [(math.log(point.images), math.log(1 - point.top1)) for point in points if point.top1 < 1]
    if len(points) < 3 or len(known) < len(points):
        return None
    x, y = np.array(known).T
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    exponent = max(0.0, -slope)
    return Growth(math.exp(float(y.mean() + exponent * x.mean())), exponent)
