"""How alike two embeddings are: the cosine of the angle between them. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import ModelError

Floats = NDArray[np.floating[Any]]


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
    """Return each image's similarity to the nearest class mean, had it not been among those the means are taken of.

    Of images that are their class's only one there is none.

    Args:
        directions: embeddings of length 1, ``(N, E)``.
        labels: ``(N,)``.
        classes: C.

    Returns:
        ``(M,)``, of the M images whose class has others.
    """
    sums = np.zeros((classes, directions.shape[1]))
    np.add.at(sums, labels, directions)
    similarities = directions @ unit(sums).T
    rest = unit(sums[labels] - directions)  # of its own class, without it
    similarities[np.arange(len(labels)), labels] = (rest * directions).sum(1)
    kept: NDArray[np.float64] = similarities.max(1)[np.bincount(labels, minlength=classes)[labels] > 1]
    return kept
