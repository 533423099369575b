"""The options of the embedded data set, and their one-line text form."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from tlaam.data.sample import Split
from tlaam.errors import ConfigError, did_you_mean

MAX_CLASSES = 64
"""Number of classes that are drawn apart from one another."""

_INTEGER_LIMITS = {
    "classes": (2, MAX_CLASSES),
    "images_per_class": (1, 100_000),
    "val_per_class": (0, 100_000),
    "test_per_class": (0, 100_000),
    "size": (96, 2048),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class SyntheticOptions:
    """How many classes and images to draw, how large and how hard.

    Attributes:
        classes: number of classes, 2 to 64. The first n classes do not depend on the total number.
        images_per_class: training images of each class, at least 1.
        val_per_class: validation images of each class; 0 leaves it to the caller to cut a validation split.
        test_per_class: test images of each class.
        size: the longer side of an image in pixels, 96 to 2048; the aspect varies between 3:4 and 4:3.
        difficulty: 0 (large creatures, bold parts, calm surroundings) to 1 (small, slight, cluttered).
        seed: another seed gives other images of the same classes.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """

    classes: int = 8
    images_per_class: int = 30
    val_per_class: int = 0
    test_per_class: int = 20
    size: int = 384
    difficulty: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, (low, high) in _INTEGER_LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"synthetic: {name} is {value!r}, but must be a whole number from {low} to {high}.")
        number = self.difficulty
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number <= 1:
            raise ConfigError(f"synthetic: difficulty is {number!r}, but must be a number from 0 to 1.")
        object.__setattr__(self, "difficulty", float(number))

    @classmethod
    def parse(cls, text: str) -> SyntheticOptions:
        """Read ``synthetic`` or ``synthetic:classes=6,size=320``, the inverse of `str`.

        Raises:
            ConfigError: the text does not begin with ``synthetic``, or holds an unknown, repeated or impossible option.
        """
        head, colon, tail = text.strip().partition(":")
        if head != "synthetic" or (colon and not tail.strip()):
            raise ConfigError(f"Received {text!r}; write 'synthetic' or 'synthetic:classes=6,size=320'.")
        names = [item.name for item in fields(cls)]
        values: dict[str, int | float] = {}
        for entry in tail.split(",") if tail else []:
            key, equals, value = (piece.strip() for piece in entry.partition("="))
            if not equals:
                raise ConfigError(f"synthetic: received {entry.strip()!r}; write each option as name=value.")
            if key not in names:
                raise ConfigError(
                    f"synthetic: unknown option {key!r}; allowed are {', '.join(names)}.{did_you_mean(key, names)}"
                )
            if key in values:
                raise ConfigError(f"synthetic: {key} is given twice; keep one of them.")
            values[key] = _number(key, value)
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks the types

    def __str__(self) -> str:
        """Return the canonical text: only what differs from the defaults, in the order of the fields."""
        changed = [
            f"{item.name}={getattr(self, item.name):g}"
            if item.name == "difficulty" and float(f"{self.difficulty:g}") == self.difficulty
            else f"{item.name}={getattr(self, item.name)!r}"
            for item in fields(self)
            if getattr(self, item.name) != item.default
        ]
        return "synthetic" + (f":{','.join(changed)}" if changed else "")

    def per_class(self, split: Split) -> int:
        """Return the number of images of each class in a split."""
        return {"train": self.images_per_class, "val": self.val_per_class, "test": self.test_per_class}[split]


def _number(key: str, text: str) -> int | float:
    kind = float if key == "difficulty" else int
    try:
        value = kind(text)
    except ValueError:
        needed = "a number" if kind is float else "a whole number"
        raise ConfigError(f"synthetic: {key} is {text!r}, but must be {needed}.") from None
    if not math.isfinite(value):
        raise ConfigError(f"synthetic: {key} is {text!r}, but must be finite.")
    return value
