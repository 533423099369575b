"""How alike two embeddings are: the cosine of the angle between them. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import ModelError

Floats = NDArray[np.floating[Any]]

SAME = 1 - 1e-5
"""Cosine from which on two embeddings are of the same pixels: they differ by the arithmetic of another batch."""
_CHUNK = 512


def unit(embeddings: Floats) -> NDArray[np.float32]:
    """Return embeddings ``(N, E)`` brought to length 1; one that is 0 stays so.

    >>> print(unit(np.array([[3.0, 4.0], [0.0, 0.0]])))
    [[0.6 0.8]
     [0.  0. ]]
    """
    values = embeddings.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def cosines(embeddings: Floats, directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines ``(B, N)`` of embeddings ``(B, E)`` and vectors of length 1 or 0, ``(N, E)``.

    Raises:
        ModelError: the two are of different models.

    >>> print(cosines(np.array([[2.0, 0.0]]), unit(np.array([[1.0, 0.0], [0.0, 3.0]]))))
    [[1. 0.]]
    """
    if embeddings.shape[1] != directions.shape[1]:
        raise ModelError(
            f"the reference index is of another model: it compares {directions.shape[1]} numbers an image, and this "
            f"model gives {embeddings.shape[1]}. Write it again (tlaam index, tlaam export)."
        )
    return (unit(embeddings) @ directions.T).astype(np.float64)


def class_means(directions: Floats, labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float16]:
    """Return each class's mean direction ``(C, E)``, of length 1, or 0 for a class without images.

    Args:
        directions: embeddings of length 1, ``(N, E)``.
        labels: class index of each, ``(N,)``.
        classes: C.
    """
    sums = np.zeros((classes, directions.shape[1]))
    np.add.at(sums, labels, directions)
    return unit(sums).astype(np.float16)


def similarity_left_out(directions: Floats, labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float64]:
    """Return what `left_out` does of the M images of which something is known, ``(M,)``."""
    similarity, known = left_out(directions, labels, classes)
    return similarity[known]


def left_out(
    directions: Floats, labels: NDArray[np.integer[Any]], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each image's similarity to the nearest class mean, had it not been among those the means are taken of.

    Nor had its copies, which would flatter: images of the same embedding, whatever file and class they are in. Of
    images that are, but for copies, their class's only one there is none.

    Args:
        directions: embeddings of length 1, ``(N, E)``.
        labels: ``(N,)``.
        classes: C.

    Returns:
        The similarities ``(N,)``, and whether the image's class has others, ``(N,)``: of the rest nothing is known.
    """
    sums, counts = np.zeros((classes, directions.shape[1])), np.bincount(labels, minlength=classes)
    np.add.at(sums, labels, directions)
    similarities = directions @ unit(sums).T
    rest = unit(sums[labels] - directions)  # of its own class, without it
    similarities[np.arange(len(labels)), labels] = (rest * directions).sum(1)
    others = counts[labels] - 1
    for same in copies(directions):
        rest_of_sums, left = sums.copy(), counts.copy()
        np.subtract.at(rest_of_sums, labels[same], directions[same])
        np.subtract.at(left, labels[same], 1)
        rest_of_sums[left == 0] = 0  # but for rounding it is
        similarities[same] = directions[same] @ unit(rest_of_sums).T
        others[same] = left[labels[same]]
    return similarities.max(1), others > 0


def groups_of_copies(directions: Floats) -> list[int]:
    """Return a number for each of N images of directions ``(N, E)``, the same one for copies.

    >>> groups_of_copies(np.eye(3)[[0, 1, 0]])
    [0, 1, 0]
    """
    groups = list(range(len(directions)))
    for same in copies(directions):
        for place in same:
            groups[place] = int(same[0])
    return groups


def copies(directions: Floats) -> Iterator[NDArray[np.int_]]:
    """Yield the places of images of the same embedding, where there are at least two.

    Args:
        directions: embeddings of length 1, ``(N, E)``.
    """
    done = np.zeros(len(directions), dtype=bool)
    for start in range(0, len(directions), _CHUNK):
        same = directions[start : start + _CHUNK] @ directions.T > SAME
        for row in np.flatnonzero(same.sum(1) > 1):
            if not done[start + row]:
                places = np.flatnonzero(same[row])
                done[places] = True
                yield places
