"""Multinomial logistic regression on frozen features: a convex problem with one answer.

    min over W, b:  mean_i −log softmax(W z_i + b)_{y_i} + λ/2 ‖W‖²,   z the standardised features

Standardisation is folded into the weights afterwards, so that the probe is one linear layer on the features themselves.
scikit-learn solves it (L-BFGS). Where there are fewer images than features, it is solved in the images' own span, which
holds the answer (the representer theorem) and is many times smaller.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import DataError

Floats = NDArray[np.floating[Any]]

L2_GRID: tuple[float, ...] = tuple(10.0**exponent for exponent in np.arange(-3.0, 0.6, 0.5))
"""λ, of which one is chosen by folds."""
_ABSENT = -30.0
"""Score of a class that no image was learnt of, below the least of the others."""
_TOLERANCE, _STEPS = 1e-7, 5000
"""How exactly the probe itself is solved; what λ is chosen by need not be."""


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on features as they come from the network.

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

    def cooled(self, temperature: float) -> LinearProbe:
        """Return the probe with its scores divided by a temperature, which changes no answer, only how sure it is."""
        return LinearProbe(self.weight / temperature, self.bias / temperature)


@dataclass(frozen=True)
class ProbeFit:
    """A probe, and what is known of it from images that it did not see.

    Attributes:
        probe: solved on all images.
        l2: λ, chosen by folds.
        out_of_fold: scores ``(N, C)`` of each image by a probe that did not see it, before `temperature`.
        temperature: what scores are to be divided by, chosen on `out_of_fold`.
    """

    probe: LinearProbe
    l2: float
    out_of_fold: NDArray[np.float64]
    temperature: float


def solve(features: Floats, labels: NDArray[np.integer[Any]], classes: int, l2: float) -> LinearProbe:
    """Return the probe of features ``(N, K)`` and labels ``(N,)``.

    Raises:
        DataError: there are images of fewer than two classes.

    >>> probe = solve(np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1]), 2, 0.01)
    >>> probe.logits(np.array([[0.5], [4.5]])).argmax(1).tolist()
    [0, 1]
    """
    return solve_path(features, labels, classes, [l2], tol=_TOLERANCE, max_iter=_STEPS)[0]


def solve_path(
    features: Floats,
    labels: NDArray[np.integer[Any]],
    classes: int,
    l2s: Sequence[float],
    *,
    tol: float = 1e-4,
    max_iter: int = 200,
) -> list[LinearProbe]:
    """Return the probes of several λ, in their order; each starts from the one before, strongest first.

    Args:
        features, labels, classes: as of `solve`.
        l2s: λ.
        tol: largest entry of the gradient at which the solver stops.
        max_iter: steps after which it stops in any case.

    Raises:
        DataError: as of `solve`.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    present = np.unique(labels)
    if len(present) < 2:
        raise DataError("a probe needs images of at least two classes.")
    mean, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
    scale = np.where(scale > 1e-12, scale, np.inf)  # what never changes tells nothing
    inside, basis = _span((features - mean) / scale)
    found: dict[float, LinearProbe] = {}
    solver = LogisticRegression(max_iter=max_iter, tol=tol, warm_start=True)
    for l2 in sorted(set(l2s), reverse=True):
        # Of two classes scikit-learn solves for the margin, w = W_1 − W_0, whose ‖w‖² is twice ‖W‖².
        solver.C = (2 if len(present) == 2 else 1) / (l2 * len(labels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # at the weakest λ of the grid the optimum is far off
            solver.fit(inside, labels)
        weight, bias = _of_all_classes(solver.coef_ @ basis, solver.intercept_, present, classes)
        weight = weight / scale
        found[l2] = LinearProbe(weight, bias - weight @ mean)
    return [found[l2] for l2 in l2s]


def fit_probe(
    features: Floats,
    labels: NDArray[np.integer[Any]],
    classes: int,
    folds: NDArray[np.integer[Any]],
    l2s: Sequence[float] = L2_GRID,
) -> ProbeFit:
    """Choose λ by the log-likelihood of held-out folds, then solve on all images.

    Args:
        features: ``(N, K)``.
        labels: ``(N,)``.
        classes: C.
        folds: fold of each image, ``(N,)`` (`tlaam.data.folds.stratified_folds`).
        l2s: of which λ is chosen.

    Raises:
        DataError: as of `solve`.
    """
    scores = np.full((len(l2s), len(labels), classes), _ABSENT)
    for fold in np.unique(folds):
        held_out = folds == fold
        probes = solve_path(features[~held_out], labels[~held_out], classes, l2s)
        for number, probe in enumerate(probes):
            scores[number, held_out] = probe.logits(features[held_out])
    best = int(np.argmin([negative_log_likelihood(one, labels) for one in scores]))
    probe = solve(features, labels, classes, l2s[best])
    return ProbeFit(probe, l2s[best], scores[best], temperature(scores[best], labels))


def negative_log_likelihood(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the mean negative log-likelihood of labels ``(N,)`` under scores ``(N, C)``.

    >>> round(negative_log_likelihood(np.zeros((3, 4)), np.array([0, 1, 2])), 3) == round(np.log(4), 3)
    True
    """
    return float(-_log_softmax(logits)[np.arange(len(labels)), labels].mean())


def temperature(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return what scores are to be divided by for the least negative log-likelihood (Guo et al. 2017, 1706.04599)."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: negative_log_likelihood(logits / np.exp(log), labels), bounds=(-3.0, 3.0), method="bounded"
    )
    return float(np.exp(found.x))


def _log_softmax(logits: Floats) -> NDArray[np.float64]:
    shifted = logits - logits.max(1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return result


def _span(standardised: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates ``(N, R)`` of features ``(N, K)`` in an orthonormal basis ``(R, K)`` of their span.

    ‖W‖ is the same in both, so that the problem is too.
    """
    if standardised.shape[0] >= standardised.shape[1]:
        return standardised, np.eye(standardised.shape[1])
    basis, triangle = np.linalg.qr(standardised.T)
    return triangle.T, basis.T


def _of_all_classes(
    weight: NDArray[np.float64], bias: NDArray[np.float64], present: NDArray[np.integer[Any]], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights ``(C, K)`` and biases ``(C,)`` of all classes from those of the classes that were there."""
    if len(present) == 2:  # scikit-learn gives one row, the second class's margin
        weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
    all_weights, all_biases = np.zeros((classes, weight.shape[1])), np.full(classes, bias.min() + _ABSENT)
    all_weights[present], all_biases[present] = weight, bias
    return all_weights, all_biases
