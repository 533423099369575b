"""What classifiers are solved on anew: features of images that a model learnt from, under the classes it is to have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tlaam.data.folds import stratified_folds
from tlaam.data.skew import log_priors
from tlaam.probe.classifiers import FOLDS, Classifiers, solve_classifiers
from tlaam.reference.similarity import groups_of_copies, unit

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Lesson:
    """Features under classes.

    Attributes:
        classes: class names, by index.
        features: of N images to learn from, ``(N, V, K)``.
        labels: class index of each, ``(N,)``.
        names: of each, by which folds are drawn.
        held_out: of M images that are not learnt from, ``(M, V, K)``.
        held_out_labels: ``(M,)``.
    """

    classes: tuple[str, ...]
    features: NDArray[np.float32] = field(repr=False)
    labels: Labels = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    held_out: NDArray[np.float32] = field(repr=False)
    held_out_labels: Labels = field(repr=False)

    def added(self, name: str, features: NDArray[np.float32], names: Sequence[str]) -> Lesson:
        """Return it with a class more, of images of their own: the last one."""
        labels = np.full(len(features), len(self.classes))
        return replace(
            self,
            classes=(*self.classes, name),
            features=np.concatenate([self.features, features]),
            labels=np.concatenate([self.labels, labels]),
            names=(*self.names, *names),
        )

    def relabelled(self, classes: Sequence[str], places: Sequence[int | None]) -> Lesson:
        """Return it under other classes.

        Args:
            classes: the new ones.
            places: of each class as it was, which of these it is; None for one whose images go.
        """
        turned = np.array([-1 if place is None else place for place in places])
        labels, held_out = turned[self.labels], turned[self.held_out_labels]
        kept, others = labels >= 0, held_out >= 0
        return Lesson(
            tuple(classes),
            self.features[kept],
            labels[kept],
            tuple(name for name, stays in zip(self.names, kept, strict=True) if stays),
            self.held_out[others],
            held_out[others],
        )

    def solve(self) -> Classifiers:
        """Return the classifiers, each class as likely as another beforehand, however many photographs it has.

        Copies, images of the same features, are never on two sides of a fold.

        Raises:
            DataError: there are images of fewer than two classes.
        """
        groups = groups_of_copies(unit(self.features.reshape(len(self.features), -1)))
        count = min(FOLDS, len(self.labels))
        folds = stratified_folds(self.labels.tolist(), list(self.names), count, groups=groups)
        priors = log_priors(self.labels, len(self.classes))
        return solve_classifiers(self.features, self.labels, len(self.classes), folds, offsets=priors)
