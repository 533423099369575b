"""Images unlike all others: even their nearest neighbours are far away."""

from __future__ import annotations

import numpy as np

from tlaam.cleaning.neighbours import Neighbours
from tlaam.cleaning.suspects import Finding

_NEAREST = 5
_DEVIATIONS = 4.5
"""An image is unlike the others if its similarity is this many robust deviations below the usual one."""
_LEAST = 20
"""Minimum number of images for estimating the usual similarity."""


def unlike_findings(neighbours: Neighbours) -> list[Finding]:
    """Return the images whose nearest neighbours are much less similar to them than usual.

    Args:
        neighbours: nearest neighbours of N images.
    """
    if len(neighbours.places) < _LEAST:
        return []
    near = neighbours.similarities[:, :_NEAREST].astype(np.float64).mean(1)
    middle = float(np.median(near))
    below = middle - near[near < middle]
    spread = 1.4826 * float(np.median(below)) if len(below) else 0.0
    spread = max(spread, 0.02)
    found = []
    for place in np.flatnonzero((middle - near) / spread > _DEVIATIONS).tolist():
        reason = f"its nearest images are alike by {near[place]:.2f}; {middle:.2f} is usual here"
        beside = tuple((int(other), "nearest") for other in neighbours.places[place, :2] if other >= 0)
        found.append(Finding(place, "unlike", 0.3 + min((middle - near[place]) / spread / 30, 0.4), reason, beside))
    return found
