"""Augmentation: crop, mirror and warp while loading; brightness and contrast on the device.

Boxes and pseudo masks are transformed with the pixels. Augmentations other than `flip`, `jitter` and `crop_scale` are
torchvision's transforms, by strength (`warps`).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional
from torchvision import tv_tensors
from torchvision.transforms import RandomResizedCrop, v2

from tlaam.data.input_image import Rectangle, to_input

_ASPECT_RATIOS = (3 / 4, 4 / 3)
_GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in an image's brightness (ITU-R BT.601, as in Pillow's greyscale)."""


_MEAN_COLOUR = (124, 116, 104)
"""Mean colour of ImageNet; it fills the area beyond an image's edge, which counts as background."""


def warps(strength: str) -> v2.Transform | None:
    """Return the transform of an input image, its box and its mask for the setting ``augment``; None if there is none.

    Args:
        strength: ``light`` does nothing; ``medium`` rotates, translates, scales, shears and shifts colours a little;
            ``strong`` does so twice as far, and applies perspective, blur and greyscale to some images.
    """
    if strength == "light":
        return None
    far = 2.0 if strength == "strong" else 1.0
    fill: dict[type | str, Any] = {tv_tensors.Image: _MEAN_COLOUR, tv_tensors.Mask: 0, "others": 0}
    bilinear = v2.InterpolationMode.BILINEAR
    steps: list[Any] = [
        v2.RandomAffine(
            15 * far, (0.05 * far, 0.05 * far), (1 - 0.15 * far, 1 + 0.2 * far), 4 * far, bilinear, fill=fill
        ),
        v2.ColorJitter(saturation=0.2 * far, hue=0.02 * far),
    ]
    if strength == "strong":
        steps += [
            v2.RandomPerspective(0.2, 0.3, bilinear, fill=fill),
            v2.RandomApply([v2.GaussianBlur(5)], 0.2),
            v2.RandomGrayscale(0.05),
        ]
    return v2.Compose(steps)


class Augmented(NamedTuple):
    """An augmented image.

    Attributes:
        input_image: uint8 ``(3, P, P)``.
        box: in pixels of the input image, float32 ``(4,)``, clipped to it; NaN if there is none or if the crop left
            nothing of it.
        mask: the pseudo mask over the input image, uint8 ``(m, m)``; None if none was given.
        color_jitter: factors of brightness and contrast, float32 ``(2,)``, for `jitter_colors`.
    """

    input_image: Tensor
    box: Tensor
    mask: Tensor | None
    color_jitter: Tensor


class Augment:
    """Turns a photograph into an augmented square source image, as a pure function of the given seed.

    Args:
        size: side P of the input image in pixels.
        flip: mirror half of the images.
        jitter: brightness and contrast are multiplied by factors drawn from ``[1 - jitter, 1 + jitter]``, not below 0.
        crop_scale: smallest share of the image's area that a random crop (aspect ratio 3:4 to 4:3 of the photograph's
            pixels) keeps; 1 never crops.
        strength: strength of the other augmentations, see `warps`. A rotated box becomes the box that encloses it.
    """

    def __init__(self, size: int, *, flip: bool, jitter: float, crop_scale: float, strength: str = "light") -> None:
        self.warps = warps(strength)
        self.size, self.flip, self.jitter, self.crop_scale = size, flip, jitter, crop_scale
        self.smallest_side = 1.0 if crop_scale == 1 else math.sqrt(crop_scale * _ASPECT_RATIOS[0])

    def __call__(
        self,
        image: Image.Image | NDArray[np.uint8],
        box: NDArray[np.float64] | None,
        seed: int,
        mask: Tensor | None = None,
    ) -> Augmented:
        """Augment one image.

        Args:
            image: RGB, any size; or, if nothing is ever cropped, an input image ``(3, P, P)`` made from one.
            box: xyxy in pixels of `image`, ``(4,)``.
            seed: the same seed gives the same result; the caller's random state is not changed.
            mask: pseudo mask of the whole image, uint8 ``(m, m)``, squashed in the same way as the input image.
        """
        width, height = image.size if isinstance(image, Image.Image) else (self.size, self.size)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not torch.manual_seed, which would also touch GPUs
            crop = self._crop(width, height)
            mirror = self.flip and bool(torch.rand(()) < 0.5)
            color_jitter = (1 + self.jitter * (2 * torch.rand(2) - 1)).clamp(min=0)
            pixels = to_input(image, self.size, crop) if isinstance(image, Image.Image) else image
            pixels = np.ascontiguousarray(pixels[..., ::-1]) if mirror else pixels
            made = Augmented(
                torch.from_numpy(pixels),
                self._box(box, crop, mirror),
                None if mask is None else _mask(mask, crop, (width, height), mirror),
                color_jitter,
            )
            return made if self.warps is None else _warped(made, self.warps)

    def _crop(self, width: int, height: int) -> Rectangle:
        if self.crop_scale == 1:
            return 0, 0, width, height
        shape = torch.empty(0, height, width)  # the transform only needs an image's size
        top, left, rows, columns = RandomResizedCrop.get_params(shape, [self.crop_scale, 1.0], list(_ASPECT_RATIOS))
        return left, top, left + columns, top + rows

    def _box(self, box: NDArray[np.float64] | None, crop: Rectangle, mirror: bool) -> Tensor:
        if box is None:
            return torch.full((4,), math.nan)
        x0, y0, x1, y1 = crop
        scale = self.size / np.array([x1 - x0, y1 - y0])
        corners = np.clip((box.reshape(2, 2) - (x0, y0)) * scale, 0, self.size)
        if mirror:
            corners[:, 0] = self.size - corners[::-1, 0]
        seen = (corners[1] > corners[0]).all()
        return torch.from_numpy(corners.flatten()).float() if seen else torch.full((4,), math.nan)


