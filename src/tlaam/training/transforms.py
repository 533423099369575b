"""Augmentation: crop, mirror, brightness and contrast; boxes go through with the pixels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import resize

from tlaam.canvas import to_canvas

_ASPECT_RATIOS = (3 / 4, 4 / 3)


class Augmented(NamedTuple):
    """What an image became.

    Attributes:
        canvas: uint8 ``(3, P, P)``.
        box: in pixels of the canvas, float32 ``(4,)``, clipped to it; NaN where there is none or where the crop left
            nothing of it.
        mask: the pseudo mask over the canvas, uint8 ``(m, m)``; None where none was given.
    """

    canvas: Tensor
    box: Tensor
    mask: Tensor | None


class Augment:
    """From a decoded photograph to an augmented square source image, a pure function of the seed it is called with.

    Args:
        size: side P of the canvas in pixels.
        flip: mirror half of the images.
        jitter: brightness and contrast are multiplied by factors drawn from ``[1 - jitter, 1 + jitter]``.
        crop_scale: smallest share of the image's area that a random crop (aspect ratio 3:4 to 4:3 of the photograph's
            pixels) keeps; 1 never crops.
    """

    def __init__(self, size: int, *, flip: bool, jitter: float, crop_scale: float) -> None:
        self.size = size
        self.smallest_side = 1.0 if crop_scale == 1 else math.sqrt(crop_scale * _ASPECT_RATIOS[0])
        square = (size, size)
        steps: list[v2.Transform] = [
            v2.Resize(square)
            if crop_scale == 1
            else v2.RandomResizedCrop(square, scale=(crop_scale, 1.0), ratio=_ASPECT_RATIOS)
        ]
        if flip:
            steps.append(v2.RandomHorizontalFlip())
        if jitter:
            steps.append(v2.ColorJitter(brightness=jitter, contrast=jitter))
        self._transform = v2.Compose(steps)

    def __call__(
        self, image: Image.Image, box: NDArray[np.float64] | None, seed: int, mask: Tensor | None = None
    ) -> Augmented:
        """Augment one image.

        Args:
            image: RGB, any size.
            box: xyxy in pixels of `image`, ``(4,)``.
            seed: the same seed, the same result; the caller's random state is left as it was.
            mask: pseudo mask of the whole image, uint8 ``(m, m)``, squashed as the canvas is.
        """
        given = torch.zeros(0, 4) if box is None else torch.from_numpy(box).float()[None]
        boxes = tv_tensors.BoundingBoxes(given, format="XYXY", canvas_size=(image.height, image.width))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would also touch GPUs
            if mask is None:
                image, boxes = self._transform(image, boxes)
            else:
                # Transforms take what goes together in one size; nearest cells keep a mask a mask.
                fine = resize(mask[None], [image.height, image.width], InterpolationMode.NEAREST)
                image, boxes, fine = self._transform(image, boxes, tv_tensors.Mask(fine))
                mask = resize(fine.as_subclass(Tensor), list(mask.shape), InterpolationMode.NEAREST_EXACT)[0]
        return Augmented(torch.from_numpy(to_canvas(image, self.size)), _one_box(boxes), mask)


def _one_box(boxes: Tensor) -> Tensor:
    plain = boxes.as_subclass(Tensor)
    if len(plain) and bool((plain[0, 2:] > plain[0, :2]).all()):
        return plain[0]
    return torch.full((4,), math.nan)
