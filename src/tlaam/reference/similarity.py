"""How alike two embeddings are: the cosine of the angle between them. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import ModelError

Floats = NDArray[np.floating[Any]]

SAME = 1 - 1e-5
"""Cosine above which two embeddings are of the same pixels; they may differ by the rounding of another batch."""
_CHUNK = 512


def unit(embeddings: Floats) -> NDArray[np.float32]:
    """Return embeddings ``(N, E)`` normalised to length 1; zero vectors stay zero.

    Examples:
        >>> print(unit(np.array([[3.0, 4.0], [0.0, 0.0]])))
        [[0.6 0.8]
         [0.  0. ]]
    """
    values = embeddings.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def cosines(embeddings: Floats, directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines ``(B, N)`` of embeddings ``(B, E)`` and vectors ``(N, E)`` of length 1 or 0.

    Raises:
        ModelError: the two belong to different models.

    Examples:
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
        labels: class index of each embedding, ``(N,)``.
        classes: number of classes C.
    """
    sums = np.zeros((classes, directions.shape[1]))
    np.add.at(sums, labels, directions)
    return unit(sums).astype(np.float16)


def similarity_left_out(directions: Floats, labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float64]:
    """Return the similarities of `left_out` for the M images for which they are known, ``(M,)``."""
    similarity, known = left_out(directions, labels, classes)
    return similarity[known]


def left_out(
    directions: Floats, labels: NDArray[np.integer[Any]], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each image's similarity to the nearest class mean, computed without the image itself.

    Copies of the image would flatter the result and are left out as well. Copies are images with the same embedding,
    whatever their file and class. If an image and its copies are the only ones in its class, its similarity is not
    known.

    Args:
        directions: embeddings of length 1, ``(N, E)``.
        labels: class index of each embedding, ``(N,)``.
        classes: number of classes C.

    Returns:
        The similarities ``(N,)``, and whether the image's class has other images, ``(N,)``; for the rest, nothing is
        known.
    """
    sums, counts = np.zeros((classes, directions.shape[1])), np.bincount(labels, minlength=classes)
    np.add.at(sums, labels, directions)
    similarities = directions @ unit(sums).T
    rest = unit(sums[labels] - directions)  # its own class without the image
    similarities[np.arange(len(labels)), labels] = (rest * directions).sum(1)
    others = counts[labels] - 1
    for same in copies(directions):
        rest_of_sums, left = sums.copy(), counts.copy()
        np.subtract.at(rest_of_sums, labels[same], directions[same])
        np.subtract.at(left, labels[same], 1)
        rest_of_sums[left == 0] = 0  # zero up to rounding
        similarities[same] = directions[same] @ unit(rest_of_sums).T
        others[same] = left[labels[same]]
    return similarities.max(1), others > 0


def groups_of_copies(directions: Floats) -> list[int]:
    """Return one group number per image for directions ``(N, E)``; copies have the same number.

    Examples:
        >>> groups_of_copies(np.eye(3)[[0, 1, 0]])
        [0, 1, 0]
    """
    groups = list(range(len(directions)))
    for same in copies(directions):
        for place in same:
            groups[place] = int(same[0])
    return groups


def copies(directions: Floats) -> Iterator[NDArray[np.int_]]:
    """Yield the positions of images with the same embedding, for each set of at least two.

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
