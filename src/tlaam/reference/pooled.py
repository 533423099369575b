"""Pooled features in 8 bits, on which classifiers are solved again when a trained model is taught another class."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tlaam.reference.similarity import Floats

_LARGEST = 127


@dataclass(frozen=True)
class PooledFeatures:
    """Features of a model's branches, for images that it learnt from and for held-out images.

    They take eight bits per value, one byte where an embedding takes two; benchmarks/teaching.py measures what that
    costs.

    Attributes:
        values: features of the N images of an index, ``(N, V, K)``.
        held_out: features of M held-out images, ``(M, V, K)``.
        held_out_labels: class index of each held-out image, ``(M,)``.
        scales: the feature value that an integer 1 stands for, ``(V, K)``.
    """

    values: NDArray[np.int8] = field(repr=False)
    held_out: NDArray[np.int8] = field(repr=False)
    held_out_labels: NDArray[np.int32] = field(repr=False)
    scales: NDArray[np.float32] = field(repr=False)

    @classmethod
    def of(cls, features: Floats, held_out: Floats, held_out_labels: NDArray[np.integer]) -> PooledFeatures:
        """Quantise features ``(N, V, K)`` and ``(M, V, K)`` to 8 bits, each channel scaled by its largest value.

        Examples:
            >>> kept = PooledFeatures.of(np.array([[[1.0, 0.0]], [[-2.0, 0.0]]]), np.zeros((0, 1, 2)), np.zeros(0, int))
            >>> kept.features().astype(float).round(2).tolist()
            [[[1.01, 0.0]], [[-2.0, 0.0]]]
        """
        largest = np.abs(np.concatenate([features, held_out])).max(0) / _LARGEST
        scales = np.where(largest > 0, largest, 1).astype(np.float32)
        values, others = (
            np.round(each / scales).clip(-_LARGEST, _LARGEST).astype(np.int8) for each in (features, held_out)
        )
        return cls(values, others, held_out_labels.astype(np.int32), scales)

    def features(self) -> NDArray[np.float32]:
        """Return the features of the index's images, ``(N, V, K)``."""
        return self.values * self.scales

    def held_out_features(self) -> NDArray[np.float32]:
        """Return the features of the held-out images, ``(M, V, K)``."""
        return self.held_out * self.scales

    def require_fit(self, images: int, classes: int) -> None:
        """Check that these features can belong to an index.

        Raises:
            ValueError: they cannot.
        """
        if self.values.shape[0] != images or self.values.shape[1:] != self.scales.shape or not self.values.size:
            raise ValueError("its features and its images do not fit")
        if self.held_out.shape[1:] != self.scales.shape or len(self.held_out) != len(self.held_out_labels):
            raise ValueError("its held-out features do not fit")
        if not np.isfinite(self.scales).all() or (self.scales <= 0).any():
            raise ValueError("its features are not finite")
        labels = self.held_out_labels
        if len(labels) and (labels.min() < 0 or labels.max() >= classes):
            raise ValueError("a held-out label is no class")
