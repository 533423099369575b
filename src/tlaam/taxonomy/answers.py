"""Answers at the deepest rank that is sure enough."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import DataError
from tlaam.taxonomy.promise import (
    PROMISE,
    least_answers,
    require_enough,
    require_promise,
    shown_threshold,
    thresholds,
)
from tlaam.taxonomy.residents import Residents
from tlaam.taxonomy.shares import WHOLE, HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.checksums import checksum


class RankScores(NamedTuple):
    """For N answers, the most probable taxon at each of R ranks.

    Attributes:
        shares: shares of that taxon, ``(R, N)``.
        members: a class of that taxon, by index, ``(R, N)``.
    """

    shares: NDArray[np.int64]
    members: NDArray[np.int64]


class TaxonAnswer(NamedTuple):
    """The answer for an image at the deepest rank that is sure enough; empty if no rank is.

    Attributes:
        depth: number of the rank, 0 for the deepest; None if there is no answer.
        rank: name of the rank; None if there is no answer.
        taxon: what the image shows; None if there is no answer.
        probability: probability of the taxon; None if there is no answer.
        lineage: the taxa by rank, from this rank upwards.
    """

    depth: int | None = None
    rank: str | None = None
    taxon: str | None = None
    probability: float | None = None
    lineage: dict[str, str] = {}  # noqa: RUF012


def rank_scores(taxonomy: Taxonomy, answers: SharedAnswers) -> RankScores:
    """Return the most probable taxon at each rank, by the summed shares of its classes.

    A taxon whose name is not known has no shares. A taxon with more than half of the shares is the only such one at its
    rank, and the one at the next rank contains it.
    """
    best, members = [], []
    rows = np.arange(len(answers.classes))
    for codes, named in zip(taxonomy.codes, taxonomy.is_named, strict=True):
        taxa = codes[answers.classes]  # (N, K)
        sums = np.zeros_like(answers.shares)
        for place in range(taxa.shape[1]):
            sums += np.where(taxa == taxa[:, place : place + 1], answers.shares[:, place : place + 1], 0)
        place = sums.argmax(1)
        member = answers.classes[rows, place]
        best.append(np.where(named[member], sums[rows, place], 0))
        members.append(member)
    return RankScores(np.array(best), np.array(members))


def chosen_thresholds(taxonomy: Taxonomy, held_out: HeldOutAnswers, promise: float) -> tuple[int, ...]:
    """Return the lowest shares at which an answer is given, by rank (`tlaam.taxonomy.promise.thresholds`).

    Raises:
        DataError: there are too few held-out answers.
    """
    require_enough(len(held_out), promise)
    found = rank_scores(taxonomy, held_out.answers)
    codes = taxonomy.codes
    right = np.array([row[members] == row[held_out.labels] for row, members in zip(codes, found.members, strict=True)])
    scores = np.maximum.accumulate(found.shares, axis=0)
    wrong_from = np.maximum.accumulate(np.where(right, 0, found.shares), axis=0)
    return thresholds(scores, wrong_from, promise, found.shares)


@dataclass(frozen=True)
class Answering:
    """How answers are given: among which classes, at which ranks, and how sure.

    Attributes:
        taxonomy: the taxonomy of the model's classes.
        residents: which classes live where the images were taken; None to treat all classes alike.
        promise: share of answers that are to be right; None if nothing is promised and answers are classes only.
        thresholds: by rank, the lowest shares at which an answer is given.
        chosen_on: number of held-out answers that the thresholds were chosen on.
    """

    taxonomy: Taxonomy
    residents: Residents | None = None
    promise: float | None = None
    thresholds: tuple[int, ...] = field(default=(), repr=False)
    chosen_on: int = 0

    @classmethod
    def own(cls, taxonomy: Taxonomy | None, held_out: HeldOutAnswers | None) -> Answering | None:
        """Return the default way to answer of a model that was trained with a taxonomy.

        The result is None for a model without a taxonomy, or with too few held-out answers.
        """
        if taxonomy is None or held_out is None or len(held_out) < least_answers(PROMISE):
            return None
        return cls.of(taxonomy, held_out, promise=PROMISE)

    @classmethod
    def of(
        cls,
        taxonomy: Taxonomy,
        held_out: HeldOutAnswers | None,
        *,
        promise: float | None,
        only: Iterable[str] | None = None,
        prior: Mapping[str, float] | None = None,
    ) -> Answering:
        """Return a way to answer that keeps a promise, judged by the held-out answers.

        Raises:
            ConfigError: the promise is impossible.
            DataError: there are too few held-out answers, or the model does not know a name.
        """
        residents = None if only is None and prior is None else Residents.of(taxonomy, only, prior)
        if promise is None:
            return cls(taxonomy, residents)
        promise = require_promise(promise)
        if held_out is None:
            raise DataError(
                "this model keeps no answers for images that it had not seen, by which a promise is made; it is of an "
                "older version, or was trained without images to hold out. Train it again (a probe, --epochs 0, holds "
                "out every image in its turn), write its index (tlaam index) and export it."
            )
        judged = held_out if residents is None else residents.held_out(held_out)
        return cls(taxonomy, residents, promise, chosen_thresholds(taxonomy, judged, promise), len(judged))

    def answer(self, probabilities: NDArray[np.floating[Any]]) -> TaxonAnswer | None:
        """Return the answer for an image with these probabilities ``(C,)``; None if nothing is promised."""
        return None if self.promise is None else self.answers(probabilities[None])[0]

    def answers(self, probabilities: NDArray[np.floating[Any]]) -> list[TaxonAnswer]:
        """Return the answers for images with these probabilities ``(N, C)``, as the model gave them."""
        shared = SharedAnswers.of(probabilities)
        if self.residents is not None:
            shared = self.residents.answers(shared)
        found = rank_scores(self.taxonomy, shared)
        return [self._answer(*row) for row in zip(found.shares.T.tolist(), found.members.T.tolist(), strict=True)]

    def _answer(self, shares: list[int], members: list[int]) -> TaxonAnswer:
        for depth, (score, member, needed) in enumerate(zip(shares, members, self.thresholds, strict=True)):
            if score >= needed:
                rank, taxon = self.taxonomy.ranks[depth], self.taxonomy.taxa[member][depth]
                return TaxonAnswer(depth, rank, taxon, score / WHOLE, self.taxonomy.lineage(depth, member))
        return TaxonAnswer()

    def digest(self) -> str:
        """Return a digest of everything that determines how answers are given."""
        weights = None if self.residents is None else self.residents.weights.tolist()
        facts = [self.taxonomy.to_text(), self.promise, self.thresholds, weights]
        return checksum(json.dumps(facts).encode("ascii"))

    def said(self) -> str:
        """Return the promise and its thresholds in one line of text."""
        if self.promise is None:
            return ""
        texts = []
        for rank, shares in zip(self.taxonomy.ranks, self.thresholds, strict=True):
            needed = shown_threshold(shares)
            texts.append(f"{rank} {'never' if needed is None else f'from {needed:.1%}'}")
        return f"promise {self.promise:g}: {', '.join(texts)}; chosen on {self.chosen_on} held-out answers"


__all__ = ["Answering", "RankScores", "TaxonAnswer", "chosen_thresholds", "rank_scores"]
