"""How well heat maps mark the object's pixels, measured against true masks: PxAP (Choe et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlaam.data.sample import Sample
from tlaam.errors import DataError
from tlaam.evaluation.wsol import SIDE, PixelScores

UNKNOWN = 255
"""Marks pixels of a mask whose meaning is unknown; they do not count."""
CENTER_SIGMA = 0.25
"""Standard deviation of the trivial map, a Gaussian at the centre of the image, as a share of the image's sides."""


@dataclass(frozen=True)
class MaskReport:
    """Measures of heat maps over the images that have a mask.

    Attributes:
        images: number of images with a mask.
        pxap: pixel average precision of the heat maps, over all pixels of all images.
        center_pxap: pixel average precision of the same Gaussian at the centre of every image, which needs no model.
    """

    images: int
    pxap: float
    center_pxap: float

    def summary(self) -> dict[str, int | float | dict[str, dict[str, float]]]:
        """Return all measures under the names of the JSON contract."""
        return {"images": self.images, "pxap": self.pxap, "trivial": {"center": {"pxap": self.center_pxap}}}


def mask_report(
    heatmaps: Iterable[NDArray[np.floating]], masks: Iterable[tuple[Sample, tuple[int, int]]]
) -> MaskReport | None:
    """Measure heat maps against the masks of their images, one image at a time.

    Args:
        heatmaps: N maps ``(h, w)`` of the whole image, with any range of values.
        masks: for each image the sample, which has a mask, and the picture's (width, height), see `measured_mask`.

    Returns:
        The report, or None if there is no image.

    Raises:
        DataError: a mask cannot be read or differs in size from its image, or no mask shows an object.
    """
    across = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    center = np.exp(-(across[:, None] ** 2 + across**2) / (2 * CENTER_SIGMA**2))
    own, trivial, images = PixelScores(), PixelScores(), 0
    for heatmap, (sample, size) in zip(heatmaps, masks, strict=True):
        truth = measured_mask(sample, size)
        own.add(heatmap, truth)
        trivial.add(center, truth)
        images += 1
    return MaskReport(images, own.average_precision(), trivial.average_precision()) if images else None


def measured_mask(sample: Sample, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask as it is measured: ``(224, 224)``, 1 for the object, 0 for the background, else `UNKNOWN`.

    The mask is resized by taking the nearest pixel towards the upper left, as wsolevaluation does.

    Args:
        sample: an image with a mask.
        size: width and height of its upright picture in pixels.

    Raises:
        DataError: the mask cannot be read, or differs in size from the image.
    """
    mask = sample.mask
    assert mask is not None
    levels = sample.mask_levels()
    height, width = levels.shape
    if (width, height) != size:
        raise DataError(
            f"mask '{mask.path}' has {width} × {height} pixels, but its image has {size[0]} × {size[1]}. Take both "
            "from the same archive, or remove the mask."
        )
    rows, columns = (np.arange(SIDE) * side // SIDE for side in levels.shape)
    meaning = np.full(256, UNKNOWN, dtype=np.uint8)
    meaning[list(mask.background)], meaning[list(mask.object)] = 0, 1
    return np.asarray(meaning[levels[np.ix_(rows, columns)]])
