"""Whether one system is really better than another: paired bootstrap over images and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import DataError


@dataclass(frozen=True)
class Difference:
    """How much better the first of two systems is.

    Attributes:
        mean: the first's mean minus the second's.
        low, high: percentile interval of it.
        level: share of the bootstrap's differences that the interval holds.
    """

    mean: float
    low: float
    high: float
    level: float


def paired_bootstrap(
    first: NDArray[np.generic],
    second: NDArray[np.generic],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Return the difference of two systems' means with its percentile interval (Efron and Tibshirani 1993).

    Images are drawn with replacement, the same ones for both systems, since both were measured on the same images; the
    seeds of each system are drawn with replacement independently, since a seed of one has nothing to do with that of
    the other. The interval thus covers other test images and other training runs.

    Args:
        first: a number for each seed and image (1 where the answer was right, or an IoU), ``(seeds, images)``.
        second: of the other system, ``(seeds', images)``, the same images in the same order.
        resamples: how often to draw.
        level: share of the differences between the interval's ends.
        seed: of the draws.

    Raises:
        DataError: the shapes do not match, or there is nothing to draw from.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or 0 in (*first.shape, *second.shape):
        raise DataError(
            f"Received results of shapes {first.shape} and {second.shape}; they must be (seeds, images) with the same "
            "images, at least one of each."
        )
    a, b = first.astype(np.float64), second.astype(np.float64)
    random = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for draw in range(resamples):
        # How often each image is drawn; weights cost less than gathering the images.
        weights = np.bincount(random.integers(a.shape[1], size=a.shape[1]), minlength=a.shape[1])
        drawn_a, drawn_b = random.integers(len(a), size=len(a)), random.integers(len(b), size=len(b))
        differences[draw] = (a[drawn_a].mean(0) - b[drawn_b].mean(0)) @ weights / a.shape[1]
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(a.mean() - b.mean()), float(low), float(high), level)
