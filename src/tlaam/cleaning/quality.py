"""Pictures that show too little: almost black or white, blurred, or much smaller than the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.cleaning.exif import Taken, taken
from tlaam.data.images import ImageError
from tlaam.data.near_copies import SIDE, small_grey
from tlaam.data.sample import Sample

_LOOKED_AT = 256
"""Longer side, in pixels, to which pictures are reduced for measuring."""
_BLACK, _WHITE = 32.0, 224.0
"""Grey level that 95 % of the pixels of a black picture are below, and of a white picture above."""
_BLUR_DEVIATIONS, _BLUR_SHARPNESS = 4.0, 6.0
_SMALL_SHARE, _SMALL_SIDE = 0.25, 100
_BLOCK = 512

Progress = Callable[[int, int], None]


class Measured(NamedTuple):
    """Measurements of N images; numbers are NaN for an image that cannot be read.

    Attributes:
        faults: why each image cannot be read; empty if it can.
        dark: 95th percentile of its grey levels, ``(N,)``.
        light: 5th percentile of its grey levels, ``(N,)``.
        sharpness: standard deviation of its Laplacian, in grey levels, ``(N,)``.
        sides: its shorter side in pixels, ``(N,)``.
        greys: small greyscale pictures ``(N, SIDE, SIDE)`` (`tlaam.data.near_copies`).
        hashes: perceptual hashes of each image and of its mirror image, ``(N, 2)``.
        takens: with which camera and when each was taken.
    """

    faults: list[str]
    dark: NDArray[np.float64]
    light: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    sides: NDArray[np.float64]
    greys: NDArray[np.uint8]
    hashes: NDArray[np.uint64]
    takens: list[Taken]


class _One(NamedTuple):
    fault: str
    numbers: tuple[float, float, float, float]
    grey: NDArray[np.uint8]
    hashes: tuple[int, int]
    taken: Taken


def measured(samples: Sequence[Sample], progress: Progress | None = None) -> Measured:
    """Open each image once and measure it."""
    found: list[_One] = []
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(samples), _BLOCK):
            for one in pool.map(_measure, samples[start : start + _BLOCK]):
                found.append(one)
                if progress is not None:
                    progress(len(found), len(samples))
    numbers = np.array([one.numbers for one in found], dtype=np.float64).reshape(-1, 4)
    return Measured(
        [one.fault for one in found], numbers[:, 0], numbers[:, 1], numbers[:, 2], numbers[:, 3],
        np.array([one.grey for one in found], dtype=np.uint8).reshape(-1, SIDE, SIDE),
        np.array([one.hashes for one in found], dtype=np.uint64).reshape(-1, 2),
        [one.taken for one in found],
    )  # fmt: skip


def _measure(sample: Sample) -> _One:
    try:
        width, height = sample.picture_size()
        picture = sample.picture(_LOOKED_AT)
    except ImageError as error:
        nothing = (float("nan"),) * 4
        return _One(error.fault or str(error), nothing, np.zeros((SIDE, SIDE), np.uint8), (0, 0), taken(sample))
    grey = np.asarray(picture.convert("L"), dtype=np.float64)
    dark, light = np.percentile(grey, 95), np.percentile(grey, 5)
    numbers = (float(dark), float(light), sharpness(grey), float(min(width, height)))
    return _One("", numbers, small_grey(picture), _hashes(picture), taken(sample))


def sharpness(grey: NDArray[np.float64]) -> float:
    """Return the standard deviation of a greyscale picture's ``(H, W)`` Laplacian, a measure of local contrast.

    Examples:
        >>> sharpness(np.full((8, 8), 128.0))
        0.0
    """
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * middle).std())


def _hashes(picture: Image.Image) -> tuple[int, int]:
    import imagehash

    small = picture.convert("L").resize((64, 64), Image.Resampling.BOX)
    turned = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    first, second = (int(str(imagehash.phash(each)), 16) for each in (small, turned))
    return first, second


class Fault(NamedTuple):
    """A fault in the appearance of an image.

    Attributes:
        place: index of the image.
        kind: ``black``, ``white``, ``blurred`` or ``tiny``.
        score: severity, 0 to 1.
        reason: explanation in words.
    """

    place: int
    kind: str
    score: float
    reason: str


def quality_faults(found: Measured) -> list[Fault]:
    """Return the images that show too little.

    Black and white have absolute thresholds. Blurred images are much less sharp than is usual in the data set and also
    fall below an absolute threshold. Tiny images have less than a quarter of the usual side and less than 100 pixels.
    """
    faults = []
    read = np.flatnonzero([not fault for fault in found.faults])
    if not len(read):
        return []
    logs = np.log(found.sharpness[read] + 0.1)
    middle = float(np.median(logs))
    spread = max(1.4826 * float(np.median(np.abs(logs - middle))), 0.2)
    usual = float(np.median(found.sides[read]))
    for place, log in zip(read.tolist(), logs, strict=True):
        dark, light, side = found.dark[place], found.light[place], found.sides[place]
        if dark < _BLACK:
            faults.append(Fault(place, "black", 1 - dark / 64, f"95 % of its pixels are {dark:.0f} of 255 or darker"))
        elif light > _WHITE:
            shown = f"95 % of its pixels are {light:.0f} of 255 or lighter"
            faults.append(Fault(place, "white", light / 255, shown))
        elif (middle - log) / spread > _BLUR_DEVIATIONS and found.sharpness[place] < _BLUR_SHARPNESS:
            times = float(np.exp(middle - log))
            faults.append(
                Fault(
                    place, "blurred", min(1.0, times / 20), f"its edges are {times:.0f} times as weak as is usual here"
                )
            )
        if side < _SMALL_SHARE * usual and side < _SMALL_SIDE:
            shown = f"its shorter side has {side:.0f} pixels; {usual:.0f} is usual here"
            faults.append(Fault(place, "tiny", 1 - side / usual, shown))
    return faults
