"""Images with more than 8 bits per sample at full depth: grey as Pillow decodes it, colours from two passes.

Pillow has no image mode with several 16-bit channels. It returns the high bytes of such a file, in which the picture of
a 12-bit camera is black. Its decoders can be made to return the low bytes as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, TiffImagePlugin

from tlaam.data.depth import BITS, OVERSHOOT, Depth, Extent, Levels
from tlaam.data.png import png_chunk

Opener = Callable[[], AbstractContextManager[ImageFile.ImageFile]]
"""Opens the same file again."""

_PHOTOMETRIC, _BITS, _CHANNELS, _PLANAR, _SAMPLE_FORMAT = 262, 258, 277, 284, 339  # TIFF tags
_MOST = (281, 341)  # MaxSampleValue, SMaxSampleValue
_WHITES = tuple(2**bits - 1 for bits in BITS)
_UNSIGNED, _FLOATING = 1, 3
_NATIVE = "16L" if sys.byteorder == "little" else "16B"
_SWAPPED = {"16L": "16B", "16B": "16L"}


class UnreadDepth(Exception):
    """Pixels that Pillow would decode to a wrong picture."""


@dataclass(frozen=True)
class DeepPixels:
    """The samples of an image as stored, and what its file declares about them.

    Attributes:
        values: ``(H, W)`` or ``(H, W, 3)``, integers or floating-point numbers.
        opacity: ``(H, W)``, uint16; None if everything is opaque.
        white: the declared white level; None if the file declares none.
        least_white: lower bound of the white level, from the number of significant bits that the file declares.
        inverted: whether 0 is white.
        premultiplied: whether colours are multiplied by their opacity.
    """

    values: npt.NDArray[Any]
    opacity: npt.NDArray[Any] | None = None
    white: float | None = None
    least_white: float = 0.0
    inverted: bool = False
    premultiplied: bool = False

    @cached_property
    def extent(self) -> Extent:
        """The extent of the finite values."""
        is_fraction = self.values.dtype.kind == "f"
        with np.errstate(invalid="ignore"):  # a signalling NaN raises a warning
            finite = self.values[np.isfinite(self.values)] if is_fraction else self.values
        if not finite.size:
            return Extent(is_fraction=is_fraction)
        return Extent(float(finite.min()), float(finite.max()), is_fraction)

    @property
    def undeclared(self) -> Extent | None:
        """The extent of the values if the file leaves white to its data set; None if it declares white."""
        if self._declared() is not None:
            return None
        return replace(self.extent, high=max(self.extent.high, self.least_white)) if self.extent else self.extent

    def levels(self, depth: Depth) -> Levels:
        """Return black and white: as the file declares them, else those of the data set, else the image's own."""
        white = self._declared()
        if white is not None:
            return 0.0, white
        known = depth.fractions if self.values.dtype.kind == "f" else depth.whole
        return known or (self.undeclared or self.extent).levels()

    def to_8_bit(self, depth: Depth) -> Image.Image:
        """Return the picture in 8 bits: grey, RGB, or RGBA with the opacity not yet applied. NaN becomes black."""
        black, white = self.levels(depth)
        values = self.values
        if self.premultiplied and self.opacity is not None:
            share = np.maximum(self.opacity, 1).astype(np.float64) / self._opaque(white)
            values = np.minimum(values / share[..., None], white)
        levels = _scaled(values, black, white)
        if self.inverted:
            levels = 255 - levels
        picture = Image.fromarray(levels)
        if self.opacity is not None:
            picture = picture.convert("RGBA")
            picture.putalpha(Image.fromarray(_scaled(self.opacity, 0.0, self._opaque(white))))
        return picture

    def _opaque(self, white: float) -> float:
        """Return the level of full opacity: the white of the colours, or that of the container if any is above it."""
        assert self.opacity is not None
        return white if self.opacity.max(initial=0) <= white else 65535.0

    def _declared(self) -> float | None:
        """Return the declared white, unless the values contradict it."""
        return None if self.white is None or self.extent.high > self.white * (1 + OVERSHOOT) else self.white


