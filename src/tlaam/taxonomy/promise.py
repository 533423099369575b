"""The promise: chooses thresholds such that the promised share of the given answers is right.

A rule with threshold t answers the images whose score is at least t. Suppose that it answers n of the held-out images,
k of them wrongly. If it broke the promise p, that is, if its error rate were more than α = 1 - p, so few errors would
have at most the probability P(Binomial(n, α) ≤ k) (exact: the one-sided Clopper-Pearson test). The rule passes if this
probability is at most δ. Thresholds are tested one after the other, from the highest down, and the first that does not
pass ends the sequence. Each is therefore tested at δ, however many there are (fixed-sequence testing; Angelopoulos et
al. 2021, Learn then Test, arXiv 2110.01052). The first threshold tested lets through the smallest number of answers
that can pass at all, or an eighth of all answers if that is more. Otherwise, one mislabelled image at the very top of
many would end the sequence. This start depends on the number of answers, not on which are right.

docs/field-taxonomy.md says what is promised, and under which conditions it holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import ConfigError, DataError
from tlaam.taxonomy.shares import HALF, WHOLE, Shares

PROMISE = 0.95
"""Default promise: the share of answers that is to be right."""
CONFIDENCE = 0.9
"""Confidence of the promise: the smallest share of draws of held-out images in which it holds."""
PROMISES = (0.5, 0.999)
"""Lowest and highest promise."""
NEVER = WHOLE + 1
"""The threshold that no answer reaches."""

_FIRST = 8
"""The first threshold tested lets through one in this many answers."""


def require_promise(promise: float) -> float:
    """Check that a promise can be made, and return it.

    Raises:
        ConfigError: it is not a number from 0.5 to 0.999.
    """
    low, high = PROMISES
    if isinstance(promise, bool) or not isinstance(promise, (int, float)) or not low <= promise <= high:
        raise ConfigError(f"the promise is {promise!r}; it must be a share from {low} to {high}, such as {PROMISE}.")
    return float(promise)


def least_answers(promise: float) -> int:
    """Return the number of held-out answers needed if all are right: the smallest n with pⁿ ≤ δ, ⌈ln δ / ln p⌉.

    Examples:
        >>> least_answers(0.9), least_answers(0.95), least_answers(0.99)
        (22, 45, 230)
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log(promise))


def require_enough(answers: int, promise: float) -> None:
    """Check that there are enough held-out answers for a promise.

    Raises:
        DataError: there are too few; the message says how many are missing.
    """
    needed = least_answers(promise)
    if answers < needed:
        raise DataError(
            f"a promise of {promise:g} needs at least {needed} held-out answers, and there are {answers}: "
            f"{needed - answers} are missing. Promise less, or train on more images."
        )


def threshold(scores: Shares, wrong_from: Shares, promise: float, changes: Shares | None = None) -> int:
    """Return the lowest score from which answers keep a promise, at least `HALF`; `NEVER` if there is none.

    Args:
        scores: score of each held-out image, ``(N,)``: rules whose threshold is at most this value answer the image.
        wrong_from: highest threshold at which the image is answered wrongly, ``(N,)``, at most its score; 0 if it never
            is.
        promise: share of answers that are to be right.
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
        fewest = min(answered, max(first, before + 1))  # treats equal scores as if they came one by one, errors first
        if errors > tolerated and binomial_tail(fewest, errors, 1 - promise) > 1 - CONFIDENCE:
            break  # more answers with no more errors than before need no test
        passed, before, tolerated = lowest, answered, errors
    return passed


def thresholds(
    scores: NDArray[np.int64], wrong_from: NDArray[np.int64], promise: float, changes: NDArray[np.int64] | None = None
) -> tuple[int, ...]:
    """Return a threshold for each rank, the deepest first; none is lower than those of coarser ranks.

    The threshold of a rank is first chosen for the rule that answers at this rank or deeper, with one threshold for all
    these ranks. The thresholds of deeper ranks are then raised to it. This makes their answers coarser, which makes
    none of them wrong.

    Args:
        scores: by rank, the score of each held-out image, ``(R, N)``; those of a coarser rank are no lower.
        wrong_from: by rank, the highest threshold at which that rule answers the image wrongly, ``(R, N)``.
        promise: see `threshold`.
        changes: by rank, the thresholds at which an answer becomes one of that rank, ``(R, N)``. [the scores]
    """
    steps = scores if changes is None else changes
    own = [threshold(scores[rank], wrong_from[rank], promise, steps[: rank + 1].ravel()) for rank in range(len(scores))]
    return tuple(max(own[rank:]) for rank in range(len(own)))


def binomial_tail(count: int, most: int, chance: float) -> float:
    """Return the probability of at most `most` events in `count` trials, each with probability `chance`.

    Examples:
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
    """Return the upper end of the Clopper-Pearson interval of a share: the highest value that is not contradicted.

    Examples:
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
    """Return a threshold as a probability; None if no answer can reach it."""
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