def _warped(made: Augmented, transform: v2.Transform) -> Augmented:
    """Return an image, its box and its mask after a transform, which draws from the CPU's random state."""
    side = made.input_image.shape[-1]
    parts: dict[str, Any] = {"image": tv_tensors.Image(made.input_image)}
    seen = not made.box.isnan().any()
    if seen:
        parts["box"] = tv_tensors.BoundingBoxes(made.box[None], format="XYXY", canvas_size=(side, side))  # type: ignore[call-overload]
    if made.mask is not None:  # enlarged to the image, since transforms work in its pixels
        parts["mask"] = tv_tensors.Mask(functional.interpolate(made.mask[None, None], (side, side))[0, 0])
    parts = transform(parts)
    box = torch.full((4,), math.nan)
    if seen:
        kept = parts["box"].as_subclass(Tensor)[0].clamp(0, side)
        box = kept if (kept[2:] > kept[:2]).all() else box
    mask = made.mask
    if mask is not None:
        cells = (_nearest(0, 1, mask.shape[-1], of=side), _nearest(0, 1, mask.shape[-2], of=side))
        mask = parts["mask"].as_subclass(Tensor)[cells[1]][:, cells[0]]
    return made._replace(input_image=parts["image"].as_subclass(Tensor), box=box, mask=mask)


def _mask(mask: Tensor, crop: Rectangle, size: tuple[int, int], mirror: bool) -> Tensor:
    """Return the mask of a crop, ``(m, m)``; nearest cells, so that no new values arise."""
    x0, y0, x1, y1 = crop
    rows = _nearest(y0 / size[1], y1 / size[1], mask.shape[0])
    columns = _nearest(x0 / size[0], x1 / size[0], mask.shape[1])
    return mask[rows][:, columns.flip(0) if mirror else columns]


def _nearest(low: float, high: float, cells: int, *, of: int | None = None) -> Tensor:
    """Return the cells at the centres of a number of steps from `low` to `high`, which are shares of the side.

    Args:
        low, high: where the steps begin and end.
        cells: number of steps.
        of: number of cells; by default the number of steps.
    """
    steps = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    return ((low + (high - low) * steps) * (of or cells)).long().clamp(0, (of or cells) - 1)


def jitter_colors(inputs: Tensor, color_jitter: Tensor) -> Tensor:
    """Change brightness, then contrast around the image's mean grey, on the device; both results are clipped.

    Args:
        inputs: uint8 ``(B, 3, P, P)``.
        color_jitter: factors ``(B, 2)``.

    Returns:
        float32 ``(B, 3, P, P)`` in [0, 1].
    """
    brightness, contrast = color_jitter[:, 0, None, None, None], color_jitter[:, 1, None, None, None]
    images = (inputs * (brightness / 255)).clamp(max=1)
    grey = (
        images.mean((2, 3)) * torch.stack([torch.full_like(color_jitter[:, 0], weight) for weight in _GREY], 1)
    ).sum(1)
    return torch.addcmul((1 - contrast) * grey[:, None, None, None], images, contrast).clamp(0, 1)
