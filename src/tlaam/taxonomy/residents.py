"""Which classes live where the images were taken: restricts answers to some classes, or weights them by abundance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.data.names import clean_name
from tlaam.errors import DataError, did_you_mean
from tlaam.taxonomy.shares import HALF, WHOLE, HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.text import printable, shortened

_SEED = 0
_SHOWN_NAMES = 5


@dataclass(frozen=True)
class Residents:
    """How much the probability of each class counts.

    Attributes:
        weights: ``(C,)``, from 0 for a class that does not live here to 1 for the most common one.
        unknown: names of the list that are neither a class nor a taxon of the model, in its order.
    """

    weights: NDArray[np.float64] = field(repr=False)
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, taxonomy: Taxonomy, only: Iterable[str] | None, prior: Mapping[str, float] | None) -> Residents:
        """Return the weights of a model's classes from a list and a prior.

        Args:
            taxonomy: the taxonomy of the model.
            only: names of classes or taxa that live here; all others do not. A list may name what the model does not
                know, but not only that.
            prior: for each class that lives here, how common it is relative to the others: how often it is seen here
                for each time that it was seen in training.

        Raises:
            DataError: the model knows none of the list's names or not one of the prior's, a class that lives here has
                no weight, or nothing is left.
        """
        weights, unknown = np.ones(len(taxonomy.classes)), []
        if only is not None:
            here: set[int] = set()
            for name in only:
                found = _members(taxonomy, name)
                here |= found
                if not found:
                    unknown.append(name)
            if unknown and not here:
                raise _unknown(taxonomy, unknown[0])
            weights[[number not in here for number in range(len(weights))]] = 0
        if prior is not None:
            by_class = {_class(taxonomy, name): weight for name, weight in prior.items()}
            missing = [taxonomy.classes[number] for number in np.flatnonzero(weights) if number not in by_class]
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                raise DataError(f"the prior has no weight for class '{_shown(missing[0])}'{more}; 0 leaves one out.")
            weights *= [by_class.get(number, 0.0) for number in range(len(weights))]
        if not weights.any():
            raise DataError("no class of the model lives here: the list or the prior leaves all of them out.")
        return cls(weights / weights.max(), tuple(unknown))

    def notes(self, taxonomy: Taxonomy) -> list[str]:
        """Return a line on the names of the list that the model does not know, if there are any.

        Args:
            taxonomy: that of the model, for names that may have been meant.
        """
        if not self.unknown:
            return []
        named = []
        for name in self.unknown[:_SHOWN_NAMES]:
            meant = did_you_mean(name, _names(taxonomy)).strip()
            named.append(f"'{_shown(name)}'" + (f" ({meant[0].lower()}{meant[1:]})" if meant else ""))
        shown = ", ".join(named)
        more = f" and {len(self.unknown) - _SHOWN_NAMES} more" if len(self.unknown) > _SHOWN_NAMES else ""
        are = "is none" if len(self.unknown) == 1 else "are none"
        return [f"{shown}{more} {are} of the model's classes or taxa, and left out of the list."]

    def probabilities(self, probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the probabilities ``(C,)`` of an image of one of these classes; if all are 0, return the weights."""
        weighed: NDArray[np.float64] = probabilities.astype(np.float64) * self.weights
        found = weighed if weighed.sum() > 0 else self.weights
        shared: NDArray[np.float64] = found / found.sum()
        return shared

    def outside(self, probabilities: NDArray[np.floating[Any]]) -> int | None:
        """Return the class that is more probable than all others together but does not live here; else None."""
        best = int(probabilities.argmax())
        return best if self.weights[best] == 0 and probabilities[best] >= HALF / WHOLE else None

    def answers(self, answers: SharedAnswers) -> SharedAnswers:
        """Return answers as if all images showed resident classes; answers with an `outside` class get no shares."""
        weighed = answers.shares * self.weights[answers.classes]
        totals = weighed.sum(1, keepdims=True)
        shares = np.floor(weighed / np.where(totals > 0, totals, 1) * WHOLE).astype(np.int64)
        stranger = ((answers.shares >= HALF) & (self.weights[answers.classes] == 0)).any(1)
        shares[stranger] = 0
        return SharedAnswers(answers.classes, shares)

    def held_out(self, held_out: HeldOutAnswers) -> HeldOutAnswers:
        """Return the held-out images of classes that live here, with their answers, sampled by class frequency.

        A class of weight w keeps a random share w of its images. A threshold chosen on this sample is exact for such
        images; one chosen on weighted images would not be.
        """
        drawn = np.random.default_rng(_SEED).random(len(held_out)) < self.weights[held_out.labels]
        taken = held_out.of(drawn)
        return HeldOutAnswers(taken.labels, self.answers(taken.answers))


def _members(taxonomy: Taxonomy, name: str) -> set[int]:
    """Return the classes of a taxon, or a class by its name; none if the model does not know it."""
    return taxonomy.members(name) or set(_classes(taxonomy, name))


def _classes(taxonomy: Taxonomy, name: str) -> list[int]:
    known = enumerate(taxonomy.classes)
    return [number for number, each in known if each == name or clean_name(each) == name][:1]


def _class(taxonomy: Taxonomy, name: str) -> int:
    if not (found := _classes(taxonomy, name)):
        raise _unknown(taxonomy, name, taxonomy.classes)
    return found[0]


def _names(taxonomy: Taxonomy) -> list[str]:
    return [*taxonomy.classes, *(taxon for row in taxonomy.taxa for taxon in row if taxon)]


def _unknown(taxonomy: Taxonomy, name: str, among: Iterable[str] | None = None) -> DataError:
    meant = did_you_mean(name, _names(taxonomy) if among is None else among)
    hint = " For a genus or family, give --taxonomy." if among is None and len(taxonomy.ranks) == 1 else ""
    return DataError(f"'{_shown(name)}' is none of the model's {len(taxonomy.classes)} classes.{meant}{hint}")


def _shown(text: str) -> str:
    return printable(shortened(text, 60))


__all__ = ["Residents"]
