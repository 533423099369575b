"""Images that are already in memory: PIL images, arrays and tensors, as the RGB image that a file would give."""

from __future__ import annotations

from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from tlaam.data.deep import declared_of
from tlaam.data.depth import Depth
from tlaam.data.images import to_rgb
from tlaam.errors import InputError

ACCEPTED = (
    "a path, a PIL image of any mode, a NumPy array (H, W, 3) of uint8, or a torch tensor (3, H, W) of uint8 or of "
    "floats from 0 to 1"
)
"""The types that an image can have, in words for messages."""


def is_tensor(value: object) -> TypeGuard[Any]:
    """Return whether a value is a torch tensor, without importing torch."""
    return any(kind.__module__ == "torch" and kind.__name__ == "Tensor" for kind in type(value).__mro__)


def rgb_image(given: object, depth: Depth | None = None) -> Image.Image:
    """Return an image in memory as 8-bit RGB, as `tlaam.data.images.load_image` would return it from a file.

    Args:
        given: a PIL image of any mode (its EXIF orientation is applied, transparency is laid on white); an array
            ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` or ``(H, W, 4)`` of uint8; a torch tensor ``(C, H, W)`` with 1, 3
            or 4 channels, of uint8, or of floats from 0 to 1.
        depth: see `load_image`; for a PIL image of more than 8 bits.

    Raises:
        InputError: `given` is something else; the message says what is accepted.

    Examples:
        >>> rgb_image(np.zeros((2, 3), dtype=np.uint8)).size
        (3, 2)
    """
    if isinstance(given, Image.Image):
        if 0 in given.size:
            raise InputError(f"an image of {given.width} x {given.height} pixels shows nothing; give {ACCEPTED}.")
        return to_rgb(ImageOps.exif_transpose(given), depth, declared_of(given))
    if isinstance(given, np.ndarray):
        return to_rgb(Image.fromarray(_checked(given, "an array", "(H, W, C)")))
    if is_tensor(given):
        return to_rgb(Image.fromarray(_checked(_tensor_levels(given), "a tensor", "(C, H, W)", tuple(given.shape))))
    raise InputError(f"an image cannot be of type {type(given).__name__}; give {ACCEPTED}.")


def _tensor_levels(tensor: Any) -> NDArray[Any]:
    """Return a tensor's levels as an array with the channels last."""
    values: NDArray[Any] = tensor.detach().float().cpu().numpy() if tensor.is_floating_point() else tensor.cpu().numpy()
    if values.ndim != 3:
        raise InputError(
            f"a tensor of shape {tuple(values.shape)} is no image: its shape must be (C, H, W). Give a batch as a list."
        )
    values = values.transpose(1, 2, 0)
    if values.dtype.kind != "f":
        return values
    if not (np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
        raise InputError(
            "a tensor of floats holds values outside 0 to 1; give it before it is normalised, or as uint8."
        )
    levels: NDArray[np.uint8] = np.rint(values * 255).astype(np.uint8)
    return levels


def _checked(levels: NDArray[Any], what: str, axes: str, given: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Return levels ``(H, W)`` or ``(H, W, C)`` as Pillow takes them."""
    if levels.dtype != np.uint8:
        raise InputError(f"{what} of {levels.dtype} is no image; give {ACCEPTED}.")
    if levels.ndim not in (2, 3) or 0 in levels.shape or (levels.ndim == 3 and levels.shape[2] not in (1, 3, 4)):
        raise InputError(
            f"{what} of shape {given or levels.shape} is no image: its shape must be {axes} with 1, 3 or 4 channels."
        )
    return np.ascontiguousarray(levels[..., 0] if levels.ndim == 3 and levels.shape[2] == 1 else levels)


__all__ = ["ACCEPTED", "is_tensor", "rgb_image"]
