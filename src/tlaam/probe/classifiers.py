"""Both classifiers of a network, solved on pooled features: V, shared by all branches, and W on all branches together.

Only the features are needed, both for the probe of a pretrained backbone and for adding a class to a finished model.
This module needs only NumPy, SciPy and scikit-learn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from tlaam.probe.linear import Floats, Labels, LinearProbe, ProbeFit, Scaling, negative_log_likelihood
from tlaam.probe.solver import ENOUGH, L2_GRID, L2_STEP, fit_probe

FOLDS = 5
"""Number of folds, each of which is held out in turn."""
VIEW_WEIGHTS: dict[int, list[tuple[float, ...]]] = {
    1: [(1.0,)],
    2: [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5)],
    3: [(1.0, 1.0, 1.0), (0.5, 1.0, 0.5), (1.0, 0.5, 0.25)],
}
"""Candidate weights of raw image, object and parts in the joint classifier's problem; one is chosen by folds."""
FLOORS: tuple[float, ...] = (0.3, 1.0)
"""Smallest deviation that a feature is divided by, in medians of its view's deviations; one is chosen by folds."""


class Classifiers(NamedTuple):
    """Classifiers scaled by their temperatures, and their predictions for images that they did not see.

    Attributes:
        shared: V.
        joint: W; None if the branches' probabilities are averaged.
        scores: logarithms of the fused probabilities ``(N, C)``, out of fold.
        known: images for which these are known, ``(N,)``: those whose class has other images.
        held_out: images that were held out, ``(N,)``.
        l2_shared: λ of V.
        l2_joint: λ of W; None if there is none.
        scaling: scaling of the features, with the floor that both share and W's weights of the views.
    """

    shared: LinearProbe
    joint: LinearProbe | None
    scores: NDArray[np.float64]
    known: NDArray[np.bool_]
    held_out: NDArray[np.bool_]
    l2_shared: float
    l2_joint: float | None
    scaling: Scaling

    def right(self, labels: Labels) -> NDArray[np.bool_]:
        """Return which images with labels ``(N,)`` are classified correctly out of fold, ``(N,)``.

        The only image of a class never is: when it is held out, no other image shows the class.
        """
        right: NDArray[np.bool_] = (self.scores.argmax(1) == labels) & self.known
        return right

    def top1(self, labels: Labels) -> float | None:
        """Return the accuracy on the held-out images; None if nothing is known of them."""
        return float(self.right(labels)[self.held_out].mean()) if self.known.any() else None

    def loss(self, labels: Labels) -> float | None:
        """Return the mean negative log-likelihood of the known images; None likewise."""
        return negative_log_likelihood(self.scores[self.known], labels[self.known]) if self.known.any() else None


def solve_classifiers(
    pooled: Floats, labels: Labels, classes: int, folds: Labels, *, joint: bool = True, offsets: Floats | None = None
) -> Classifiers:
    """Return the classifiers of features ``(N, V, K)`` and labels ``(N,)``.

    Args:
        pooled: the V branches' features of each image: raw image, object, mean of the parts.
        labels: class index of each image.
        classes: C.
        folds: fold of each image, ``(N,)`` (`tlaam.data.folds.stratified_folds`).
        joint: solve W, which then makes the prediction; else the branches' probabilities are averaged.
        offsets: ``(C,)``, subtracted from the scores (`tlaam.data.skew.log_priors`). [none]

    Raises:
        DataError: there are images of fewer than two classes.
    """
    count = pooled.shape[1]
    offsets = np.zeros(classes) if offsets is None else offsets
    of_all: ProbeFit | None = None
    l2s, floors = L2_GRID, FLOORS
    if joint:
        scalings = [Scaling(weights, floor) for floor in FLOORS for weights in VIEW_WEIGHTS[count]]
        of_all = fit_probe(pooled.reshape(len(pooled), -1), labels, classes, folds, scalings=scalings)
        l2s = tuple(of_all.l2 * step for step in (L2_STEP, 1.0, 1 / L2_STEP))  # the same images: λ is similar
        floors = (of_all.scaling.floor,)
    of_each = fit_probe(
        pooled.reshape(-1, pooled.shape[2]), labels.repeat(count), classes, folds.repeat(count), l2s,
        [Scaling(floor=floor) for floor in floors], ENOUGH * count,
    )  # fmt: skip
    if of_all is None:
        branches = log_softmax(of_each.out_of_fold / of_each.temperature - offsets, 1)
        mean = np.exp(branches.reshape(-1, count, classes)).mean(1)
        scores = np.log(np.maximum(mean, 1e-300))
    else:
        scores = log_softmax(of_all.out_of_fold / of_all.temperature - offsets, 1)
    return Classifiers(
        of_each.probe.cooled(of_each.temperature).shifted(offsets),
        None if of_all is None else of_all.probe.cooled(of_all.temperature).shifted(offsets),
        scores,
        (of_each.known[::count] if of_all is None else of_all.known).copy(),
        of_each.held_out[::count] if of_all is None else of_all.held_out,  # for very many images, only one fold
        of_each.l2,
        None if of_all is None else of_all.l2,
        of_each.scaling if of_all is None else of_all.scaling,
    )
