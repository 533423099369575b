"""Which classes are taken for each other."""

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
        first, second: the classes, the more often mistaken one first.
        forth: how many images of `first` were taken for `second`.
        back: how many of `second` for `first`.
        example: the mistake among them that the model was surest of.
        other: an image of the class that `example` was taken for: the right answer the model was surest of, else any;
            None where that class has no image.
    """

    first: int
    second: int
    forth: int
    back: int
    example: ImageResult
    other: ImageResult | None

    @property
    def count(self) -> int:
        """How many images were mistaken between the two."""
        return self.forth + self.back


def mixed_up(results: Sequence[ImageResult]) -> list[MixedUp]:
    """Return all pairs of classes of which any image was taken for the other, most often mistaken ones first."""
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
