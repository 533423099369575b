"""Search a data set for images with more than 8 bits per sample, and find their black and white levels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain

from tlaam.data.depth import Depth, Extent, Levels
from tlaam.data.images import ImageError, load_deep
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.signature import signature_of

LOOKED_AT = 20_000
"""Maximum number of images that are examined; of more, a sample at even intervals."""

NARROW = 1 / 8
"""Images of more than 8 bits that use a smaller share of their range are reported by `tlaam.data.check`."""

_BATCH = 256  # images handed to the threads at a time: an interrupt waits for one batch at most
_PART = 16  # images per task: most are identified by their first bytes, which is faster than calling a thread
_ALWAYS_8_BIT = ("JPEG", "GIF", "BMP", "WEBP", "AVIF", "HEIF", None)

Progress = Callable[[int, int], None]
"""Called with the number of images done and the total."""


@dataclass(frozen=True)
class Survey:
    """The result of a survey.

    Attributes:
        depth: black and white of the images that do not declare them.
        deep: number of images of more than 8 bits.
        narrow: samples that use less than `NARROW` of their range, each with the share.
    """

    depth: Depth = field(default_factory=Depth)
    deep: int = 0
    narrow: tuple[tuple[Sample, float], ...] = ()

    def line(self) -> str:
        """Describe the black and white levels assumed for images of more than 8 bits; an empty string if none are."""
        if not self.depth:
            return ""
        return (
            f"{self.deep} image{'' if self.deep == 1 else 's'} of more than 8 bits: black and white are taken for "
            f"{self.depth}, by the largest value of all those that do not declare them."
        )


@dataclass(frozen=True)
class _Seen:
    """What an image of more than 8 bits shows: its extent, the extent left to its data set, and its own levels."""

    extent: Extent
    undeclared: Extent | None
    levels: Levels

    def share(self, depth: Depth) -> float:
        known = depth.fractions if self.extent.is_fraction else depth.whole
        black, white = self.levels if self.undeclared is None or known is None else known
        return max(0.0, min(self.extent.high, white) - max(self.extent.low, black)) / (white - black)


def survey(samples: Sequence[Sample], *, workers: int | None = None, progress: Progress | None = None) -> Survey:
    """Search images for those of more than 8 bits and find their depth; only these are decoded.

    Test images are examined if they are given, but determine the depth only if there are no others.

    Args:
        samples: the images; those that cannot be read are skipped.
        workers: number of threads; None: the number of processors.
        progress: called after every image.
    """
    step = -(-len(samples) // LOOKED_AT) or 1
    chosen = samples[::step]
    found: list[tuple[Sample, _Seen]] = []
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        for start in range(0, len(chosen), _BATCH):
            batch = chosen[start : start + _BATCH]
            parts = [batch[at : at + _PART] for at in range(0, len(batch), _PART)]
            looks = chain.from_iterable(pool.map(_look_at, parts))
            for done, (sample, seen) in enumerate(zip(batch, looks, strict=True), start=start + 1):
                if seen is not None:
                    found.append((sample, seen))
                if progress is not None:
                    progress(done, len(chosen))
    undeclared = [(sample, seen.undeclared) for sample, seen in found if seen.undeclared is not None]
    learnt_from = [extent for sample, extent in undeclared if sample.split != "test"]
    depth = Depth.of(learnt_from or [extent for _, extent in undeclared])
    shares = ((sample, seen.share(depth)) for sample, seen in found)
    return Survey(depth, len(found), tuple((sample, share) for sample, share in shares if share < NARROW))


def with_depth(images: LabelledImages, progress: Progress | None = None) -> tuple[LabelledImages, Survey]:
    """Return a data set whose images are read at its own depth, and the survey; test images are not examined.

    A data set that already has a depth keeps it.
    """
    if images.depth:
        return images, Survey()
    found = survey([sample for sample in images.samples if sample.split != "test"], progress=progress)
    return images.with_depth(found.depth), found


def _look_at(samples: Sequence[Sample]) -> list[_Seen | None]:
    return [_look(sample) for sample in samples]


def _look(sample: Sample) -> _Seen | None:
    if signature_of(sample.source) in _ALWAYS_8_BIT:
        return None
    try:
        pixels = load_deep(sample.source)
    except ImageError:
        return None
    return None if pixels is None else _Seen(pixels.extent, pixels.undeclared, pixels.levels(Depth()))


__all__ = ["LOOKED_AT", "NARROW", "Survey", "survey", "with_depth"]
