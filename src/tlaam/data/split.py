"""Cut a validation or a test split, seeded and stratified, from the training images of a source that lacks one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.errors import ConfigError
from tlaam.utils.checksums import checksum


def with_validation(images: LabelledImages, fraction: float, seed: int) -> LabelledImages:
    """Return `images` with a validation split cut from the training images, unless there is one already.

    Of each class's n training images ``round(fraction * n)`` are taken: at least one where n >= 2, never all. Which
    ones depends on the seed and the images' names only, so neither the order of the samples nor the other classes
    matter. Test images are left alone.

    Args:
        fraction: share of the training images, ``0 <= fraction < 1``; 0 cuts nothing.
        seed: another seed gives another cut.

    Raises:
        ConfigError: `fraction` is out of range.
    """
    return _cut(images, "val", fraction, seed)


def with_test(images: LabelledImages, fraction: float, seed: int) -> LabelledImages:
    """Return `images` with a test split cut from the training images, unless there is one already.

    To be called before `with_validation`, whose rules it follows with an independent draw.

    Raises:
        ConfigError: `fraction` is out of range.
    """
    return _cut(images, "test", fraction, seed)


def _cut(images: LabelledImages, split: Split, fraction: float, seed: int) -> LabelledImages:
    if not 0 <= fraction < 1:
        raise ConfigError(f"The {split} fraction is {fraction}, but must be at least 0 and below 1, for example 0.1.")
    if fraction == 0 or images.split(split):
        return images
    by_class: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in images.split("train"):
        by_class[sample.label].append(sample)
    taken: set[str] = set()
    for members in by_class.values():
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        ranked = sorted(members, key=lambda sample: (_rank(split, seed, sample.name), sample.name))
        taken.update(sample.name for sample in ranked[:count])
    return images.with_samples(
        [
            replace(sample, split=split) if sample.split == "train" and sample.name in taken else sample
            for sample in images.samples
        ]
    )


def _rank(split: Split, seed: int, name: str) -> bytes:
    """Return a number drawn by seed and name; the split is part of it so that two cuts are independent."""
    return bytes.fromhex(checksum(f"{split}\0{seed}\0{name}".encode("utf-8", "surrogateescape")))
