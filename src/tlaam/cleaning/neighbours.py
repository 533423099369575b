"""Nearest neighbours among embeddings: exact, in blocks, or with an approximate index (FAISS) for very many images."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.utils.extras import require_extra

EXACT = 50_000
"""Number of images above which an approximate index is used."""

_DIMENSIONS = 128
"""Dimensions of indexed embeddings; larger ones are randomly projected, preserving angles (Johnson, Lindenstrauss)."""
_BLOCK = 1024
_TRAINED = 64
"""Number of embeddings per cell that the index is trained on."""
_PROBED = 8

_Floats = NDArray[np.floating[Any]]


class Neighbours(NamedTuple):
    """The nearest neighbours of each of N images.

    Attributes:
        places: indices of the neighbours, nearest first, ``(N, k)``; -1 where there are no more.
        similarities: cosines, ``(N, k)``.
    """

    places: NDArray[np.int64]
    similarities: NDArray[np.float32]


def directions(embeddings: _Floats) -> NDArray[np.float32]:
    """Return embeddings ``(N, K)`` centred and scaled to unit length, with fewer dimensions above `EXACT` images."""
    count, size = embeddings.shape
    mean = np.zeros(size)
    for start in range(0, count, _BLOCK):
        mean += embeddings[start : start + _BLOCK].sum(0, dtype=np.float64)
    mean /= max(count, 1)
    shrinks = count > EXACT and size > _DIMENSIONS
    into = np.random.default_rng(0).standard_normal((size, _DIMENSIONS)) / _DIMENSIONS**0.5 if shrinks else None
    found = np.empty((count, _DIMENSIONS if shrinks else size), dtype=np.float32)
    for start in range(0, count, _BLOCK):
        rows = embeddings[start : start + _BLOCK] - mean
        rows = rows if into is None else rows @ into
        found[start : start + _BLOCK] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return found


def nearest(vectors: NDArray[np.float32], count: int) -> Neighbours:
    """Return the nearest neighbours of each vector.

    Args:
        vectors: unit vectors, ``(N, K)`` (see `directions`).
        count: k.
    """
    count = min(count, len(vectors) - 1)
    if count < 1:
        empty = np.zeros((len(vectors), 0))
        return Neighbours(empty.astype(np.int64), empty.astype(np.float32))
    return _approximate(vectors, count) if len(vectors) > EXACT else _exact(vectors, count)


def _exact(vectors: NDArray[np.float32], count: int) -> Neighbours:
    places = np.empty((len(vectors), count), dtype=np.int64)
    similarities = np.empty((len(vectors), count), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        agree = vectors[start : start + _BLOCK] @ vectors.T
        rows = np.arange(len(agree))
        agree[rows, start + rows] = -np.inf
        best = np.argpartition(-agree, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(agree, best, 1), axis=1, kind="stable")
        places[start : start + _BLOCK] = np.take_along_axis(best, order, 1)
        similarities[start : start + _BLOCK] = np.take_along_axis(agree, places[start : start + _BLOCK], 1)
    return Neighbours(places, similarities)


def _approximate(vectors: NDArray[np.float32], count: int) -> Neighbours:
    """Search an inverted file index: vectors are grouped in cells, and only the few nearest cells are searched."""
    require_extra(f"looking for near copies among more than {EXACT:,} images", "clean")
    import faiss

    total, size = vectors.shape
    cells = int(4 * total**0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter = 5
    drawn = np.sort(np.random.default_rng(0).choice(total, min(total, _TRAINED * cells), replace=False))
    index.train(vectors[drawn])
    for start in range(0, total, _BLOCK * 64):
        index.add(vectors[start : start + _BLOCK * 64])
    index.nprobe = _PROBED
    places = np.full((total, count), -1, dtype=np.int64)
    similarities = np.full((total, count), -1, dtype=np.float32)
    for start in range(0, total, _BLOCK * 8):
        agree, found = index.search(vectors[start : start + _BLOCK * 8], count + 1)
        own = found == np.arange(start, start + len(found))[:, None]
        agree[own] = -np.inf
        order = np.argsort(-agree, axis=1, kind="stable")[:, :count]
        places[start : start + len(found)] = np.take_along_axis(found, order, 1)
        similarities[start : start + len(found)] = np.take_along_axis(agree, order, 1)
    places[~np.isfinite(similarities)] = -1
    return Neighbours(places, similarities)
