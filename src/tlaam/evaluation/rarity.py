"""How well rare and frequent classes are told, where training had unequally many images of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tlaam.data.skew import SKEWED

BANDS: tuple[tuple[str, float], ...] = (("rare", 0.25), ("less frequent", 0.5), ("frequent", 1.0))
"""Names of bands, and most training images of a class in them, as a share of the largest class's."""


class Band(NamedTuple):
    """Classes of about equally many training images.

    Attributes:
        name: of `BANDS`.
        classes: how many there are, of which something was measured.
        fewest, most: their training images.
        images: how many were measured.
        recall: mean of the classes' shares of right answers.
        f1: mean of the classes' F1.
    """

    name: str
    classes: int
    fewest: int
    most: int
    images: int
    recall: float
    f1: float


def bands_of(counts: Mapping[str, int], per_class: Mapping[str, Mapping[str, Any]]) -> tuple[Band, ...]:
    """Return what classes come to by their training images, the rarest first; nothing where training was not skewed.

    Args:
        counts: training images by class name; classes that had none are left out.
        per_class: ``recall``, ``f1`` and ``support`` by class name (`ClassificationReport.per_class`); classes of which
            nothing was measured are left out.
    """
    learnt = {name: count for name, count in counts.items() if count}
    if not learnt or max(learnt.values()) < SKEWED * min(learnt.values()):
        return ()
    most, low = max(learnt.values()), 0.0
    found = []
    for name, high in BANDS:
        members = [
            one
            for one, count in learnt.items()
            if low < count / most <= high and per_class.get(one, {}).get("support", 0)
        ]
        if members:
            found.append(_band(name, [learnt[one] for one in members], [per_class[one] for one in members]))
        low = high
    return tuple(found)


def _band(name: str, counts: Sequence[int], measured: Sequence[Mapping[str, Any]]) -> Band:
    recall, f1 = (sum(float(one[key]) for one in measured) / len(measured) for key in ("recall", "f1"))
    images = sum(int(one["support"]) for one in measured)
    return Band(name, len(counts), min(counts), max(counts), images, recall, f1)


def lines_of(bands: Sequence[Band]) -> str:
    """Return bands as lines for a terminal."""
    width = max(len(band.name) for band in bands)
    return "\n".join(
        f"{band.name.ljust(width)}  {band.classes} class{'' if band.classes == 1 else 'es'} of {_span(band)} training "
        f"images: recall {100 * band.recall:.1f} %, F1 {100 * band.f1:.1f} % (means of classes; {band.images} images)"
        for band in bands
    )


def _span(band: Band) -> str:
    return str(band.most) if band.fewest == band.most else f"{band.fewest} to {band.most}"
