"""Cut seeded, stratified splits from the training images of a source that lacks them; groups stay together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tlaam.data.folds import stratified_folds
from tlaam.data.groups import grouped, groups_of, require_folds
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.errors import ConfigError
from tlaam.utils.checksums import checksum

FOLDS_SEED = 0
"""Seed of the folds: the same for everything that is compared on them."""


def cut_splits(images: LabelledImages, test_fraction: float, val_fraction: float, seed: int) -> LabelledImages:
    """Return `images` with the splits that its rule and the fractions cut from the training images.

    First, groups are joined (`tlaam.data.groups.grouped`). Then a fold is held out if the rule names one. Last, a test
    and a validation split are cut if they are missing. Images that are already cut are returned unchanged.

    Args:
        images: the data set.
        test_fraction: see `with_test`.
        val_fraction: see `with_validation`.
        seed: seed of the test and validation splits; folds do not depend on it.

    Raises:
        ConfigError: a fraction is out of range.
        DataError: there are fewer groups than folds.
    """
    if images.is_cut:
        return images
    images = with_fold(grouped(images))
    return replace(with_validation(with_test(images, test_fraction, seed), val_fraction, seed), is_cut=True)


def cuts_something(images: LabelledImages, test_fraction: float, val_fraction: float) -> bool:
    """Return whether `cut_splits` takes images from the training split."""
    lacks_test, lacks_val = not images.split("test"), not images.split("val")
    return images.rule.fold is not None or (test_fraction > 0 and lacks_test) or (val_fraction > 0 and lacks_val)


def with_validation(images: LabelledImages, fraction: float, seed: int) -> LabelledImages:
    """Return `images` with a validation split cut from the training images, unless there is one already.

    Of each class's n training images, ``round(fraction * n)`` are taken: at least one if n >= 2, never all. Which ones
    depends only on the seed and the images' names, so neither the order of the samples nor the other classes matter.
    Test images are left alone.

    If images have a `Sample.group`, whole groups are taken, as long as they bring the classes closer to these numbers.
    A class that would get none gets the possible group that deviates least from them. A class that is a single group
    gets none.

    Args:
        fraction: share of the training images, ``0 <= fraction < 1``; 0 cuts nothing.
        seed: another seed gives another cut.

    Raises:
        ConfigError: `fraction` is out of range.
    """
    return _cut(images, "val", fraction, seed)


def with_test(images: LabelledImages, fraction: float, seed: int) -> LabelledImages:
    """Return `images` with a test split cut from the training images, unless there is one already.

    Call it before `with_validation`. It follows the same rules, with an independent draw.

    Raises:
        ConfigError: `fraction` is out of range.
    """
    return _cut(images, "test", fraction, seed)


def with_fold(images: LabelledImages) -> LabelledImages:
    """Return `images` with the fold that its rule names as the test split, replacing any test split it has.

    Raises:
        DataError: there are fewer groups than folds.
    """
    if images.rule.fold is None:
        return images
    number, count = images.rule.fold
    train = images.split("train")
    held_out = {sample.name for sample, fold in zip(train, folds_of(images, count), strict=True) if fold == number - 1}
    return _moved(images.with_samples([s for s in images.samples if s.split != "test"]), held_out, "test")


def folds_of(images: LabelledImages, count: int) -> NDArray[np.int64]:
    """Return the fold of each training image, ``(N,)``, from 0: stratified, and with each group in one fold.

    Raises:
        DataError: there are fewer groups than folds.
    """
    require_folds(images, count)
    train = images.split("train")
    labels, names = [sample.label for sample in train], [sample.name for sample in train]
    return stratified_folds(labels, names, count, seed=FOLDS_SEED, groups=groups_of(train))


def _cut(images: LabelledImages, split: Split, fraction: float, seed: int) -> LabelledImages:
    if not 0 <= fraction < 1:
        raise ConfigError(f"The {split} fraction is {fraction}, but must be at least 0 and below 1, for example 0.1.")
    if fraction == 0 or images.split(split):
        return images
    train = images.split("train")
    taken = _ungrouped if all(sample.group is None for sample in train) else _by_group
    return _moved(images, taken(train, split, fraction, seed), split)


def _moved(images: LabelledImages, names: set[str], split: Split) -> LabelledImages:
    """Return `images` with the training images of these names moved to another split."""
    return images.with_samples(
        [
            replace(sample, split=split) if sample.split == "train" and sample.name in names else sample
            for sample in images.samples
        ]
    )


def _ungrouped(train: Sequence[Sample], split: Split, fraction: float, seed: int) -> set[str]:
    """Return the names to take, as `_by_group` does for groups of one image, but in less memory."""
    by_class: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in train:
        by_class[sample.label].append(sample)
    taken: set[str] = set()
    for members in by_class.values():
        ranked = sorted(members, key=lambda sample: (_rank(split, seed, sample.name), sample.name))
        taken.update(sample.name for sample in ranked[: _share(fraction, len(members))])
    return taken


def _by_group(train: Sequence[Sample], split: Split, fraction: float, seed: int) -> set[str]:
    """Return the names to take, in whole groups."""
    members: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample, group in zip(train, groups_of(train), strict=True):
        members[str(group)].append(sample)
    # Ranked by one name, not by the best of all ranks: a large group must not come sooner than a small one.
    ranked = sorted(members, key=lambda name: (_rank(split, seed, name), name))
    classes = {name: Counter(sample.label for sample in members[name]) for name in ranked}
    sizes = Counter(sample.label for sample in train)
    wanted = {label: _share(fraction, size) for label, size in sizes.items()}
    number: Counter[int] = Counter()
    taken: dict[str, None] = {}

    def farther(name: str) -> int:
        """Return how much taking a group moves the classes away from the wanted numbers; below 0, closer to them."""
        return sum(
            abs(number[label] + count - wanted[label]) - abs(number[label] - wanted[label])
            for label, count in classes[name].items()
        )

    def possible(names: Iterable[str]) -> list[str]:
        return [
            name
            for name in names
            if name not in taken and all(number[label] + count < sizes[label] for label, count in classes[name].items())
        ]

    def take(name: str) -> None:
        taken[name] = None
        number.update(classes[name])

    for name in ranked:
        if farther(name) < 0 and possible([name]):
            take(name)
    for label in sorted(wanted):
        if wanted[label] and not number[label]:
            candidates = possible(name for name in ranked if label in classes[name])
            if candidates:
                take(min(candidates, key=farther))  # of equals, the first in rank
    return {sample.name for name in taken for sample in members[name]}


def _share(fraction: float, size: int) -> int:
    """Return how many images of a class of this size are taken."""
    return min(max(round(fraction * size), 1), size - 1)


def _rank(split: Split, seed: int, name: str) -> bytes:
    """Return a number drawn by seed and name; the split is part of it, so that the two cuts are independent."""
    return bytes.fromhex(checksum(f"{split}\0{seed}\0{name}".encode("utf-8", "surrogateescape")))
