"""Groups: images that must stay on the same side of every cut, such as photographs of one animal, or copies.

Groups come from a manifest's column ``group``, a regular expression on names, identical pixels (`tlaam.data.copies`)
and nearly identical pictures (`tlaam.data.near_copies`). An image that belongs to two groups joins them into one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace

from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.split_rule import SplitRule, name_checksum
from tlaam.errors import ConfigError, DataError


def groups_of(samples: Sequence[Sample], *also: Sequence[Hashable | None]) -> list[Hashable]:
    """Return the group of each sample, ``(N,)``: the first of its images' names in sorted order.

    Images are in one group if they have the same `Sample.group`, equal values in any of `also`, or the same name, or if
    other images connect them.

    Args:
        samples: the images; their order changes no group.
        also: further values, one per sample, such as checksums of pixels; None connects to nothing.

    Examples:
        >>> groups = {"a": "x", "b": "x", "c": None}
        >>> images = [Sample(name, name, 0, "train", group=group) for name, group in groups.items()]
        >>> groups_of(images)
        ['a', 'a', 'c']
        >>> groups_of(images, ["pixels 1", "pixels 2", "pixels 2"])
        ['a', 'a', 'a']
    """
    parents = list(range(len(samples)))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    named: list[Sequence[Hashable | None]] = [[s.name for s in samples], [s.group for s in samples], *also]
    for values in named:
        first: dict[Hashable, int] = {}
        for place, value in enumerate(values):
            if value is not None and (before := first.setdefault(value, place)) != place:
                parents[root(place)] = root(before)
    roots = [root(place) for place in range(len(samples))]
    names: dict[int, str] = {}
    for place, sample in zip(roots, samples, strict=True):
        names[place] = min(names.get(place, sample.name), sample.name)
    return [names[place] for place in roots]


def with_rule(
    images: LabelledImages,
    *,
    group: str | None = None,
    fold: tuple[int, int] | None = None,
    copies: tuple[tuple[str, ...], ...] | None = None,
    near: tuple[tuple[str, ...], ...] = (),
) -> LabelledImages:
    """Return `images` with a rule by which splits are cut from them (`tlaam.data.split.cut_splits`).

    Args:
        images: the data set.
        group: regular expression, searched in `Sample.name`. The group is its first capture group, or the whole match
            if it has none. An image without a match, or with an empty one, is a group of its own.
        fold: the fold to hold out, and the number of folds: (2, 5).
        copies: images with identical pixels (`tlaam.data.split_rule.SplitRule`); None: not searched for yet.
        near: likewise, images with nearly the same picture.

    Raises:
        ConfigError: `group` is not a regular expression, finds nothing in any training image, or the same in all.
        DataError: there are fewer groups than folds.
    """
    if group is not None:
        _require_telling(images, group)
    images = replace(images, rule=SplitRule(group or "", fold, copies, near))
    if fold is not None:
        require_folds(grouped(images), fold[1])
    return images


def grouped(images: LabelledImages) -> LabelledImages:
    """Return `images` with its training images' groups joined: their own, those of the rule's pattern, (near) copies.

    `Sample.group` is then the first name of the group (`groups_of`), or None for an image that is its own group.
    """
    train, rule = images.split("train"), images.rule
    also: list[Sequence[Hashable | None]] = [_matches(train, rule.group)] if rule.group else []
    for sets in filter(None, (rule.copies, rule.near)):
        number_of = {name: number for number, alike in enumerate(sets) for name in alike}
        also.append([number_of.get(name_checksum(sample.name)) for sample in train])
    if not also and all(sample.group is None for sample in train):
        return images
    groups = groups_of(train, *also)
    sizes = Counter(groups)
    wanted = iter([group if sizes[group] > 1 else None for group in groups])
    return images.with_samples(
        [
            sample if sample.split != "train" or (group := next(wanted)) == sample.group else _in_group(sample, group)
            for sample in images.samples
        ]
    )


def require_folds(images: LabelledImages, count: int) -> None:
    """Check that training images can be spread over folds so that none is empty.

    Raises:
        DataError: there are fewer groups than folds.
    """
    found = len(set(groups_of(images.split("train"))))
    if found < count:
        raise DataError(
            f"{images.root}: {count} folds need as many training images that are no copies and of no common group, but "
            f"there are {found}. Give fewer folds, or a finer group."
        )


def _require_telling(images: LabelledImages, pattern: str) -> None:
    """Check that a pattern distinguishes groups of training images."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"group '{pattern}' is no regular expression: {error}.") from error
    train = images.split("train")
    found = set(_matches(train, pattern))
    example = f", for example '{train[0].name}'" if train else ""
    if found <= {None}:
        raise ConfigError(f"group '{pattern}' finds nothing in the names of the training images{example}.")
    if len(found) == 1 and len(train) > 1:
        raise ConfigError(
            f"group '{pattern}' finds the same '{found.pop()}' in the names of all training images{example}; it has to "
            "tell groups apart."
        )


def _matches(samples: Sequence[Sample], pattern: str) -> list[str | None]:
    """Return what a pattern finds in each name, or None if it finds nothing."""
    search, captures = re.compile(pattern).search, re.compile(pattern).groups > 0
    found = (search(sample.name) for sample in samples)
    return [(match[1 if captures else 0] or None) if match else None for match in found]


def _in_group(sample: Sample, group: Hashable) -> Sample:
    assert group is None or isinstance(group, str)
    return replace(sample, group=group)


__all__ = ["grouped", "groups_of", "require_folds", "with_rule"]
