"""Data sets in which some classes have many more images than others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

SKEWED = 4.0
"""Ratio of the number of images of the largest class to the smallest, from which a data set counts as skewed."""


def skew(labels: Iterable[int]) -> float:
    """Return the ratio of images of the largest class to those of the smallest one that has any; 1 without images.

    Examples:
        >>> skew([0, 0, 0, 1, 2, 2])
        3.0
    """
    counts = Counter(labels).values()
    return max(counts) / min(counts) if counts else 1.0


def is_skewed(labels: Iterable[int]) -> bool:
    """Return whether the largest class has at least `SKEWED` times as many images as the smallest."""
    return skew(labels) >= SKEWED


def note_on_skew(classes: Sequence[str], labels: Iterable[int]) -> str:
    """Return a sentence saying that class sizes are unequal; an empty string if data are not skewed.

    Examples:
        >>> note_on_skew(["crow", "jay"], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
        "'crow' has 8 training images, 'jay' 2: see --balance, which training sets for data as unequal as this."
    """
    ranked = Counter(labels).most_common()
    if not ranked or ranked[0][1] < SKEWED * ranked[-1][1]:
        return ""
    (most, largest), (least, smallest) = ranked[0], ranked[-1]
    alone = sum(count == 1 for _, count in ranked)
    single = f" {alone} {'class has' if alone == 1 else 'classes have'} only one image." if alone else ""
    return (
        f"'{classes[most]}' has {largest:,} training images, '{classes[least]}' {smallest:,}: see --balance, which "
        f"training sets for data as unequal as this.{single}"
    )


def log_priors(labels: Sequence[int] | NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the logarithm of each class's share of images, relative to a data set without skew, ``(C,)``.

    The scores of a classifier trained on a skewed data set contain it. Once it is subtracted, the most probable class
    is the one that fits best, no matter which is photographed more often. This minimises the mean of the classes'
    errors (Menon et al. 2021, logit adjustment, arXiv 2007.07314).

    It is 0 for all classes if they have equally many images, and for a class without images, about which nothing is
    known.

    Examples:
        >>> np.exp(log_priors([0, 0, 0, 1], 3)).tolist()
        [1.5, 0.5, 1.0]
    """
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=classes)
    present = counts > 0
    shares = np.ones(classes)
    shares[present] = counts[present] * (present.sum() / counts.sum())
    logarithms: NDArray[np.float64] = np.log(shares)
    return logarithms
