"""Choose λ and the features' scaling by one held-out fold, if there are too many features for five exact ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.probe.linear import Floats, Labels, LinearProbe, ProbeFit, Scaling, negative_log_likelihood, temperature
from tlaam.probe.minibatch import MinibatchPath

_COARSE = 10.0
"""Ratio between one λ and the next one tried."""
_WEAKEST = 1e-6
_ROUGHLY, _ROUGH_PASSES = 3e-2, 10
"""Accuracy and maximum passes of the probes that are used to choose λ."""
_ROWS_BYTES = 64 << 20
"""Size of the features that are scored at a time."""


def fit_by_minibatches(
    features: Floats,
    labels: Labels,
    classes: int,
    folds: Labels,
    l2s: Sequence[float],
    scalings: Sequence[Scaling],
    *,
    weaker: bool = False,
    seed: int = 0,
) -> ProbeFit:
    """Do the same as `tlaam.probe.solver.fit_probe`, in mini-batches and with the first fold that can be held out.

    If there are many λ, those ten times apart are tried, from strong to weak, each starting from the previous probe,
    until one is worse. With the other scalings, they start from ten times the best λ. The candidate probes are within
    3 % of their optimum; the final one, on all images, is within 0.1 % or as close as 40 passes bring it.

    Args:
        features: see `fit_probe`.
        labels: see `fit_probe`.
        classes: see `fit_probe`.
        folds: see `fit_probe`.
        l2s: see `fit_probe`.
        scalings: see `fit_probe`.
        weaker: continue below the weakest λ while that is better: more images and classes need a weaker λ.
        seed: seed of the mini-batches' order.

    Raises:
        DataError: there are images of fewer than two classes.
    """
    grid = _coarse(l2s)
    held_out, known = np.zeros(len(labels), dtype=bool), np.zeros(len(labels), dtype=bool)
    for fold in np.unique(folds):
        seen = np.unique(labels[folds != fold])
        if len(seen) >= 2 and np.isin(labels[folds == fold], seen).any():
            held_out = folds == fold
            known = held_out & np.isin(labels, seen)
            break
    if not held_out.any():
        nothing = np.zeros((len(labels), classes), dtype=np.float32)
        l2 = sorted(l2s)[len(l2s) // 2]
        probe = MinibatchPath(features, labels, classes, scalings[0], seed=seed).at(l2)
        return ProbeFit(probe, l2, scalings[0], nothing, held_out, known, 1.0)
    chosen = _choose(features, labels, classes, held_out, known, grid, scalings, weaker, seed)
    path = MinibatchPath(features, labels, classes, chosen.scaling, seed=seed)
    path.begin_from(chosen.probe)  # solved on four fifths of the images: not far
    probe = path.at(chosen.l2)
    heat = temperature(chosen.scores[known[held_out]], labels[known])
    out_of_fold = np.zeros((len(labels), classes), dtype=np.float32)
    out_of_fold[held_out] = chosen.scores
    return ProbeFit(probe, chosen.l2, chosen.scaling, out_of_fold, held_out, known, heat)


class _Tried(NamedTuple):
    """A probe for the images that are not held out, and the scores ``(n, C)`` of those that are."""

    loss: float
    l2: float
    scaling: Scaling
    probe: LinearProbe
    scores: NDArray[np.float32]


def _choose(
    features: Floats,
    labels: Labels,
    classes: int,
    held_out: NDArray[np.bool_],
    known: NDArray[np.bool_],
    grid: list[float],
    scalings: Sequence[Scaling],
    weaker: bool,
    seed: int,
) -> _Tried:
    """Return the probe for the λ and scaling under which the held-out images are most likely."""
    path = MinibatchPath(features, labels, classes, scalings[0], rows=~held_out, seed=seed)
    best: _Tried | None = None
    for scaling in scalings:
        if best is not None:
            path.rescale(scaling)
            path.begin_from(best.probe)
            grid = [l2 for l2 in grid if l2 <= best.l2 * _COARSE * 1.001]
        of_scaling, untried = float("inf"), list(grid)
        while untried:
            l2 = untried.pop(0)
            probe = path.at(l2, _ROUGHLY, _ROUGH_PASSES)
            scores = _scores(probe, features, np.flatnonzero(held_out))
            loss = negative_log_likelihood(scores[known[held_out]], labels[known])
            if best is None or loss < best.loss:
                best = _Tried(loss, l2, scaling, probe, scores)
            if loss >= of_scaling:
                break
            of_scaling = loss
            if weaker and not untried and l2 / _COARSE >= _WEAKEST * 0.999:
                untried.append(l2 / _COARSE)
                grid.append(l2 / _COARSE)
    assert best is not None
    return best


def _coarse(l2s: Sequence[float]) -> list[float]:
    """Return λ at least ten times apart, strong to weak, including the weakest; three or fewer are all kept."""
    every = sorted(set(l2s))
    kept = every[:1]
    for l2 in every[1:]:
        if len(every) <= 3 or l2 >= kept[-1] * _COARSE * 0.999:
            kept.append(l2)
    return kept[::-1]


def _scores(probe: LinearProbe, features: Floats, rows: Labels) -> NDArray[np.float32]:
    """Return scores ``(n, C)`` of some rows."""
    scores = np.empty((len(rows), len(probe.bias)), dtype=np.float32)
    features = np.asarray(features)
    step = max(1, _ROWS_BYTES // (8 * features.shape[1]))
    for start in range(0, len(rows), step):
        scores[start : start + step] = probe.logits(features[rows[start : start + step]])
    return scores
