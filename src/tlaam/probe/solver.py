"""Multinomial logistic regression on frozen features: a convex problem with a unique solution.

    min over W, b:  mean_i −log softmax(W z_i + b)_{y_i} + λ/2 ‖W‖²,   z the standardised features

Standardisation is folded into the weights afterwards, so that the probe is one linear layer on the features themselves.
scikit-learn solves the problem (Newton-CG: features of one backbone are so correlated that L-BFGS takes ten times as
long). If there are fewer images than features, it is solved in the span of the images, which contains the solution (the
representer theorem) and is many times smaller. Features beyond `EXACT_BYTES` are solved in mini-batches instead
(`tlaam.probe.minibatch`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import DataError
from tlaam.probe.linear import (
    STANDARD,
    Floats,
    Labels,
    LinearProbe,
    ProbeFit,
    Scaling,
    moments,
    negative_log_likelihood,
    of_all_classes,
    temperature,
)  # fmt: skip

__all__ = [
    "ENOUGH", "EXACT_BYTES", "L2_GRID", "L2_STEP", "LinearProbe", "ProbeFit", "Scaling", "fit_probe",
    "negative_log_likelihood", "solve", "temperature",
]  # fmt: skip

EXACT_BYTES = 2 << 30
"""Features with more bytes in float32, or scores with more than half as many in float64, are solved in mini-batches.

The exact solver works in float64: at these sizes, it needs at most about 10 GB, including the given features."""
L2_STEP = 10**0.5
L2_GRID: tuple[float, ...] = tuple(1e-3 * L2_STEP**number for number in range(-3, 8))
"""Candidates for λ, of which one is chosen by folds."""
_RISES = 2
"""After this many successive weaker λ that were worse than the best one, no weaker ones are tried."""
_TOLERANCE, _STEPS = 1e-7, 5000
"""Tolerance and maximum steps of the final probe; those for choosing λ need not be as exact."""
_KEPT_BYTES = 2 << 30
"""If the standardised features of all folds take more, they are standardised again for each λ."""
ENOUGH = 1000
"""Held-out images after which no further fold is solved: each fold costs as much as all folds of a small data set."""
_LEAST_SQUARE = 1e-12
"""Smallest eigenvalue of a principal axis, as a share of the largest: smaller ones are rounding errors."""
_ROWS_BYTES = 64 << 20
"""Size of the features that are standardised at a time."""


def solve(features: Floats, labels: Labels, classes: int, l2: float, scaling: Scaling = STANDARD) -> LinearProbe:
    """Return the probe for features ``(N, K)`` and labels ``(N,)``.

    Beyond `EXACT_BYTES`, its objective is within 0.1 % of the minimum, or as low as 40 passes bring it
    (`tlaam.probe.minibatch`).

    Raises:
        DataError: there are images of fewer than two classes.

    Examples:
        >>> probe = solve(np.array([[0.0], [1.0], [4.0], [5.0]]), np.array([0, 0, 1, 1]), 2, 0.01)
        >>> probe.logits(np.array([[0.5], [4.5]])).argmax(1).tolist()
        [0, 1]
    """
    if _is_large(features, classes):
        from tlaam.probe.minibatch import MinibatchPath  # needs PyTorch, unlike the rest

        return MinibatchPath(features, labels, classes, scaling).at(l2)
    return _Path(features, labels, classes, scaling, tol=_TOLERANCE, max_iter=_STEPS).at(l2)


class _Path:
    """The probes of one set of images for several λ; each starts from the previous one."""

    def __init__(
        self,
        features: Floats,
        labels: Labels,
        classes: int,
        scaling: Scaling = STANDARD,
        *,
        rows: NDArray[np.bool_] | None = None,
        keep: bool = True,
        tol: float = 1e-4,
        max_iter: int = 200,
    ) -> None:
        """Compute the moments of some rows, by default all; `keep` keeps their standardised copy for the next λ."""
        from sklearn.linear_model import LogisticRegression

        self.features, self.classes, self.keep = features, classes, keep
        self.rows = np.arange(len(labels)) if rows is None else np.flatnonzero(rows)
        self.labels = labels[self.rows]
        self.present = np.unique(self.labels)
        if len(self.present) < 2:
            raise DataError("a probe needs images of at least two classes.")
        self.mean, deviation = moments(features, self.rows)
        self.scale = scaling.divisors(deviation)
        self.solver = LogisticRegression(solver="newton-cg", max_iter=max_iter, tol=tol, warm_start=True)
        self.span: _Span | None = None

    def at(self, l2: float) -> LinearProbe:
        """Return the probe for one λ."""
        from sklearn.exceptions import ConvergenceWarning

        span = self.span or _span(self._standardised())
        self.span = span if self.keep else None
        # For two classes, scikit-learn solves for the margin w = W_1 − W_0, whose ‖w‖² is twice ‖W‖².
        self.solver.C = (2 if len(self.present) == 2 else 1) / (l2 * len(self.labels))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # at the weakest λ of the grid the optimum is far off
            self.solver.fit(span.inside, self.labels)
        weight: Floats = span.back(self.solver.coef_)
        bias: Floats = self.solver.intercept_
        if len(self.present) == 2:  # scikit-learn gives one row, the second class's margin
            weight, bias = np.concatenate([-weight / 2, weight / 2]), np.concatenate([-bias / 2, bias / 2])
        weight, bias = of_all_classes(weight, bias, self.present, self.classes)
        weight = weight / self.scale
        return LinearProbe(weight, bias - weight @ self.mean)

    def _standardised(self) -> NDArray[np.float64]:
        """Return the standardised features of the rows: the only copy of them."""
        copy = np.empty((len(self.rows), self.features.shape[1]))
        step = max(1, _ROWS_BYTES // (8 * self.features.shape[1]))
        for start in range(0, len(copy), step):
            chunk = copy[start : start + step]
            np.subtract(self.features[self.rows[start : start + step]], self.mean, out=chunk)
            chunk /= self.scale
        return copy


def _is_large(features: Floats, classes: int) -> bool:
    """Return whether features ``(N, K)`` and scores ``(N, C)`` are too large for the exact solver's float64 copies."""
    return 4 * features.size > EXACT_BYTES or 8 * len(features) * classes > EXACT_BYTES // 2


