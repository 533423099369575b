"""Findings on copies and near copies: with different labels, in different splits, or duplicated within a split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from tlaam.cleaning.suspects import Finding
from tlaam.data.near_copies import Match, sets_of
from tlaam.data.sample import LabelledImages, Sample

_KEPT_FIRST = ("test", "val", "train")
_SHOWN = 3


def exact_pairs(samples: Sequence[Sample], equal: Sequence[Sequence[Sample]]) -> list[tuple[int, int]]:
    """Return sets of equal images as pairs of places, each pairing the first image with another one."""
    places = {id(sample): place for place, sample in enumerate(samples)}
    numbers = [sorted(places[id(sample)] for sample in members) for members in equal]
    return [(members[0], other) for members in numbers for other in members[1:]]


def copy_findings(images: LabelledImages, exact: Sequence[tuple[int, int]], near: Sequence[Match]) -> list[Finding]:
    """Return the findings on copies.

    If copies have different labels, all of them are suspects. If they are in different splits, those outside the first
    of test, validation and training are, so that measurements on the others stay valid. If they are in the same split,
    all except the first are.

    Args:
        images: the data set.
        exact: pairs of places of images with equal pixels.
        near: pairs of near copies.
    """
    pairs = [*exact, *((match.first, match.second) for match in near)]
    equal = {place: number for number, members in enumerate(sets_of(len(images.samples), exact)) for place in members}
    return [finding for members in sets_of(len(images.samples), pairs) for finding in _of_set(images, members, equal)]


def _of_set(images: LabelledImages, members: list[int], equal: dict[int, int]) -> Iterator[Finding]:
    samples = images.samples
    ordered = sorted(members, key=lambda place: (_KEPT_FIRST.index(samples[place].split), samples[place].name))
    labels = Counter(samples[place].label for place in members)
    splits = {samples[place].split for place in members}
    how_many = Counter(equal[place] for place in members if place in equal)
    for place in ordered:
        others = [other for other in ordered if other != place]
        same = place in equal and how_many[equal[place]] > 1
        twin = next((other for other in others if same and equal.get(other) == equal[place]), others[0])
        word = "the same pixels as" if same else "nearly the same picture as"
        if len(labels) > 1:
            unlike = [other for other in others if samples[other].label != samples[place].label]
            beside = tuple((other, "copy") for other in unlike[:_SHOWN])
            usual = labels.most_common(2)
            clear = usual[0][1] > usual[1][1] and usual[0][0] != samples[place].label
            named = images.classes[samples[unlike[0]].label]
            reason = f"{word} '{samples[unlike[0]].name}', which is labelled '{named}'"
            score = 0.98 if same else 0.96
            yield Finding(place, "copy-other-label", score, reason, beside, usual[0][0] if clear else None)
        beside = tuple((other, "copy") for other in [twin, *(o for o in others if o != twin)][:_SHOWN])
        if len(splits) > 1 and samples[place].split != samples[ordered[0]].split:
            other = next(o for o in ordered if samples[o].split != samples[place].split)
            reason = f"{word} '{samples[other].name}' of the split {samples[other].split}"
            yield Finding(place, "copy-across-splits", 0.95 if same else 0.9, reason, ((other, "copy"), *beside))
        elif place != ordered[0] and len(labels) == 1:
            kind, score = ("copy", 0.5) if same else ("near-copy", 0.35)
            yield Finding(place, kind, score, f"{word} '{samples[twin].name}'", beside)
