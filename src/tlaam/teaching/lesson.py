"""The data for solving classifiers again: features of the model's training images, with the classes it should have."""

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
    """Features with class labels.

    Attributes:
        classes: class names by index.
        features: features of N images to learn from, ``(N, V, K)``.
        labels: class index of each, ``(N,)``.
        names: name of each; the assignment to folds depends on it.
        held_out: features of M images that are not learned from, ``(M, V, K)``.
        held_out_labels: class index of each, ``(M,)``.
    """

    classes: tuple[str, ...]
    features: NDArray[np.float32] = field(repr=False)
    labels: Labels = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    held_out: NDArray[np.float32] = field(repr=False)
    held_out_labels: Labels = field(repr=False)

    def added(self, name: str, features: NDArray[np.float32], names: Sequence[str]) -> Lesson:
        """Return the lesson with an additional class and its images; the new class is the last one."""
        labels = np.full(len(features), len(self.classes))
        return replace(
            self,
            classes=(*self.classes, name),
            features=np.concatenate([self.features, features]),
            labels=np.concatenate([self.labels, labels]),
            names=(*self.names, *names),
        )

    def relabelled(self, classes: Sequence[str], places: Sequence[int | None]) -> Lesson:
        """Return the lesson with other classes.

        Args:
            classes: the new classes.
            places: for each present class, its index in `classes`; None for one whose images are dropped.
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
        """Return the classifiers, with equal prior probabilities for all classes, however many photographs they have.

        Copies (images with the same features) are always in the same fold.

        Raises:
            DataError: the images have fewer than two classes.
        """
        groups = groups_of_copies(unit(self.features.reshape(len(self.features), -1)))
        count = min(FOLDS, len(self.labels))
        folds = stratified_folds(self.labels.tolist(), list(self.names), count, groups=groups)
        priors = log_priors(self.labels, len(self.classes))
        return solve_classifiers(self.features, self.labels, len(self.classes), folds, offsets=priors)
