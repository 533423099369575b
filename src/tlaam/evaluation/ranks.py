"""Accuracy by rank, how deep answers go, and whether the promise held. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.taxonomy.answers import Answering, TaxonAnswer
from tlaam.taxonomy.promise import upper_end


class RankResult(NamedTuple):
    """How images were answered at one rank.

    Attributes:
        rank: name of the rank.
        images: number of images of a class whose taxon is known at this rank.
        accuracy: share of these whose most probable taxon is right, however probable it is; None if there are no such
            images.
        answers: number of images answered at this rank and at no deeper one.
        right: number of these answers that are right.
    """

    rank: str
    images: int
    accuracy: float | None
    answers: int
    right: int


@dataclass(frozen=True)
class RankReport:
    """Whether a promise held, and what it cost.

    Attributes:
        promise: share of answers that should be right.
        images: number of images to answer.
        ranks: results by rank, the deepest first.
    """

    promise: float
    images: int
    ranks: tuple[RankResult, ...]

    @property
    def answers(self) -> int:
        """Number of images answered at any rank."""
        return sum(rank.answers for rank in self.ranks)

    @property
    def right(self) -> int:
        """Number of these answers that are right."""
        return sum(rank.right for rank in self.ranks)

    @property
    def kept(self) -> float | None:
        """Share of the answers that are right; None without answers."""
        return self.right / self.answers if self.answers else None

    @property
    def upper(self) -> float | None:
        """Upper end of the 95 % Clopper-Pearson interval of `kept`; None without answers."""
        return upper_end(self.right, self.answers) if self.answers else None

    @property
    def held(self) -> bool:
        """Whether these images are consistent with the promise."""
        return self.upper is None or self.upper >= self.promise

    def summary(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "promise": self.promise,
            "answers": self.answers,
            "none": self.images - self.answers,
            "kept": self.kept,
            "kept_upper": self.upper,
            "held": self.held,
            "ranks": [rank._asdict() for rank in self.ranks],
        }

    def lines(self) -> str:
        """Return the report as lines for a terminal."""
        width = max(len(rank.rank) for rank in self.ranks)
        lines = []
        for rank in self.ranks:
            accuracy = "not known" if rank.accuracy is None else f"{100 * rank.accuracy:.1f} % right"
            lines.append(f"{rank.rank.ljust(width)}  {accuracy}; answered {rank.answers}, {rank.right} of them rightly")
        kept = "no answers" if self.kept is None else f"{self.right} of {self.answers} answers right, {self.kept:.1%}"
        word = "held" if self.held else "not held"
        lines.append(f"promise {self.promise:g}: {word}; {kept}; {self.images - self.answers} images without an answer")
        return "\n".join(lines)


def rank_report(
    answering: Answering,
    answers: Sequence[TaxonAnswer],
    probabilities: NDArray[np.floating[Any]],
    labels: Sequence[int],
) -> RankReport:
    """Measure answers that were given by a promise.

    Args:
        answering: how the answers were given; it must have a promise.
        answers: the answers for N images.
        probabilities: probabilities of the classes, ``(N, C)``.
        labels: index of each image's class, ``(N,)``.
    """
    assert answering.promise is not None
    taxonomy, truth = answering.taxonomy, np.array(labels)
    depths = np.array([-1 if answer.depth is None else answer.depth for answer in answers])
    found = []
    for depth, rank in enumerate(taxonomy.ranks):
        codes, named = taxonomy.codes[depth], taxonomy.is_named[depth]
        sums = np.zeros((len(truth), int(codes.max()) + 1))
        np.add.at(sums.T, codes, probabilities.T)
        known = named[truth]
        right = sums.argmax(1) == codes[truth]
        said = [answer.taxon == taxonomy.taxa[label][depth] for answer, label in zip(answers, labels, strict=True)]
        of_rank = depths == depth
        found.append(
            RankResult(
                rank,
                int(known.sum()),
                float(right[known].mean()) if known.any() else None,
                int(of_rank.sum()),
                int((of_rank & np.array(said)).sum()),
            )
        )
    return RankReport(answering.promise, len(truth), tuple(found))


__all__ = ["RankReport", "RankResult", "rank_report"]
