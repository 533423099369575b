"""A one-line list of classes, so that a wrong one, such as the name of a split, is noticed before training."""

from __future__ import annotations

from collections.abc import Mapping

from tlaam.utils.text import printable, shortened

SHOWN = 20
"""Up to this number, all classes are named; of more, only this many."""
_LONGEST = 60


def listed_classes(counts: Mapping[str, int]) -> str:
    """Return a line of class names with their numbers of images: `SHOWN` at most, then how many more there are.

    Examples:
        >>> listed_classes({"crow": 12, "jay": 9})
        'Classes: crow 12, jay 9'
    """
    shown = [f"{printable(shortened(name, _LONGEST))} {count}" for name, count in list(counts.items())[:SHOWN]]
    if len(counts) <= SHOWN:
        return f"Classes: {', '.join(shown)}"
    fewest, most = min(counts.values()), max(counts.values())
    return f"Classes: {', '.join(shown)} and {len(counts) - SHOWN} more; {fewest} to {most} images each"


__all__ = ["SHOWN", "listed_classes"]
