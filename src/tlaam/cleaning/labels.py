"""Findings on labels: probable label errors, with look-alikes of both classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tlaam.cleaning.label_issues import label_issues
from tlaam.cleaning.looking import Looked
from tlaam.cleaning.suspects import Finding

_BESIDE = 3


def label_findings(labels: NDArray[np.int64], looked: Looked) -> list[Finding]:
    """Return the images whose label is less plausible than another class, according to out-of-fold answers.

    Args:
        labels: ``(N,)``.
        looked: what the probe computed for the N images.
    """
    probabilities = looked.probe.probabilities
    issues = label_issues(probabilities, labels, looked.probe.answers.known)
    found = []
    for place in np.flatnonzero(np.nan_to_num(issues.margins, nan=-1.0) > 0).tolist():
        other, margin = int(issues.suggested[place]), float(issues.margins[place])
        given, believed = float(probabilities[place, labels[place]]), float(probabilities[place, other])
        reason = f"a probe that had not seen it gives its label {given:.0%}, the other {believed:.0%}"
        beside = [(near, "its label") for near in _nearest(place, int(labels[place]), labels, looked)]
        beside += [(near, "the other label") for near in _nearest(place, other, labels, looked)]
        found.append(Finding(place, "label", 0.4 + 0.55 * (1 - np.exp(-1.5 * margin)), reason, tuple(beside), other))
    return found


def _nearest(place: int, label: int, labels: NDArray[np.int64], looked: Looked) -> list[int]:
    """Return the images with a given label that look most like an image."""
    near = [other for other in looked.look_alikes.places[place].tolist() if other >= 0 and labels[other] == label]
    if len(near) < _BESIDE:
        members = np.flatnonzero(labels == label)
        members = members[members != place]
        order = np.argsort(-(looked.vectors[members] @ looked.vectors[place]), kind="stable")
        near = members[order].tolist()
    return near[:_BESIDE]
