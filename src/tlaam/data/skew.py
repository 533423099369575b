"""Data sets of whose classes some have many more images than others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

SKEWED = 4.0
"""Images of the largest class, in images of the smallest, from which a data set counts as skewed."""


def skew(labels: Iterable[int]) -> float:
    """Return how many times as many images the largest class has as the smallest one that has any; 1 of none.

    >>> skew([0, 0, 0, 1, 2, 2])
    3.0
    """
    counts = Counter(labels).values()
    return max(counts) / min(counts) if counts else 1.0


def is_skewed(labels: Iterable[int]) -> bool:
    """Return whether the largest class has at least `SKEWED` times as many images as the smallest."""
    return skew(labels) >= SKEWED
