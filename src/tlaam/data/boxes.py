"""Boxes that are not in pixels of their image, but in shares of its size or in pixels of a smaller copy."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tlaam.data.images import ImageError
from tlaam.data.sample import Box, Sample

SMALL_SIDE = 4
"""Boxes whose shorter side has fewer pixels than this are too small for an object to be recognised."""


def are_shares(boxes: Sequence[Box]) -> bool:
    """Whether boxes are shares of width and height, between 0 and 1, rather than pixels."""
    numbers = [number for box in boxes for number in box if number == number]
    return bool(numbers) and all(0 <= number <= 1 for number in numbers)


def in_pixels(samples: Sequence[Sample]) -> tuple[list[Sample], int]:
    """Convert boxes from shares to pixels; also return how many are dropped because their image cannot be read."""

    def converted(sample: Sample) -> Sample:
        if sample.box is None:
            return sample
        try:
            width, height = sample.picture_size()
        except ImageError:
            return replace(sample, box=None)
        x0, y0, x1, y1 = sample.box
        return replace(sample, box=(x0 * width, y0 * height, x1 * width, y1 * height))

    with ThreadPoolExecutor() as pool:
        done = list(pool.map(converted, samples))
    lost = sum(old.box is not None and new.box is None for old, new in zip(samples, done, strict=True))
    return done, lost


def doubt_of_scale(boxes: Sequence[Box], sizes: Sequence[tuple[int, int]]) -> str:
    """Return why boxes seem to be pixels of smaller copies of their images, or an empty string if they do not.

    Args:
        boxes: one per image, xyxy.
        sizes: ``(width, height)`` of the images.

    Examples:
        >>> doubt_of_scale([(5, 5, 18, 15)] * 2, [(160, 96)] * 2)[:48]
        'All 2 boxes lie in the upper left 11 % x 16 % of'
    """
    if len(boxes) < 2:
        return ""
    x = max(box[2] / width for box, (width, _) in zip(boxes, sizes, strict=True))
    y = max(box[3] / height for box, (_, height) in zip(boxes, sizes, strict=True))
    if not (0 < x <= 0.5 and 0 < y <= 0.5):
        return ""
    return (
        f"All {len(boxes)} boxes lie in the upper left {x:.0%} x {y:.0%} of their images; they may be pixels of "
        "smaller copies, and have to be pixels of these images.".replace("%", " %")
    )


__all__ = ["SMALL_SIDE", "are_shares", "doubt_of_scale", "in_pixels"]
