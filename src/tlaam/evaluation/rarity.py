"""How well rare and frequent classes are recognised if the training images were unbalanced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tlaam.data.skew import SKEWED

BANDS: tuple[tuple[str, float], ...] = (("rare", 0.25), ("less frequent", 0.5), ("frequent", 1.0))
"""Names of bands, each with the largest number of training images per class, as a share of the largest class's."""


class Band(NamedTuple):
    """Classes with similar numbers of training images.

    Attributes:
        name: name of the band, from `BANDS`.
        classes: number of classes with measured images.
        fewest, most: smallest and largest number of training images of these classes.
        images: number of images measured.
        recall: mean recall of the classes.
        f1: mean F1 of the classes.
    """

    name: str
    classes: int
    fewest: int
    most: int
    images: int
    recall: float
    f1: float


def bands_of(counts: Mapping[str, int], per_class: Mapping[str, Mapping[str, Any]]) -> tuple[Band, ...]:
    """Return the measures of classes by their numbers of training images, the rarest band first.

    The result is empty if the training images were not skewed.

    Args:
        counts: training images by class name; classes that had none are left out.
        per_class: ``recall``, ``f1`` and ``support`` by class name (`ClassificationReport.per_class`); classes without
            measured images are left out.
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
