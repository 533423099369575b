"""The parts that make up each class. Two classes differ in nothing but their recipes."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cache

from tlaam.data.synthetic.options import MAX_CLASSES, SyntheticOptions

PARTS = ("bill", "crest", "wing_bar", "tail")
"""The parts that carry the class, in the order in which they are reported."""

BILL_SHAPES = ("hooked", "dagger", "conical", "sickle")
BILL_COLOURS = ("orange", "black", "ivory")
CREST_SHAPES = ("fan", "spiked", "plumed")
CREST_COLOURS = ("red", "yellow", "white", "blue")
WING_BARS = ("two-bars", "no-bar", "one-bar", "patch")
TAILS = ("forked", "rounded", "pointed", "tipped")


@dataclass(frozen=True)
class Recipe:
    """The parts of one class.

    Attributes:
        bill: (colour, shape).
        crest: (colour, shape), or None for a bare crown.
        wing_bar: one of `WING_BARS`; ``no-bar`` is a plain wing.
        tail: one of `TAILS`.
    """

    bill: tuple[str, str]
    crest: tuple[str, str] | None
    wing_bar: str
    tail: str

    def name(self) -> str:
        """Return a name that lists the parts and can be a folder's name."""
        crest = "-".join(self.crest) if self.crest else "no"
        wing = self.wing_bar if self.wing_bar != "patch" else "wing-patch"
        return f"{'-'.join(self.bill)}-bill_{crest}-crest_{wing}_{self.tail}-tail"

    def distance(self, other: Recipe) -> int:
        """Return the number of parts, out of four, in which two recipes differ."""
        return sum(mine != theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))


# Numbers of shapes and colours are coprime, so stepping both at once visits every pair, and neighbours differ in both.
_BILLS = tuple((BILL_COLOURS[i % 3], BILL_SHAPES[i % 4]) for i in range(12))
_FULL_CRESTS = tuple((CREST_COLOURS[i % 4], CREST_SHAPES[i % 3]) for i in range(12))
_CRESTS: tuple[tuple[str, str] | None, ...] = (*_FULL_CRESTS[:2], None, *_FULL_CRESTS[2:])


@cache
def _walk() -> tuple[Recipe, ...]:
    """Walk through the recipes, changing one part at each step and the parts in turn, never the same recipe twice."""
    choices = (len(_BILLS), len(_CRESTS), len(WING_BARS), len(TAILS))
    place = [0, 0, 0, 0]
    visited = [tuple(place)]
    while len(visited) < MAX_CLASSES:
        for turn in range(4):
            part = (len(visited) - 1 + turn) % 4
            following = list(place)
            following[part] = (following[part] + 1) % choices[part]
            if tuple(following) not in visited:
                break
        place = following
        visited.append(tuple(place))
    return tuple(Recipe(_BILLS[b], _CRESTS[c], WING_BARS[w], TAILS[t]) for b, c, w, t in visited)


def recipe(label: int) -> Recipe:
    """Return the parts of class `label`, 0 to 63; it differs from class ``label - 1`` in one part."""
    return _walk()[label]


def class_names(options: SyntheticOptions) -> tuple[str, ...]:
    """Return one unique, filesystem-safe name per class, in the order of the labels."""
    return tuple(recipe(label).name() for label in range(options.classes))
