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

L2_STEP = 10**0.5
L2_GRID: tuple[float, ...] = tuple(1e-3 * L2_STEP**number for number in range(8))
"""λ, of which one is chosen by folds."""
_ABSENT = -30.0
"""Score of a class that no image was learnt of, below the least of the others."""
_RISES = 2
"""λ in a row, ever weaker, that were worse than the best before them: weaker ones are not tried."""
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
        weights: which of the weights was chosen.
        out_of_fold: scores ``(N, C)`` of each image by a probe that did not see it, before `temperature`; zeros where
            there is none.
        known: whether that probe had seen other images of the image's class, ``(N,)``; likelihoods are of those alone.
        temperature: what scores are to be divided by, chosen on `out_of_fold`.
    """

    probe: LinearProbe
    l2: float
    weights: int
    out_of_fold: NDArray[np.float64]
    known: NDArray[np.bool_]
    temperature: float


def solve(
    features: Floats, labels: NDArray[np.integer[Any]], classes: int, l2: float, weight: Floats | None = None
) -> LinearProbe:
    """Return the probe of features ``(N, K)`` and labels ``(N,)``; weights ``(K,)`` are as of `fit_probe`.

    Raises:
        DataError: there are images of fewer than two classes.

    >>> probe = solve(np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1]), 2, 0.01)
    >>> probe.logits(np.array([[0.5], [4.5]])).argmax(1).tolist()
    [0, 1]
    """
    return _Path(features, labels, classes, weight, tol=_TOLERANCE, max_iter=_STEPS).at(l2)


class _Path:
    """The probes of one set of images for several λ; each starts from the one before."""

    def __init__(
        self,
        features: Floats,
        labels: NDArray[np.integer[Any]],
        classes: int,
        weight: Floats | None = None,
        *,
        tol: float = 1e-4,
        max_iter: int = 200,
    ) -> None:
        from sklearn.linear_model import LogisticRegression

        self.labels, self.classes, self.present = labels, classes, np.unique(labels)
        if len(self.present) < 2:
            raise DataError("a probe needs images of at least two classes.")
        self.mean, scale = features.mean(0, dtype=np.float64), features.std(0, dtype=np.float64)
        scale = np.where(scale > 1e-12, scale, np.inf)  # what never changes tells nothing
        self.scale = scale if weight is None else scale / weight
        self.inside, self.basis = _span((features - self.mean) / self.scale)
        self.solver = LogisticRegression(max_iter=max_iter, tol=tol, warm_start=True)

    def at(self, l2: float) -> LinearProbe:
        """Return the probe of one λ."""
        from sklearn.exceptions import ConvergenceWarning

        # Of two classes scikit-learn solves for the margin, w = W_1 − W_0, whose ‖w‖² is twice ‖W‖².
        self.solver.C = (2 if len(self.present) == 2 else 1) / (l2 * len(self.labels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # at the weakest λ of the grid the optimum is far off
            self.solver.fit(self.inside, self.labels)
        weight, bias = _of_all_classes(
            self.solver.coef_ @ self.basis, self.solver.intercept_, self.present, self.classes
        )
        weight = weight / self.scale
        return LinearProbe(weight, bias - weight @ self.mean)


def fit_probe(
    features: Floats,
    labels: NDArray[np.integer[Any]],
    classes: int,
    folds: NDArray[np.integer[Any]],
    l2s: Sequence[float] = L2_GRID,
    weights: Sequence[Floats | None] = (None,),
) -> ProbeFit:
    """Choose λ, and how much each feature weighs, by the log-likelihood of held-out folds, then solve on all images.

    Args:
        features: ``(N, K)``.
        labels: ``(N,)``.
        classes: C.
        folds: fold of each image, ``(N,)`` (`tlaam.data.folds.stratified_folds`).
        l2s: of which λ is chosen; the strongest is tried first.
        weights: of which one is chosen: factors ``(K,)`` of the standardised features, None for 1. A feature of a lower
            weight is penalised more.

    Raises:
        DataError: as of `solve`.
    """
    known = np.zeros(len(labels), dtype=bool)
    sides: list[NDArray[np.bool_]] = []
    for fold in np.unique(folds):
        held_out = folds == fold
        seen = np.unique(labels[~held_out])
        if len(seen) >= 2:
            sides.append(held_out)
            known |= held_out & np.isin(labels, seen)
    if not known.any():  # too few images for any to be held out
        l2 = sorted(l2s)[len(l2s) // 2]
        nothing = np.zeros((len(labels), classes))
        return ProbeFit(solve(features, labels, classes, l2, weights[0]), l2, 0, nothing, known, 1.0)
    tried: list[tuple[float, float, int, NDArray[np.float64]]] = []
    for number, weight in enumerate(weights):
        paths = [(held_out, _Path(features[~held_out], labels[~held_out], classes, weight)) for held_out in sides]
        best, rises = float("inf"), 0
        for l2 in sorted(set(l2s), reverse=True):
            scores = np.zeros((len(labels), classes))
            for held_out, path in paths:
                scores[held_out] = path.at(l2).logits(features[held_out])
            loss = negative_log_likelihood(scores[known], labels[known])
            tried.append((loss, l2, number, scores))
            rises, best = (0, loss) if loss < best else (rises + 1, best)
            if rises == _RISES:
                break
    _, l2, number, scores = min(tried, key=lambda one: one[0])
    probe = solve(features, labels, classes, l2, weights[number])
    return ProbeFit(probe, l2, number, scores, known, temperature(scores[known], labels[known]))


def negative_log_likelihood(logits: Floats, labels: NDArray[np.integer[Any]]) -> float:
    """Return the mean negative log-likelihood of labels ``(N,)`` under scores ``(N, C)``.

    >>> bool(np.isclose(negative_log_likelihood(np.zeros((3, 4)), np.array([0, 1, 2])), np.log(4)))
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