def read_deep(image: ImageFile.ImageFile, again: Opener) -> DeepPixels | None:
    """Decode an image with more than 8 bits per sample; return None for any other, which is left as opened.

    Args:
        image: opened, but not loaded yet.
        again: opens the same file again.

    Raises:
        UnreadDepth: its samples are laid out in a way that cannot be decoded correctly.
        OSError, ValueError and others: raised by Pillow.
    """
    mode = _sample_layout(image)
    least, declared = _significant_bits(image), declared_of(image)
    if is_deep_grey(image):
        _decode_as(image, mode)
        return grey_pixels(image, declared, least_white=_white_of(least))
    if mode == "LA;16B":  # 4 bytes per pixel: the high and low byte of the grey level, then of the opacity
        _decode_as(image, "RGBA")
        parts = np.asarray(image).astype(np.uint16)
        grey = parts[..., 0] << 8 | parts[..., 1]
        return DeepPixels(grey, parts[..., 2] << 8 | parts[..., 3], declared.white, _white_of(least))
    channels, _, order = mode.partition(";")
    if order not in ("16B", "16L", "16N") or image.mode not in ("RGB", "RGBA"):
        return None
    high = _NATIVE if order == "16N" else order
    plain = "RGBA" if channels == "RGBa" else channels
    transparent = image.info.get("transparency")  # in full 16 bits
    with again() as low_bytes:
        _decode_as(low_bytes, f"{plain};{_SWAPPED[high]}")
        low = np.asarray(low_bytes)
    _decode_as(image, f"{plain};{high}")
    values = np.asarray(image).astype(np.uint16) << 8 | low
    colours: npt.NDArray[Any] = values[..., :3]
    opacity: npt.NDArray[Any] | None = values[..., 3] if values.shape[2] == 4 else None
    if opacity is None and isinstance(transparent, tuple):
        opacity = np.where((colours == transparent).all(axis=-1), 0, 65535).astype(np.uint16)
    return DeepPixels(colours, opacity, declared.white, _white_of(least), premultiplied=channels == "RGBa")


