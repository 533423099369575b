"""Suspects: images with at least one finding against them, in a single list, worst first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from tlaam.data.sample import LabelledImages, Split

KINDS = {
    "unreadable": "cannot be read",
    "copy-other-label": "one picture under several labels",
    "copy-across-splits": "one picture in several splits",
    "label": "probably a wrong label",
    "leak": "of one group, folder or burst with images of another split",
    "copy": "the same pixels twice",
    "near-copy": "nearly the same picture twice",
    "background": "named right only by its background",
    "unlike": "unlike all other images",
    "black": "nearly black",
    "white": "nearly white",
    "blurred": "blurred",
    "tiny": "tiny",
}
"""The kinds of findings, and how each is worded."""


@dataclass(frozen=True)
class Companion:
    """An image to show beside a suspect.

    Attributes:
        name: name of the image.
        label: its given label.
        role: why it is shown: ``its label``, ``the other label``, ``copy``, ``same group`` or ``nearest``.
    """

    name: str
    label: str
    role: str


@dataclass(frozen=True)
class Suspect:
    """An image with findings against it.

    Attributes:
        name: name of the image.
        label: its given label.
        split: its split.
        kinds: the kinds of its findings (see `KINDS`), worst first, but a poor picture before doubts of its label.
        score: strength of the evidence against it, 0 to 1.
        suggested: a label that fits better; empty if none is known.
        reason: explanation in words.
        companions: the images to show beside it.
    """

    name: str
    label: str
    split: Split
    kinds: tuple[str, ...]
    score: float
    suggested: str
    reason: str
    companions: tuple[Companion, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the suspect as plain values."""
        return asdict(self)


class Finding(NamedTuple):
    """A finding against one image.

    Attributes:
        place: index of the image.
        kind: one of `KINDS`.
        score: strength of the evidence, 0 to 1.
        reason: explanation in words.
        beside: indices of other images, with their `Companion.role`.
        suggested: index of a class that fits better; None if none is known.
    """

    place: int
    kind: str
    score: float
    reason: str
    beside: tuple[tuple[int, str], ...] = ()
    suggested: int | None = None


_COMPANIONS = 6
_SHOWS_NOTHING = ("black", "white")
"""Faults of a picture that shows nothing: whatever a model makes of it says nothing about its label."""
_SHOWS_LITTLE = (*_SHOWS_NOTHING, "blurred", "tiny")
"""Faults of a picture that explain why its label is doubted, and are named before that."""
_BY_CONTENT = ("label", "background", "unlike")


def ranked(images: LabelledImages, findings: Iterable[Finding]) -> list[Suspect]:
    """Return one suspect for each image with findings, worst first; ties are ordered by name.

    Args:
        images: the data set; places are indices of its samples.
        findings: the findings in any order.
    """
    of_image: defaultdict[int, list[Finding]] = defaultdict(list)
    for finding in findings:
        of_image[finding.place].append(finding)
    suspects = [_suspect(images, place, found) for place, found in of_image.items()]
    return sorted(suspects, key=lambda suspect: (-suspect.score, suspect.name, suspect.label))


def _suspect(images: LabelledImages, place: int, findings: Sequence[Finding]) -> Suspect:
    order = list(KINDS)
    kinds = {finding.kind for finding in findings}
    if kinds.intersection(_SHOWS_NOTHING):
        findings = [finding for finding in findings if finding.kind not in _BY_CONTENT]
    explained = bool(kinds.intersection(_SHOWS_LITTLE))
    worst = sorted(findings, key=lambda finding: (-finding.score, order.index(finding.kind)))
    sample = images.samples[place]
    beside: dict[int, str] = {}
    for finding in worst:
        for other, role in finding.beside:
            beside.setdefault(other, role)
    suggested = next((finding.suggested for finding in worst if finding.suggested is not None), None)
    return Suspect(
        sample.name,
        images.classes[sample.label],
        sample.split,
        tuple(
            sorted(dict.fromkeys(finding.kind for finding in worst), key=lambda kind: explained and kind in _BY_CONTENT)
        ),
        round(min(max(worst[0].score, 0.0), 1.0), 4),
        "" if suggested is None else images.classes[suggested],
        "; ".join(dict.fromkeys(finding.reason for finding in worst)),
        tuple(
            Companion(images.samples[other].name, images.classes[images.samples[other].label], role)
            for other, role in list(beside.items())[:_COMPANIONS]
        ),
    )
