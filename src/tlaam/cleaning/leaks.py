"""Leaks: images of the same group, individual's folder or burst in different splits of a data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from tlaam.cleaning.exif import Taken
from tlaam.cleaning.suspects import Finding
from tlaam.data.rules import split_of
from tlaam.data.sample import LabelledImages, Sample

_BURST = 5.0
"""Maximum time in seconds between two consecutive frames of a burst of one camera."""
_SHOWN = 3
_EARLIER = ("train", "val", "test")


def leak_findings(images: LabelledImages, takens: Sequence[Taken]) -> list[Finding]:
    """Return the validation and test images that share a group, folder or burst with images of an earlier split.

    Args:
        images: the data set.
        takens: with which camera and when each image was taken, ``(N,)``.
    """
    samples = images.samples
    if len({sample.split for sample in samples}) < 2:
        return []
    named: list[tuple[str, float, Sequence[Hashable | None]]] = [
        ("group", 0.8, [sample.group for sample in samples]),
        ("burst of one camera", 0.75, bursts(takens)),
        ("folder within a class", 0.55, [_inner_folder(sample, images.classes) for sample in samples]),
    ]
    return [finding for what, score, values in named for finding in _across(images, what, score, values)]


def bursts(takens: Sequence[Taken]) -> list[int | None]:
    """Return the burst of each image: frames of one camera, each within seconds of the one before; None if alone.

    Examples:
        >>> bursts([Taken("A", 10.0), Taken("A", 12.0), Taken("B", 12.0), Taken("A", 99.0), Taken("", None)])
        [0, 0, None, None, None]
    """
    of_camera: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for place, one in enumerate(takens):
        if one.camera and one.time is not None:
            of_camera[one.camera].append((one.time, place))
    found: list[int | None] = [None] * len(takens)
    for frames in of_camera.values():
        frames.sort()
        for (before, first), (after, second) in pairwise(frames):
            if after - before <= _BURST:
                number = found[first]
                found[first] = found[second] = first if number is None else number
    return found


def _inner_folder(sample: Sample, classes: Sequence[str]) -> str | None:
    """Return an image's folder below its class's (of an individual or a visit, say); None if there is none."""
    parts = PurePosixPath(sample.name).parts[:-1]
    if parts and split_of(parts[0]) is not None:
        parts = parts[1:]
    label = classes[sample.label]
    return "/".join(parts) if label in parts[:-1] else None


def _across(images: LabelledImages, what: str, score: float, values: Sequence[Hashable | None]) -> Iterator[Finding]:
    members: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, value in enumerate(values):
        if value is not None:
            members[value].append(place)
    for places in members.values():
        first = min((images.samples[place].split for place in places), key=_EARLIER.index)
        inside = [place for place in places if images.samples[place].split == first]
        for place in places:
            if images.samples[place].split != first:
                reason = f"one {what} with {len(inside)} image{'s' * (len(inside) > 1)} of the split {first}"
                yield Finding(place, "leak", score, reason, tuple((other, "same group") for other in inside[:_SHOWN]))
