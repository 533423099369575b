"""Folds: parts of a data set that are held out in turn, so that each image is held out exactly once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from tlaam.utils.checksums import checksum


def stratified_folds(
    labels: Sequence[int], names: Sequence[str], count: int, *, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> NDArray[np.int64]:
    """Return the fold of each image, ``(N,)``: classes are spread evenly, and each group lies in one fold.

    The same names, groups and seed give the same folds, regardless of the order of the images.

    Args:
        labels: class index of each image.
        names: name of each image, by which it is drawn.
        count: number of folds.
        seed: seed of the draw.
        groups: group of each image; images of one group are in the same fold. By default each image is its own group.

    Examples:
        >>> stratified_folds([0, 0, 1, 1], ["a", "b", "c", "d"], 2).reshape(2, 2).sum(1).tolist()
        [1, 1]
    """
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, group in enumerate(range(len(labels)) if groups is None else groups):
        members[group].append(place)

    def rank(places: list[int]) -> tuple[int, str, str]:
        name = min(names[place] for place in places)
        drawn = checksum(f"folds\0{seed}\0{name}".encode("utf-8", "surrogateescape"))
        return -len(places), drawn, name  # large groups first: small ones then even out the folds

    folds = np.empty(len(labels), dtype=np.int64)
    of_class: list[Counter[int]] = [Counter() for _ in range(count)]
    sizes = [0] * count
    for places in sorted(members.values(), key=rank):
        wanted = Counter(labels[place] for place in places)
        fold = min(
            range(count), key=lambda f: (sum(n * of_class[f][label] for label, n in wanted.items()), sizes[f], f)
        )
        folds[places] = fold
        of_class[fold].update(wanted)
        sizes[fold] += len(places)
    return folds