def fit_probe(
    features: Floats,
    labels: Labels,
    classes: int,
    folds: Labels,
    l2s: Sequence[float] = L2_GRID,
    scalings: Sequence[Scaling] = (STANDARD,),
    enough: int = ENOUGH,
) -> ProbeFit:
    """Choose λ and the scaling of features by the log-likelihood of held-out folds, then solve on all images.

    Folds are held out in turn until enough images have been: with many images, one fold decides as well as five.

    Beyond `EXACT_BYTES`, it works in mini-batches and with one held-out fold, with coarser steps between λ and, if
    `l2s` is the default, also weaker ones (`tlaam.probe.selection.fit_by_minibatches`).

    Args:
        features: ``(N, K)``, possibly a memory map. They are only read, and never copied as a whole beyond
            `EXACT_BYTES`.
        labels: ``(N,)``.
        classes: C.
        folds: fold of each image, ``(N,)`` (`tlaam.data.folds.stratified_folds`).
        l2s: candidates for λ; the strongest is tried first. With the second and later scalings, the best λ so far and
            its neighbours are tried, then further ones in the direction of improvement.
        scalings: candidate scalings.
        enough: number of held-out rows after which no further fold is held out.

    Raises:
        DataError: see `solve`.
    """
    if _is_large(features, classes):
        from tlaam.probe.selection import fit_by_minibatches

        return fit_by_minibatches(features, labels, classes, folds, l2s, scalings, weaker=tuple(l2s) == L2_GRID)
    held, known = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=bool)
    sides: list[NDArray[np.bool_]] = []
    for fold in np.unique(folds):
        held_out = folds == fold
        seen = np.unique(labels[~held_out])
        if len(seen) >= 2 and held.sum() < enough:
            sides.append(held_out)
            held |= held_out
            known |= held_out & np.isin(labels, seen)
    if not known.any():  # too few images for any to be held out
        l2 = sorted(l2s)[len(l2s) // 2]
        nothing = np.zeros((len(labels), classes))
        probe = solve(features, labels, classes, l2, scalings[0])
        return ProbeFit(probe, l2, scalings[0], nothing, np.zeros_like(held), known, 1.0)
    keep = 8 * features.size * len(sides) <= _KEPT_BYTES
    grid = sorted(set(l2s), reverse=True)
    chosen: _Tried | None = None
    for scaling in scalings:
        paths = [(side, _Path(features, labels, classes, scaling, rows=~side, keep=keep)) for side in sides]
        tried: list[_Tried] = []
        while (strength := _next(grid, tried, chosen)) is not None:
            scores = np.zeros((len(labels), classes))
            for held_out, path in paths:
                scores[held_out] = path.at(strength).logits(features[held_out])
            tried.append(_Tried(negative_log_likelihood(scores[known], labels[known]), strength, scaling, scores))
        chosen = min([*([] if chosen is None else [chosen]), *tried], key=lambda one: one.loss)
    assert chosen is not None
    probe = solve(features, labels, classes, chosen.l2, chosen.scaling)
    warmth = temperature(chosen.scores[known], labels[known])
    return ProbeFit(probe, chosen.l2, chosen.scaling, chosen.scores, held, known, warmth)


class _Tried(NamedTuple):
    """Out-of-fold scores ``(N, C)`` and their loss."""

    loss: float
    l2: float
    scaling: Scaling
    scores: NDArray[np.float64]


def _next(grid: Sequence[float], tried: Sequence[_Tried], before: _Tried | None) -> float | None:
    """Return the next λ to try with one scaling, from a grid ordered strong to weak, or None.

    Args:
        grid: all λ.
        tried: those tried with this scaling, in order.
        before: the best one of the previous scalings.
    """
    places = [grid.index(one.l2) for one in tried]
    best = min(range(len(tried)), key=lambda number: tried[number].loss, default=0)
    if before is None:
        ends = len(tried) == len(grid) or len(tried) - 1 - best >= _RISES
        return None if ends else grid[len(tried)]
    middle = grid.index(before.l2)
    wanted = [middle - 1, middle, middle + 1]
    if {*wanted} & {*range(len(grid))} <= {*places}:
        wanted = [min(places) - 1] if places[best] == min(places) else []
        wanted += [max(places) + 1] if places[best] == max(places) else []
    return next((grid[place] for place in wanted if 0 <= place < len(grid) and place not in places), None)


class _Span(NamedTuple):
    """Features in coordinates of their own span, which leave ‖W‖, and so the problem, unchanged.

    Attributes:
        inside: ``(N, R)``.
        back: maps weights ``(C, R)`` back to ``(C, K)``.
    """

    inside: NDArray[np.float64]
    back: Callable[[NDArray[np.float64]], NDArray[np.float64]]


def _span(standardised: NDArray[np.float64]) -> _Span:
    """Return features ``(N, K)`` along their principal axes, or unchanged if there are at least K images."""
    if standardised.shape[0] >= standardised.shape[1]:
        return _Span(standardised, lambda weight: weight)
    squares, axes = np.linalg.eigh(standardised @ standardised.T)
    kept = squares > _LEAST_SQUARE * squares[-1]
    lengths, axes = np.sqrt(squares[kept]), axes[:, kept]
    return _Span(axes * lengths, lambda weight: (weight / lengths) @ axes.T @ standardised)
