"""Classes in a line: a name that is none, such as that of a split, is then seen before anything is trained on it."""

from __future__ import annotations

from collections.abc import Mapping

from tlaam.utils.text import printable, shortened

SHOWN = 20
"""Classes that are all named; of more, the first ones."""
_LONGEST = 60


def listed_classes(counts: Mapping[str, int]) -> str:
    """Return class names, each with its number of images: all up to `SHOWN`, otherwise the first ones and how many.

    >>> listed_classes({"crow": 12, "jay": 9})
    'Classes: crow 12, jay 9'
    """
    shown = [f"{printable(shortened(name, _LONGEST))} {count}" for name, count in list(counts.items())[:SHOWN]]
    if len(counts) <= SHOWN:
        return f"Classes: {', '.join(shown)}"
    fewest, most = min(counts.values()), max(counts.values())
    return f"Classes: {', '.join(shown)} and {len(counts) - SHOWN} more; {fewest} to {most} images each"


__all__ = ["SHOWN", "listed_classes"]
