"""The promise: from which shares on answers are given, such that as many of them are right as was promised.

A rule of threshold t answers the images whose score is at least t. Of the n held-out images that it answers, k are
answered wrongly; if it broke the promise p, its error being more than α = 1 - p, then so few errors would be no more
likely than P(Binomial(n, α) ≤ k) (exact: the one-sided Clopper-Pearson test). Where that is at most δ, the rule passes.
Thresholds are tested one after the other, from the highest down, and the first that does not pass ends it: so each is
tested at δ, however many there are (fixed-sequence testing; Angelopoulos et al. 2021, Learn then Test, arXiv
2110.01052). The first one tested lets through as many answers as can pass at all, or an eighth of them: one mislabelled
image at the very top of many would end it otherwise. That start rests on the number of answers, not on which are right.

docs/field-taxonomy.md says what is promised, and what has to hold for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import ConfigError, DataError
from tlaam.taxonomy.shares import HALF, WHOLE, Shares

PROMISE = 0.95
"""Share of right answers that is promised where nothing else is said."""
CONFIDENCE = 0.9
"""How often, over draws of held-out images, what is promised holds at least."""
PROMISES = (0.5, 0.999)
"""Least and highest promise."""
NEVER = WHOLE + 1
"""The threshold that no answer reaches."""

_FIRST = 8
"""The first threshold tested lets through one answer in so many."""


def require_promise(promise: float) -> float:
    """Check that a promise can be made.

    Raises:
        ConfigError: it is no number from 0.5 to 0.999.
    """
    low, high = PROMISES
    if isinstance(promise, bool) or not isinstance(promise, (int, float)) or not low <= promise <= high:
        raise ConfigError(f"the promise is {promise!r}; it must be a share from {low} to {high}, such as {PROMISE}.")
    return float(promise)


def least_answers(promise: float) -> int:
    """Return how many held-out answers it takes, all of them right: the smallest n with pⁿ ≤ δ, ⌈ln δ / ln p⌉.

    >>> least_answers(0.9), least_answers(0.95), least_answers(0.99)
    (22, 45, 230)
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(promise))


def require_enough(answers: int, promise: float) -> None:
    """Check that there are enough held-out answers to keep a promise by.

    Raises:
        DataError: there are fewer; the message says how many are missing.
    """
    needed = least_answers(promise)
    if answers < needed:
        raise DataError(
            f"a promise of {promise:g} needs at least {needed} held-out answers, and there are {answers}: "
            f"{needed - answers} are missing. Promise less, or train on more images."
        )


def threshold(scores: Shares, wrong_from: Shares, promise: float, changes: Shares | None = None) -> int:
    """Return the lowest score from which on answers keep a promise, at least `HALF`; `NEVER` where there is none.

    Args:
        scores: of each held-out image, ``(N,)``: it is answered by rules whose threshold is at most that.
        wrong_from: the highest threshold at which it is answered wrongly, ``(N,)``, at most its score; 0 where never.
        promise: share of answers that are right.
        changes: thresholds at which answers change. [the scores]
    """
    ascending, wrong = np.sort(scores), np.sort(wrong_from)
    first = max(least_answers(promise), math.ceil(len(scores) / _FIRST))
    passed, before, tolerated = NEVER, 0, -1
    tested = np.unique(scores if changes is None else changes)[::-1]
    for lowest in tested[tested >= HALF].tolist():
        answered = len(scores) - int(np.searchsorted(ascending, lowest, side="left"))
        if answered < first:
            continue
        errors = len(wrong) - int(np.searchsorted(wrong, lowest, side="left"))
        fewest = min(answered, max(first, before + 1))  # of equal scores as if they came one by one, errors first
        if errors > tolerated and binomial_tail(fewest, errors, 1 - promise) > 1 - CONFIDENCE:
            break  # of more answers with no more errors than before nothing is to be tested
        passed, before, tolerated = lowest, answered, errors
    return passed


def thresholds(
    scores: NDArray[np.int64], wrong_from: NDArray[np.int64], promise: float, changes: NDArray[np.int64] | None = None
) -> tuple[int, ...]:
    """Return a threshold for each rank, the deepest first, none lower than those of coarser ranks.

    That of a rank is first chosen for the rule that answers at it or deeper, wherever the one threshold is reached. A
    deeper rank's is then raised to it: its answers become coarser, which makes none of them wrong.

    Args:
        scores: by rank, of each held-out image, ``(R, N)``; a coarser rank's are no lower.
        wrong_from: likewise, the highest threshold at which that rule answers it wrongly, ``(R, N)``.
        promise: as of `threshold`.
        changes: by rank, the thresholds at which an answer comes to be of that rank, ``(R, N)``. [the scores]
    """
    steps = scores if changes is None else changes
    own = [threshold(scores[rank], wrong_from[rank], promise, steps[: rank + 1].ravel()) for rank in range(len(scores))]
    return tuple(max(own[rank:]) for rank in range(len(own)))


def binomial_tail(count: int, most: int, chance: float) -> float:
    """Return how likely at most `most` of `count` events of this chance are.

    >>> round(binomial_tail(2, 1, 0.5), 9)
    0.75
    """
    if most >= count:
        return 1.0
    if chance <= 0 or chance >= 1:
        return float(chance <= 0)
    events = np.arange(most + 1)
    # log of count! / (events! (count - events)!), as a running sum of logarithms
    steps = np.log(count - events[:-1]) - np.log(events[:-1] + 1)
    logarithms = np.concatenate([[0.0], np.cumsum(steps)])
    logarithms += events * math.log(chance) + (count - events) * math.log1p(-chance)
    return min(1.0, float(np.exp(logarithms).sum()))


def upper_end(right: int, answered: int, confidence: float = 0.95) -> float:
    """Return the upper end of the Clopper-Pearson interval of a share: the highest that is not contradicted.

    >>> upper_end(10, 10), round(upper_end(0, 10), 4)
    (1.0, 0.3085)
    """
    if right >= answered:
        return 1.0
    low, high = right / answered, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if binomial_tail(answered, right, middle) > (1 - confidence) / 2:
            low = middle
        else:
            high = middle
    return high


def shown_threshold(shares: int) -> float | None:
    """Return a threshold as a probability; None where no answer reaches it."""
    return None if shares > WHOLE else shares / WHOLE


__all__: Sequence[str] = [
    "CONFIDENCE",
    "NEVER",
    "PROMISE",
    "binomial_tail",
    "least_answers",
    "require_enough",
    "require_promise",
    "shown_threshold",
    "threshold",
    "thresholds",
    "upper_end",
]
