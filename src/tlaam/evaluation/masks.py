"""How well heat maps mark the object's pixels where real masks say which they are: PxAP (Choe et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tlaam.data.sample import Sample
from tlaam.errors import DataError
from tlaam.evaluation.wsol import SIDE, PixelScores

UNKNOWN = 255
"""Marks pixels of a mask that nobody knows about; they do not count."""
CENTER_SIGMA = 0.25
"""Standard deviation of the trivial map, a Gaussian in the image's middle, as a share of the image's sides."""


@dataclass(frozen=True)
class MaskReport:
    """Measures of heat maps over the images that have a mask.

    Attributes:
        images: how many those are.
        pxap: pixel average precision of the heat maps, over all pixels of all images.
        center_pxap: that of the same Gaussian in the middle of every image, which needs no model.
    """

    images: int
    pxap: float
    center_pxap: float

    def summary(self) -> dict[str, int | float | dict[str, dict[str, float]]]:
        """Return everything under the names of the JSON contract."""
        return {"images": self.images, "pxap": self.pxap, "trivial": {"center": {"pxap": self.center_pxap}}}


def mask_report(
    heatmaps: Iterable[NDArray[np.floating]], masks: Iterable[tuple[Sample, tuple[int, int]]]
) -> MaskReport | None:
    """Measure heat maps by the masks of their images, one image at a time.

    Args:
        heatmaps: N maps ``(h, w)`` over the whole image, of any range.
        masks: of each image the sample, which has a mask, and the picture's (width, height), see `measured_mask`.

    Returns:
        The report, or None when there is no image.

    Raises:
        DataError: a mask cannot be read or has another size than its image, or none of them shows any object.
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
    """Return a mask as it is measured: ``(224, 224)``, 1 where the object is, 0 where it is not, else `UNKNOWN`.

    It is brought to this size by taking the nearest pixel towards the upper left, as wsolevaluation does.

    Args:
        sample: an image with a mask.
        size: width and height of its picture in pixels, upright.

    Raises:
        DataError: the mask cannot be read, or has another size than the image.
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
