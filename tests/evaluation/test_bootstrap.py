"""The paired bootstrap: against a slow loop's moments, known differences, and what it must refuse."""

from __future__ import annotations

import numpy as np
import pytest

from tlaam.errors import DataError
from tlaam.evaluation.bootstrap import paired_bootstrap


def test_a_system_beside_itself_differs_by_nothing() -> None:
    right = np.random.default_rng(0).random((1, 200)) < 0.8
    difference = paired_bootstrap(right, right, resamples=500)
    assert (difference.mean, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_interval_of_one_seed_is_that_of_the_paired_differences() -> None:
    random = np.random.default_rng(1)
    first, second = random.random((1, 400)) < 0.9, random.random((1, 400)) < 0.7
    found = paired_bootstrap(first, second, resamples=4000)
    paired = first[0].astype(float) - second[0]
    half = 1.96 * paired.std() / np.sqrt(400)
    assert found.mean == pytest.approx(paired.mean())
    assert found.low == pytest.approx(paired.mean() - half, abs=0.006)
    assert found.high == pytest.approx(paired.mean() + half, abs=0.006)


def test_pairing_narrows_the_interval() -> None:
    random = np.random.default_rng(2)
    hard = random.random(300) < 0.5  # both systems fail on the same images
    first, second = np.stack([~hard]), np.stack([~hard])
    second[0, np.flatnonzero(~hard)[:15]] = False
    together = paired_bootstrap(first, second, resamples=1000)
    apart = paired_bootstrap(first, second[:, random.permutation(300)], resamples=1000)
    assert together.low > 0 > apart.low


def test_seeds_that_disagree_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    images = random.random((1, 5000))
    steady = paired_bootstrap(np.repeat(images, 3, 0) + 0.1, np.repeat(images, 3, 0), resamples=1000)
    shaky = paired_bootstrap(images + np.array([[0.0], [0.1], [0.2]]), np.repeat(images, 3, 0), resamples=1000)
    assert steady.high - steady.low < 1e-9 < 0.1 < shaky.high - shaky.low


def test_answers_of_the_same_runs_are_drawn_together() -> None:
    runs = np.random.default_rng(4).random((3, 200)) + np.array([[0.0], [0.5], [1.0]])
    one = paired_bootstrap(runs, runs, same_runs=True, resamples=500)
    assert (one.mean, one.low, one.high) == (0.0, 0.0, 0.0)
    better = paired_bootstrap(runs + 0.1, runs, same_runs=True, resamples=500)
    assert better.low == pytest.approx(0.1) and better.high == pytest.approx(0.1)
    assert paired_bootstrap(runs + 0.1, runs, resamples=500).low < 0
    with pytest.raises(DataError, match="3 and 2 runs"):
        paired_bootstrap(runs, runs[:2], same_runs=True)


def test_an_interval_that_ends_at_zero_holds_it() -> None:
    random = np.random.default_rng(5)
    ends = []
    for _ in range(300):  # few images and draws, and no quantile between two of them: ends are zero but for rounding
        first, second = random.random((3, 20)) < 0.7, random.random((3, 20)) < 0.7
        found = paired_bootstrap(first, second, resamples=41, level=0.9)
        ends += [found.low, found.high]
    assert ends.count(0.0) == 10
    assert not [end for end in ends if 0 < abs(end) < 1e-9]


@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (3,)), ((0, 3), (1, 3)), ((1, 0), (1, 0))])
def test_shapes_that_do_not_match_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(DataError, match="seeds, images"):
        paired_bootstrap(np.zeros(shapes[0]), np.zeros(shapes[1]))


def test_whole_groups_are_drawn_where_there_are_groups() -> None:
    random = np.random.default_rng(0)
    a, b = random.integers(0, 2, (2, 3, 40))
    alone = paired_bootstrap(a, b, resamples=500)
    assert paired_bootstrap(a, b, resamples=500, groups=[f"image {n}" for n in range(40)]) == alone
    # Ten answers for each of 40 animals, all alike: no more than one answer each is known.
    copied = [np.repeat(values, 10, axis=1) for values in (a, b)]
    groups = [number // 10 for number in range(400)]
    grouped = paired_bootstrap(*copied, resamples=500, groups=groups)
    assert (grouped.mean, grouped.low, grouped.high) == pytest.approx((alone.mean, alone.low, alone.high))
    naive = paired_bootstrap(*copied, resamples=500)
    assert naive.high - naive.low < 0.8 * (grouped.high - grouped.low)
    with pytest.raises(DataError, match="40 images and groups of 3"):
        paired_bootstrap(a, b, groups=[1, 2, 3])
