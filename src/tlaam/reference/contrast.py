"""The contrast: how much more an image looks like one class than like all classes together.

It detects near strangers, such as an eleventh bird species in a model of ten. A near stranger is a class that is
missing among similar classes. It has what these classes have in common, and lies no farther from the nearest class than
many of that class's members. But it lies about as near to the mean of all classes. The squared Mahalanobis distance to
the nearest class is therefore compared with the distance to all images (relative Mahalanobis distance, Ren et al. 2021,
arXiv 2106.09022). NumPy only.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.reference.similarity import Floats

AXES = 64
"""Largest number of principal axes; fewer are used if there are few images."""
_IMAGES_AN_AXIS = 3
_LEAST_CLASSES = 3
_IMAGES_A_CLASS = 5
"""With fewer classes, or fewer images per class on average, no contrast is fitted."""

_KINDS = {"mean": "<f4", "axes": "<f2", "centres": "<f4", "spread": "<f4"}


@dataclass(frozen=True)
class Contrast:
    """Coordinates in which each class is a sphere of variance 1, and the covariance of all images is diagonal.

    Attributes:
        mean: mean of all directions, ``(E,)``.
        axes: matrix from directions to R coordinates, ``(E, R)``.
        centres: centres of the P classes that have images, ``(P, R)``.
        spread: variance of all images along each axis, ``(R,)``.
    """

    mean: NDArray[np.float32] = field(repr=False)
    axes: NDArray[np.float16] = field(repr=False)
    centres: NDArray[np.float32] = field(repr=False)
    spread: NDArray[np.float32] = field(repr=False)

    def of(self, directions: Floats) -> NDArray[np.float64]:
        """Return the contrast ``(B,)`` of directions ``(B, E)``; a higher one means that an image looks like a class.

        It is the squared distance to all images minus the squared distance to the nearest class.
        """
        z = (directions.astype(np.float64) - self.mean) @ self.axes.astype(np.float64)
        to_all = (z**2 / self.spread).sum(1)
        centres = self.centres.astype(np.float64)
        to_each = (z**2).sum(1)[:, None] - 2 * z @ centres.T + (centres**2).sum(1)
        contrast: NDArray[np.float64] = to_all - to_each.min(1)
        return contrast

    @classmethod
    def fit(cls, directions: Floats, labels: NDArray[np.integer[Any]]) -> Contrast | None:
        """Fit the contrast to embeddings of length 1, ``(N, E)``, with labels ``(N,)``; None if there are too few.

        Covariances are estimated as by Ledoit and Wolf (2004), in the images' principal axes.
        """
        present, own = np.unique(labels, return_inverse=True)
        count = min(AXES, len(labels) // _IMAGES_AN_AXIS)
        if len(present) < _LEAST_CLASSES or len(labels) < _IMAGES_A_CLASS * len(present) or count < len(present) - 1:
            return None
        mean = directions.mean(0, dtype=np.float64)
        centred = directions.astype(np.float64) - mean
        principal = _principal_axes(centred, count)
        z = centred @ principal
        means = np.stack([z[own == number].mean(0) for number in range(len(present))])
        within, everything = _covariance(z - means[own]), _covariance(z)
        whiten = np.linalg.inv(np.linalg.cholesky(within)).T  # z @ whiten has covariance 1 within classes
        spread, turn = np.linalg.eigh(whiten.T @ everything @ whiten)
        axes = whiten @ turn
        return cls(
            mean.astype(np.float32),
            (principal @ axes).astype(np.float16),
            (means @ axes).astype(np.float32),
            spread.astype(np.float32),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return its arrays by name, with the data types used in files."""
        return {name: getattr(self, name).astype(kind) for name, kind in _KINDS.items()}

    def to_facts(self) -> dict[str, str]:
        """Return its arrays encoded as text."""
        return {name: base64.b64encode(values.tobytes()).decode("ascii") for name, values in self.arrays().items()}

    @classmethod
    def from_facts(cls, facts: Any, width: int) -> Contrast:
        """Read the output of `to_facts`, for embeddings of width E.

        Raises:
            ValueError: it is invalid.
        """
        if not isinstance(facts, dict) or not all(isinstance(facts.get(name), str) for name in _KINDS):
            raise ValueError("its contrast is none")
        flat = {
            name: np.frombuffer(base64.b64decode(facts[name], validate=True), kind) for name, kind in _KINDS.items()
        }
        rank = flat["spread"].size
        if not rank or flat["axes"].size != width * rank or flat["centres"].size % rank:
            raise ValueError("its contrast does not fit")
        flat |= {"axes": flat["axes"].reshape(width, rank), "centres": flat["centres"].reshape(-1, rank)}
        return cls.checked(flat, width)

    @classmethod
    def checked(cls, arrays: Mapping[str, NDArray[Any]], width: int) -> Contrast:
        """Return the contrast of arrays from an untrusted source, for embeddings of width E.

        Raises:
            ValueError: the arrays are invalid.
        """
        mean, axes, centres, spread = (arrays[name] for name in _KINDS)
        rank = len(spread)
        if mean.shape != (width,) or axes.shape != (width, rank) or centres.shape[1:] != (rank,) or not len(centres):
            raise ValueError("its contrast does not fit")
        if not all(np.isfinite(values).all() for values in (mean, axes, centres, spread)) or (spread <= 0).any():
            raise ValueError("its contrast is not finite")
        return cls(mean, axes, centres, spread)


def _principal_axes(centred: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Return the axes ``(E, count)`` along which centred rows ``(N, E)`` vary most.

    The smaller of the two equivalent eigenproblems is solved.
    """
    if len(centred) < centred.shape[1]:
        squares, inside = np.linalg.eigh(centred @ centred.T)
        axes: NDArray[np.float64] = centred.T @ inside[:, ::-1][:, :count]
        axes /= np.sqrt(np.maximum(squares[::-1][:count], 1e-12))
    else:
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :count]
    return axes


def _covariance(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the covariance ``(R, R)`` of centred rows ``(N, R)``, shrunk towards a sphere (Ledoit and Wolf 2004)."""
    count, width = centred.shape
    plain = centred.T @ centred / count
    size = np.trace(plain) / width
    off = ((plain - size * np.eye(width)) ** 2).sum()
    noise = (((centred**2).sum(1) ** 2).sum() / count - (plain**2).sum()) / count
    share = min(1.0, max(0.0, noise) / off) if off > 0 else 0.0
    covariance: NDArray[np.float64] = (1 - share) * plain + (share + 1e-9) * size * np.eye(width)
    return covariance
