"""Pairs of classes that the model confuses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tlaam.config.names import FINAL_BRANCH
from tlaam.evaluation.report import ImageResult


@dataclass(frozen=True)
class MixedUp:
    """Two classes, and how often one was taken for the other.

    Attributes:
        first, second: the classes; the one that is mistaken more often comes first.
        forth: number of images of `first` taken for `second`.
        back: number of images of `second` taken for `first`.
        example: the mistake among these with the highest score.
        other: an image of the class that `example` was taken for: the right answer with the highest score, else any
            image; None if that class has no image.
    """

    first: int
    second: int
    forth: int
    back: int
    example: ImageResult
    other: ImageResult | None

    @property
    def count(self) -> int:
        """Number of images mistaken between the two."""
        return self.forth + self.back


def mixed_up(results: Sequence[ImageResult]) -> list[MixedUp]:
    """Return all pairs of classes with images taken for the other class, the most often mistaken pairs first."""
    mistakes = Counter((r.label, r.predicted[FINAL_BRANCH]) for r in results if r.predicted[FINAL_BRANCH] != r.label)
    pairs = []
    for first, second in {tuple(sorted(pair)) for pair in mistakes}:
        if mistakes[second, first] > mistakes[first, second]:
            first, second = second, first
        both = {(first, second), (second, first)}
        example = max((r for r in results if (r.label, r.predicted[FINAL_BRANCH]) in both), key=lambda r: r.score)
        taken_for = example.predicted[FINAL_BRANCH]
        others = [r for r in results if r.label == taken_for]
        other = max(others, key=lambda r: (r.predicted[FINAL_BRANCH] == r.label, r.score), default=None)
        pairs.append(MixedUp(first, second, mistakes[first, second], mistakes[second, first], example, other))
    return sorted(pairs, key=lambda pair: (-pair.count, pair.first, pair.second))
