"""The promise: its bound by hand, monotone, and kept on simulated score sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from tlaam.errors import ConfigError, DataError
from tlaam.taxonomy.promise import (
    CONFIDENCE,
    NEVER,
    binomial_tail,
    least_answers,
    require_enough,
    require_promise,
    shown_threshold,
    threshold,
    thresholds,
    upper_end,
)
from tlaam.taxonomy.shares import HALF, WHOLE


@pytest.mark.parametrize("count, most, chance", [(10, 3, 0.2), (300, 9, 0.05), (4000, 150, 0.05), (5, 5, 0.3)])
def test_the_tail_and_the_interval_are_scipys(count: int, most: int, chance: float) -> None:
    assert binomial_tail(count, most, chance) == pytest.approx(binom.cdf(most, count, chance), rel=1e-9)
    upper = 1.0 if most == count else beta.ppf(0.975, most + 1, count - most)
    assert upper_end(most, count) == pytest.approx(upper, abs=1e-9)


@pytest.mark.parametrize("promise", [0.5, 0.8, 0.9, 0.95, 0.99, 0.999])
def test_so_many_right_answers_are_needed_and_suffice(promise: float) -> None:
    needed = least_answers(promise)
    assert promise**needed <= 1 - CONFIDENCE + 1e-12 < promise ** (needed - 1)
    scores, never = np.full(needed, HALF), np.zeros(needed, int)
    assert threshold(scores, never, promise) == HALF
    assert threshold(scores[1:], never[1:], promise) == NEVER
    require_enough(needed, promise)
    with pytest.raises(DataError, match=f"needs at least {needed} held-out answers, and there are {needed - 3}: 3 are"):
        require_enough(needed - 3, promise)


def test_an_impossible_promise_is_refused() -> None:
    assert require_promise(0.9) == 0.9
    for promise in (0.49, 1.0, 95, float("nan"), True, "0.9"):
        with pytest.raises(ConfigError, match=r"it must be a share from 0\.5 to 0\.999"):
            require_promise(promise)  # type: ignore[arg-type]


def test_the_threshold_is_the_lowest_that_passes() -> None:
    """Of a promise of 0.9, 22 answers pass without an error, 38 with one (0.9^38 + 38 0.1 0.9^37 = 0.095)."""
    scores = WHOLE - 10 * np.arange(60)
    wrong = np.zeros(60, int)
    assert threshold(scores, wrong, 0.9) == scores[59]
    wrong[30] = scores[30]  # the 31st: 31 answers with one error do not pass, so the first 30 are the last that do
    assert threshold(scores, wrong, 0.9) == scores[29]
    wrong[:] = 0
    wrong[40] = scores[40]  # 41 answers with one error pass
    assert threshold(scores, wrong, 0.9) == scores[59]
    wrong[3] = scores[3]  # already the first 22 have an error
    assert threshold(scores, wrong, 0.9) == NEVER
    assert shown_threshold(NEVER) is None and shown_threshold(WHOLE) == 1.0


def test_equal_scores_are_answered_together_and_half_is_the_least() -> None:
    scores = np.array([WHOLE] * 20 + [50000] * 10 + [40000] * 5 + [HALF - 1] * 40)
    wrong = np.zeros(75, int)
    assert threshold(scores, wrong, 0.9) == 40000, "less than half is never answered"
    wrong[33] = 40000
    assert threshold(scores, wrong, 0.9) == 50000
    wrong[25] = 50000  # in the group that the 22nd answer is in
    assert threshold(scores, wrong, 0.9) == NEVER


def test_an_early_error_among_very_many_answers_does_not_end_it() -> None:
    scores = WHOLE - np.arange(8000)
    wrong = np.zeros(8000, int)
    wrong[2] = scores[2]  # a mislabelled image; the first threshold tested answers an eighth
    assert threshold(scores, wrong, 0.95) == scores[-1]


def test_deeper_ranks_ask_for_no_less() -> None:
    """50 images are right at both ranks; 22 more reach 60000 at the coarser rank alone, and are wrong there."""
    scores = np.array([[60000] * 50 + [0] * 22, [65000] * 50 + [60000] * 22])
    wrong = np.zeros((2, 72), int)
    assert thresholds(scores, wrong, 0.9) == (60000, 60000)
    wrong[1, 50:] = 60000
    assert threshold(scores[0], wrong[0], 0.9) == 60000
    assert thresholds(scores, wrong, 0.9) == (65000, 65000)
    wrong[1, :4] = 65000
    assert thresholds(scores, wrong, 0.9) == (NEVER, NEVER)


answers = st.lists(st.tuples(st.integers(30000, 30040) | st.integers(40000, WHOLE), st.booleans()), max_size=150)


@settings(deadline=None, max_examples=150)
@given(answers, st.sampled_from([0.5, 0.6, 0.7, 0.8]), st.floats(0, 0.199))
def test_more_is_never_promised_from_less_on(answers: list[tuple[int, bool]], promise: float, more: float) -> None:
    scores = np.array([score for score, _ in answers], dtype=np.int64)
    wrong = np.array([score * (not right) for score, right in answers], dtype=np.int64)
    low, high = threshold(scores, wrong, promise), threshold(scores, wrong, promise + more)
    assert HALF <= low <= high <= NEVER


@pytest.mark.parametrize("promise, sharpness", [(0.8, 1.0), (0.9, 1.0), (0.9, 1.6), (0.95, 1.0)])
def test_a_promise_is_broken_no_oftener_than_was_said(promise: float, sharpness: float) -> None:
    """500 score sets of a model whose probabilities are right, or too high; of each the true share of right answers."""
    rng = np.random.default_rng(5)
    grid = (np.arange(2000) + 0.5) / 2000
    chances = np.sort(grid**0.25)[::-1]  # how often answers are right, from the surest down
    scores = np.floor(WHOLE * chances**sharpness / (chances**sharpness + (1 - chances) ** sharpness)).astype(np.int64)
    kept = np.cumsum(chances) / np.arange(1, 2001)
    broken = answered = 0
    for _ in range(500):
        drawn = rng.integers(2000, size=300)
        wrong = np.where(rng.random(300) < chances[drawn], 0, scores[drawn])
        found = threshold(scores[drawn], wrong, promise)
        count = int((scores >= found).sum())
        answered += count
        broken += count > 0 and kept[count - 1] < promise
    assert broken <= 500 * (1 - CONFIDENCE) + 2 * np.sqrt(500 * 0.1 * 0.9)  # two deviations of what chance adds
    assert answered > 0.05 * 500 * 2000, "and something is answered"