def is_deep_grey(image: Image.Image) -> bool:
    """Return whether an image is grey with more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


@dataclass(frozen=True)
class Declared:
    """What a file declares of its samples: white, if it names it; whether 0 is white; whether integers are unsigned."""

    white: float | None = None
    inverted: bool = False
    unsigned: bool = False


def declared_of(image: Image.Image) -> Declared:
    """Return what the file of an opened image declares; an image made in memory declares nothing.

    A number of bits below the container's is a declaration, and so is a largest value of 2^n - 1. Any other largest
    value is a statistic of the image (TIFF 6.0, MaxSampleValue: "not to be used to affect the visual appearance").
    """
    if image.format in ("PPM", "JPEG2000") and image.mode != "F":
        return Declared(65535.0)  # Pillow scales by the maximum value, or the number of bits, that they declare
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return Declared()
    tags = image.tag_v2
    bits = max(_numbers(tags.get(_BITS)), default=1.0)
    sample_format = _numbers(tags.get(_SAMPLE_FORMAT)) or (_UNSIGNED,)
    whites: tuple[float, ...] = (1, *_WHITES) if sample_format[0] == _FLOATING else _WHITES
    named = [max(most) for tag in _MOST if (most := _numbers(tags.get(tag))) and max(most) in whites]
    white = float(named[0]) if named else 2.0**bits - 1 if 8 < bits < 16 else None
    return Declared(white, tags.get(_PHOTOMETRIC) == 0, sample_format[0] == _UNSIGNED and bits == 32)


def grey_pixels(image: Image.Image, declared: Declared, *, least_white: float = 0.0) -> DeepPixels:
    """Return the pixels of a deep grey image that has been loaded."""
    values: npt.NDArray[Any] = np.asarray(image)
    if declared.unsigned and values.dtype == np.int32:  # Pillow's integers are signed
        values = values.view(np.uint32)
    transparent = image.info.get("transparency")
    opacity = None
    if isinstance(transparent, (int, float)):
        opacity = np.where(values == transparent, 0, 65535).astype(np.uint16)
    return DeepPixels(values, opacity, declared.white, least_white, declared.inverted)


def _scaled(values: npt.NDArray[Any], black: float, white: float) -> npt.NDArray[np.uint8]:
    """Map black to 0 and white to 255, clipping values outside; NaN becomes black."""
    levels: npt.NDArray[np.float64]
    if values.dtype == np.uint16:
        levels = (np.arange(65536, dtype=np.float64) - black) * (255.0 / (white - black))
        table: npt.NDArray[np.uint8] = np.rint(levels.clip(0, 255)).astype(np.uint8)
        picked: npt.NDArray[np.uint8] = table[values]
        return picked
    with np.errstate(invalid="ignore", over="ignore"):  # converting a signalling NaN raises a warning
        levels = (values.astype(np.float64) - black) * (255.0 / (white - black))
        levels = np.nan_to_num(levels, nan=0.0, posinf=255.0, neginf=0.0)
    rounded: npt.NDArray[np.uint8] = np.rint(levels.clip(0, 255)).astype(np.uint8)
    return rounded


def _white_of(bits: int | None) -> float:
    return 0.0 if bits is None else 2.0**bits - 1


def _sample_layout(image: ImageFile.ImageFile) -> str:
    """Return how the file stores the samples, in Pillow's terms, such as ``RGB;16B``.

    One channel after the other is ``planes;16L``. The string is empty if Pillow has no term.

    Raises:
        UnreadDepth: the channels are stored in planes, of which Pillow would read 8 bits.
    """
    arguments: list[Any] = [tile[3] for tile in image.tile]
    modes = {str(given if isinstance(given, str) else given[0]) for given in arguments if given}
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(_PLANAR) == 2:
        bits, uncompressed = max(_numbers(image.tag_v2.get(_BITS)), default=1.0), image.tile[0][0] == "raw"
        if bits > 8 and image.tag_v2.get(_CHANNELS, 1) == 1:
            if uncompressed and not image.mode.startswith("I;16"):
                raise UnreadDepth("its channel lies in a separate plane of an unusual type, which is not read")
            return image.mode if uncompressed else modes.pop()
        if bits > 8:
            if not (bits == 16 and uncompressed and modes <= set("RGB")):
                raise UnreadDepth("its channels lie in separate planes of more than 8 bits, which are not read")
            return "planes;16L" if image.tag_v2.prefix == b"II" else "planes;16B"
    return modes.pop() if len(modes) == 1 else ""


def _decode_as(image: ImageFile.ImageFile, layout: str) -> None:
    """Load an image as if its samples had this layout, whatever its file says."""
    tiles: list[Any] = []
    given: Any
    for tile in image.tile if layout else ():
        given = tile[3]
        mode = layout.replace("planes", str(given[0]))
        made = (*tile[:3], mode if isinstance(given, str) else (mode, *given[1:]))
        tiles.append(type(tile)(*made) if hasattr(tile, "_fields") else made)  # older versions have plain tuples
    if layout:
        image.tile = tiles
    image.load()


def _significant_bits(image: ImageFile.ImageFile) -> int | None:
    """Return the number of significant bits that the ``sBIT`` chunk of a PNG declares; None if there is none."""
    if image.format != "PNG":
        return None
    given = png_chunk(image, b"sBIT", before=b"IDAT", most=5)  # a number for each channel
    if not given or len(given) > 4:
        return None
    bits = max(given[: 3 if len(given) >= 3 else 1])
    return bits if 8 <= bits <= 16 else None


def _numbers(given: object) -> tuple[float, ...]:
    """Return the content of a tag as numbers; empty if it holds anything else."""
    values = given if isinstance(given, tuple) else (given,)
    return tuple(float(value) for value in values if isinstance(value, (int, float)))


__all__ = ["DeepPixels", "Opener", "UnreadDepth", "declared_of", "grey_pixels", "is_deep_grey", "read_deep"]
