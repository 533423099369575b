"""Paste objects onto other images' backgrounds by pseudo masks, so that the background does not give the class away."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_LEAST, _MOST = 0.02, 0.8
"""Range of the share of an image that its mask must cover to separate object and background."""


def on_other_backgrounds(images: Tensor, masks: Tensor, share: float) -> Tensor:
    """Replace the background of some images of a batch by that of another image; objects keep their positions.

    The images and the backgrounds they get are drawn from the CPU's random state. An image whose mask covers next to
    nothing or next to everything stays as it is, and its background is not used for others.

    Args:
        images: uint8 ``(B, 3, P, P)``.
        masks: uint8 ``(B, m, m)``, 255 where the object is.
        share: expected share of the images that get another background.

    Returns:
        uint8 ``(B, 3, P, P)``; masks and classes remain valid.
    """
    drawn, order = torch.rand(len(images)) < share, torch.randperm(len(images))
    lenders = torch.empty_like(order)
    lenders[order] = order.roll(1)  # a cycle, so that no image lends to itself unless it is alone
    drawn &= lenders != torch.arange(len(images))
    covered = masks.flatten(1).float().mean(1) / 255
    usable = (covered > _LEAST) & (covered < _MOST)
    lenders = lenders.to(images.device)
    pasted = drawn.to(images.device) & usable & usable[lenders]
    cells, pictures = masks[:, None].float() / 255, images.float()
    here = _enlarged(cells, images.shape[2:])
    hole = _enlarged(functional.max_pool2d(cells, 3, stride=1, padding=1), images.shape[2:])  # also holds the edges
    backgrounds = torch.lerp(pictures, filled(pictures, 1 - hole), hole)
    made = torch.lerp(backgrounds[lenders], pictures, here)
    return torch.where(pasted[:, None, None, None], made.round().to(torch.uint8), images)


def _enlarged(cells: Tensor, size: torch.Size) -> Tensor:
    return functional.interpolate(cells, size=size, mode="bilinear", align_corners=False)


def filled(images: Tensor, known: Tensor) -> Tensor:
    """Fill unknown pixels of images from the known pixels around them: pull and push (Gortler et al. 1996).

    Args:
        images: floating point ``(B, 3, P, P)``.
        known: weight of each pixel, in [0, 1], ``(B, 1, P, P)``.

    Returns:
        ``(B, 3, P, P)``: known pixels are unchanged, others come from increasingly coarse means of known ones.
    """
    weight = known.clamp(max=1)
    here = images * weight
    side = min(images.shape[2:])
    if side > 1:
        pool = {"kernel_size": 2, "ceil_mode": True}
        coarse, coarse_weight = functional.avg_pool2d(here, **pool), functional.avg_pool2d(weight, **pool)  # type: ignore[arg-type]
        seen = coarse / coarse_weight.clamp(min=1e-6)
        below = filled(seen, (4 * coarse_weight).clamp(max=1))
        below = functional.interpolate(below, size=images.shape[2:], mode="bilinear", align_corners=False)
    else:
        below = images
    return here + (1 - weight) * below
