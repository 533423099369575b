"""A linear classifier on frozen features, its out-of-fold results, and its calibration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Labels = NDArray[np.integer[Any]]

_ABSENT = -30.0
"""Bias of a class without training images, relative to the lowest bias of the others."""
_CONSTANT = 1e-12
"""Maximum deviation of a feature that counts as constant."""
_CHUNK = 1 << 23
"""Maximum number of values that are copied to float64 at a time."""


@dataclass(frozen=True)
class Scaling:
    """How centred features are scaled: divided by their standard deviation, with a floor and weights.

    A feature that is nearly always 0 in the images at hand has a tiny deviation. Divided by it, the feature alone would
    decide a new image in which it is not 0. So it is divided by a share of the median deviation instead.

    Attributes:
        weights: weights above 0; the features are split into as many equal parts, and a part with a lower weight is
            penalised more.
        floor: smallest deviation that a feature is divided by, in medians of its part's deviations.
    """

    weights: tuple[float, ...] = (1.0,)
    floor: float = 0.0

    def divisors(self, deviations: Floats) -> NDArray[np.float64]:
        """Return the divisors ``(K,)`` of features with these deviations.

        The divisor is infinity for a constant feature, which carries no information.

        Examples:
            >>> Scaling((1.0, 0.5), floor=0.5).divisors(np.array([4.0, 1.0, 4.0, 0.0, 2.0, 2.0])).tolist()
            [4.0, 2.0, 4.0, inf, 4.0, 4.0]
        """
        parts = np.asarray(deviations, dtype=np.float64).reshape(len(self.weights), -1)
        least = self.floor * np.median(parts, axis=1, keepdims=True)
        weighed = np.maximum(parts, least) / np.array(self.weights)[:, None]
        return np.where(parts > _CONSTANT, weighed, np.inf).ravel()


STANDARD = Scaling()
"""Divides by the standard deviation alone."""


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on the unscaled features of the network.

    Attributes:
        weight: ``(C, K)``.
        bias: ``(C,)``.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, features: Floats) -> NDArray[np.float64]:
        """Return scores ``(N, C)`` of features ``(N, K)``."""
        scores: NDArray[np.float64] = features.astype(np.float64) @ self.weight.T + self.bias
        return scores

    def shifted(self, offsets: Floats) -> LinearProbe:
        """Return the probe with offsets ``(C,)`` subtracted from its scores."""
        return LinearProbe(self.weight, self.bias - offsets)

    def cooled(self, temperature: float) -> LinearProbe:
        """Return the probe with its scores divided by a temperature, which changes confidences but not predictions."""
        return LinearProbe(self.weight / temperature, self.bias / temperature)


@dataclass(frozen=True)
class ProbeFit:
    """A probe, and its out-of-fold results.

    Every image is held out once, unless there are very many (`tlaam.probe.solver.ENOUGH`); with mini-batches
    (`tlaam.probe.solver.EXACT_BYTES`), only one fold is. The other images have no scores: compute shares and means on
    `held_out` or `known` images only.

    Attributes:
        probe: solved on all images.
        l2: λ, chosen on the held-out images.
        scaling: scaling of its features, likewise.
        out_of_fold: scores ``(N, C)`` of each image by a probe that did not see it, before `temperature`; zeros if
            there is none. float64, or float32 with mini-batches: there, zeros take no memory until they are copied, so
            compute on ``out_of_fold[held_out]``.
        held_out: whether the image has such scores, ``(N,)``.
        known: whether the probe that gave these scores had seen other images of the image's class, ``(N,)``;
            likelihoods use only these images.
        temperature: temperature that the scores should be divided by, chosen on `out_of_fold`.
    """

    probe: LinearProbe
    l2: float
    scaling: Scaling
    out_of_fold: Floats
    held_out: NDArray[np.bool_]
    known: NDArray[np.bool_]
    temperature: float


def negative_log_likelihood(logits: Floats, labels: Labels, temperature: float = 1.0) -> float:
    """Return the mean negative log-likelihood of labels ``(N,)`` under scores ``(N, C)`` divided by a temperature.

    It is computed in float64, some rows at a time.

    Examples:
        >>> bool(np.isclose(negative_log_likelihood(np.zeros((3, 4)), np.array([0, 1, 2])), np.log(4)))
        True
    """
    rows = max(1, _CHUNK // logits.shape[1])
    total = 0.0
    for start in range(0, len(labels), rows):
        scores = logits[start : start + rows].astype(np.float64) / temperature
        scores -= scores.max(1, keepdims=True)
        of_label = scores[np.arange(len(scores)), labels[start : start + rows]]
        total += float((np.log(np.exp(scores).sum(1)) - of_label).sum())
    return total / len(labels)


def temperature(logits: Floats, labels: Labels) -> float:
    """Return the temperature with the lowest negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    With N images, the label counts for 1 − 1 / (N + 2) and all classes together for the rest, as in Platt's targets
    (1999): if 60 images are all right, it is still not certain that the next one will be.
    """
    from scipy.optimize import minimize_scalar

    lead = float(logits[np.arange(len(labels)), labels].mean(dtype=np.float64) - logits.mean(dtype=np.float64))
    doubt = lead / (len(labels) + 2)

    def loss(log: float) -> float:
        return negative_log_likelihood(logits, labels, float(np.exp(log))) + doubt / float(np.exp(log))

    found = minimize_scalar(loss, bounds=(-3.0, 5.0), method="bounded")
    return float(np.exp(found.x))


def of_all_classes(weight: Floats, bias: Floats, present: Labels, classes: int) -> tuple[Floats, Floats]:
    """Return weights ``(C, K)`` and biases ``(C,)`` of all classes from those of the classes that are present.

    A class without images is scored by its bias alone, which is so low that it is never predicted.
    """
    all_weights, all_biases = np.zeros((classes, weight.shape[1])), np.full(classes, bias.min() + _ABSENT)
    all_weights[present], all_biases[present] = weight, bias
    return all_weights, all_biases


def moments(features: Floats, rows: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation ``(K,)`` of some rows ``(n,)`` of features ``(N, K)``.

    One pass in float64 (Chan, Golub and LeVeque 1979), some rows at a time.
    """
    count, mean, squares = 0, np.zeros(features.shape[1]), np.zeros(features.shape[1])
    step = max(1, _CHUNK // features.shape[1])
    for start in range(0, len(rows), step):
        chunk = features[rows[start : start + step]].astype(np.float64)
        new_mean = chunk.mean(0)
        chunk -= new_mean
        apart, both = new_mean - mean, count + len(chunk)
        squares += np.square(chunk, out=chunk).sum(0) + apart**2 * (count * len(chunk) / both)
        mean += apart * (len(chunk) / both)
        count = both
    return mean, np.sqrt(squares / count)
