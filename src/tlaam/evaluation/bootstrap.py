"""Whether one system is really better than another: a paired bootstrap over images and seeds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import DataError


@dataclass(frozen=True)
class Difference:
    """How much better the first of two systems is.

    Attributes:
        mean: the first system's mean minus the second's.
        low, high: percentile interval of the difference.
        level: share of the bootstrap differences that lie in the interval.
    """

    mean: float
    low: float
    high: float
    level: float


def paired_bootstrap(
    first: NDArray[np.generic],
    second: NDArray[np.generic],
    *,
    same_runs: bool = False,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Return the difference of two systems' means with its percentile interval (Efron and Tibshirani 1993).

    Images are drawn with replacement, the same ones for both systems, because both were measured on the same images.
    The seeds of each system are drawn with replacement independently, because a seed of one system is unrelated to the
    seeds of the other, unless both systems are answers of the same runs. The interval thus covers other test images and
    other training runs.

    Args:
        first: one number per seed and image (1 for a right answer, or an IoU), ``(seeds, images)``.
        second: the same for the other system, ``(seeds', images)``, with the same images in the same order.
        same_runs: whether row i of both was measured on the same run (two branches of it); the same runs are then drawn
            for both.
        groups: the group of each image, ``(images,)``. Whole groups are drawn, because the answers for two images of
            one animal say hardly more than one of them. By default each image is a group of its own.
        resamples: number of draws.
        level: share of the differences that lies between the ends of the interval.
        seed: seed of the draws.

    Raises:
        DataError: the shapes do not match (with `same_runs`, also in seeds), or there is nothing to draw from.
    """
    drawn = drawn_differences(first, second, same_runs=same_runs, groups=groups, resamples=resamples, seed=seed)
    mean = float(first.astype(np.float64).mean() - second.astype(np.float64).mean())
    return Difference(mean, *interval(drawn, level), level)


def interval(drawn: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Return the ends between which a share of drawn differences lies, equally many beyond each."""
    # Sums of shares may miss zero by a rounding error; an interval that ends at zero must not seem to exclude it.
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]).round(12) + 0.0
    return float(low), float(high)


def drawn_differences(
    first: NDArray[np.generic],
    second: NDArray[np.generic],
    *,
    same_runs: bool = False,
    groups: Sequence[Hashable] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return the differences ``(resamples,)`` of which `paired_bootstrap` takes the interval; arguments as there."""
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or 0 in (*first.shape, *second.shape):
        raise DataError(
            f"Received results of shapes {first.shape} and {second.shape}; they must be (seeds, images) with the same "
            "images, at least one of each."
        )
    if same_runs and len(first) != len(second):
        raise DataError(f"Received results of {len(first)} and {len(second)} runs, which cannot be the same ones.")
    images = first.shape[1]
    if groups is not None and len(groups) != images:
        raise DataError(f"Received results of {images} images and groups of {len(groups)}; each image has one group.")
    number: dict[Hashable, int] = {}
    group_of = np.array([number.setdefault(group, len(number)) for group in groups or range(images)])
    count = len(number)
    a, b = first.astype(np.float64), second.astype(np.float64)
    random = np.random.default_rng(seed)
    differences = np.empty(resamples)
    for draw in range(resamples):
        # How often each image is drawn: weights are cheaper than gathering the images.
        weights = np.bincount(random.integers(count, size=count), minlength=count)[group_of]
        drawn_a = random.integers(len(a), size=len(a))
        drawn_b = drawn_a if same_runs else random.integers(len(b), size=len(b))
        differences[draw] = (a[drawn_a].mean(0) - b[drawn_b].mean(0)) @ weights / weights.sum()
    return differences
