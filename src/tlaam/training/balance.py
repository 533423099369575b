"""Learn to recognise classes with few images as well as classes with many (docs/how-it-works.md, 6)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Labels = Sequence[int] | NDArray[np.int64]


def image_weights(labels: Labels) -> NDArray[np.float64]:
    """Return image weights ``(N,)``, 1 on average, that give all classes the same total weight.

    Examples:
        >>> image_weights([0, 0, 0, 1]).round(3).tolist()
        [0.667, 0.667, 0.667, 2.0]
    """
    given = np.asarray(labels, dtype=np.int64)
    counts = np.bincount(given)
    weights: NDArray[np.float64] = len(given) / (np.count_nonzero(counts) * counts[given])
    return weights


def balanced_order(labels: Labels, order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an epoch's order in which each class comes equally often, as far as the number of images divides.

    Args:
        labels: labels of the images, ``(N,)``.
        order: a random permutation of the images, ``(N,)``.

    Returns:
        Indices ``(N,)``: the images of each class in turn, repeated and spread evenly; of a class with many images, an
        epoch shows the first ones in its order. And how many times each image has come before, ``(N,)``.

    Examples:
        >>> [each.tolist() for each in balanced_order([0, 0, 0, 1], np.array([2, 3, 0, 1]))]
        [[2, 3, 0, 3], [0, 0, 0, 1]]
    """
    ordered = np.asarray(labels)[order]
    of_each = [order[ordered == label] for label in dict.fromkeys(ordered.tolist())]
    rounds = range(-(-len(order) // len(of_each)))
    indices = [members[turn % len(members)] for turn in rounds for members in of_each][: len(order)]
    before = [turn // len(members) for turn in rounds for members in of_each][: len(order)]
    return np.array(indices, dtype=np.int64), np.array(before, dtype=np.int64)
