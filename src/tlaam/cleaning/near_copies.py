"""Finding copies and near copies: candidates by pixels, perceptual hash and embedding, all verified on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from tlaam.cleaning.neighbours import EXACT, Neighbours
from tlaam.data import near_copies as pixels
from tlaam.data.near_copies import Match, Pair

_ALL_PAIRS = 20_000
"""Maximum number of images for comparing all pairs of small pictures."""
_SIMILAR = 0.6
"""Minimum cosine of embeddings for two images to be candidates."""
_DISTANCE = 10
"""Maximum number of bits, of 64, by which the perceptual hashes of candidates may differ."""
_BLOCK = 256


def near_copies_of(
    greys: NDArray[np.uint8], hashes: NDArray[np.uint64], neighbours: Neighbours | None = None
) -> list[Match]:
    """Return the pairs of N images that are near copies, in order.

    Args:
        greys: small greyscale pictures ``(N, SIDE, SIDE)``.
        hashes: perceptual hashes of each image and of its mirror image, ``(N, 2)``.
        neighbours: nearest neighbours by embeddings of the whole image.
    """
    found = set(_by_hash(hashes))
    if neighbours is not None:
        found |= set(_by_embedding(neighbours))
    every = pixels.partners(greys) if len(greys) <= _ALL_PAIRS else ()
    return pixels.matches(greys, chain(pixels.both_ways(found), every))


def _by_embedding(neighbours: Neighbours) -> Iterator[Pair]:
    for one, place in zip(*np.nonzero((neighbours.similarities >= _SIMILAR) & (neighbours.places >= 0)), strict=True):
        other = int(neighbours.places[one, place])
        yield min(int(one), other), max(int(one), other)


def _by_hash(hashes: NDArray[np.uint64]) -> Iterator[Pair]:
    """Yield pairs with similar hashes or, for more than `EXACT` images, only pairs with equal hashes."""
    if len(hashes) > EXACT:
        plain = {int(own): place for place, own in reversed(list(enumerate(hashes[:, 0])))}
        for place, pair in enumerate(hashes):
            for value in pair:
                if (first := plain.get(int(value), place)) != place:
                    yield min(first, place), max(first, place)
        return
    octets = _bits_set()
    for start in range(0, len(hashes), _BLOCK):
        rows = hashes[start : start + _BLOCK, :1]
        for side in (0, 1):
            differing = np.bitwise_xor(rows, hashes[None, :, side])
            bits = octets[differing.view(np.uint16).reshape(*differing.shape, 4)].sum(-1, dtype=np.uint8)
            for row, other in zip(*np.nonzero(bits <= _DISTANCE), strict=True):
                if start + row < other:
                    yield int(start + row), int(other)


def _bits_set() -> NDArray[np.uint8]:
    """Return the number of bits set in each 16-bit number, ``(65536,)``."""
    values = np.arange(1 << 16, dtype=np.uint16)
    found: NDArray[np.uint8] = np.unpackbits(values.view(np.uint8).reshape(-1, 2), axis=1).sum(1, dtype=np.uint8)
    return found
