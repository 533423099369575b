"""Black and white levels of images with more than 8 bits whose files do not declare them.

A container of 16 or 32 bits does not say what is white: cameras of 12 bits write 0…4095 into 16. White is therefore a
property of the data set, found from all its images and kept with the model; a range per image would brighten the night.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Levels = tuple[float, float]
"""The levels that are black and white, ``(black, white)``."""

BITS = (8, 10, 12, 14, 16)
"""Bit depths assumed for integers: the smallest that holds them all."""

_FRACTION_WHITES = (1, *(2**bits - 1 for bits in BITS))
OVERSHOOT = 1 / 16
"""Share of white by which interpolation may overshoot it, and a subtracted background may fall below black."""
_LEAST_OF_255 = 16  # floating-point maxima below this belong neither to 8-bit levels nor to 0…1


@dataclass(frozen=True, slots=True)
class Depth:
    """Black and white of images that declare neither, by the type of their numbers.

    Attributes:
        whole: levels of integers; None if the data set has none, so that an image uses its own.
        fractions: likewise, levels of floating-point numbers.

    Examples:
        >>> Depth.of([Extent(0, 3000), Extent(12, 4001)])
        Depth(whole=(0.0, 4095.0), fractions=None)
    """

    whole: Levels | None = None
    fractions: Levels | None = None

    @classmethod
    def of(cls, extents: Iterable[Extent]) -> Depth:
        """Return the levels that hold all images of a data set, given their extents."""
        whole, fractions = Extent(), Extent(is_fraction=True)
        for extent in extents:
            if extent.is_fraction:
                fractions = fractions.joined(extent)
            else:
                whole = whole.joined(extent)
        return cls(whole.levels() if whole else None, fractions.levels() if fractions else None)

    def __bool__(self) -> bool:
        return self != Depth()

    def __str__(self) -> str:
        """Return the levels in words: ``12 bits (0…4095)``."""
        parts = [_in_words(self.whole)] if self.whole else []
        parts += [f"{self.fractions[0]:g}…{self.fractions[1]:g} in floating point"] if self.fractions else []
        return " and ".join(parts)

    def to_dict(self) -> dict[str, list[float]]:
        """Return plain values for JSON; unknown levels are left out."""
        known = {"whole": self.whole, "fractions": self.fractions}
        return {name: list(levels) for name, levels in known.items() if levels is not None}

    @classmethod
    def from_dict(cls, values: Any) -> Depth:
        """Read what `to_dict` returned.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(values, Mapping) or not set(values) <= {"whole", "fractions"}:
            raise ValueError("it is no record of black and white levels")
        return cls(**{name: _levels(given) for name, given in values.items()})


@dataclass(frozen=True, slots=True)
class Extent:
    """The smallest and the largest finite value of an image, or of many.

    Attributes:
        low, high: these values; the first is above the second if there are none.
        is_fraction: whether they are floating-point numbers.
    """

    low: float = math.inf
    high: float = -math.inf
    is_fraction: bool = False

    def joined(self, other: Extent) -> Extent:
        """Return the extent of both."""
        return Extent(min(self.low, other.low), max(self.high, other.high), self.is_fraction)

    def levels(self) -> Levels:
        """Return black and white for these values: those of the smallest depth that holds them.

        Black and white are unknown if values exceed every depth or lie well below 0. They are then the smallest and the
        largest value.
        """
        if not self:
            return 0.0, 1.0
        if self.is_fraction:
            white = next((w for w in _FRACTION_WHITES if self.high <= w * (1 + OVERSHOOT)), None)
            if self.high > 1 and white == 255 and self.high < _LEAST_OF_255:
                white = self.high
        else:
            white = next((2**bits - 1 for bits in BITS if self.high < 2**bits), None)
        if white is not None and self.low >= -white * OVERSHOOT:
            return 0.0, float(white)
        return float(self.low), float(self.high if self.high > self.low else self.low + 1)

    def __bool__(self) -> bool:
        return self.low <= self.high


LEGACY = Depth(whole=(0.0, 65535.0))
"""Levels of models and runs of versions that took all integers for 16 bits: they learnt from such pictures."""


def _in_words(levels: Levels) -> str:
    low, high = levels
    bits = math.log2(high + 1) if high > 0 else 0.0
    text = f"{low:.0f}…{high:.0f}"
    return f"{bits:.0f} bits ({text})" if low == 0 and bits == int(bits) else text


def _levels(given: Any) -> Levels:
    if not isinstance(given, (list, tuple)) or len(given) != 2:
        raise ValueError("black and white must be two numbers")
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        raise ValueError("black and white must be two numbers")
    low, high = map(float, given)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError("white must be above black")
    return low, high


__all__ = ["BITS", "LEGACY", "OVERSHOOT", "Depth", "Extent", "Levels"]
