"""Near copies: a photograph re-encoded, resized, mirrored or slightly cropped, and frames of one burst.

Small grey pictures are laid over each other: mirrored or not, and one as a window of the other. The best window of a
grid is refined by least squares (Lucas and Kanade 1981). The criteria are the normalised correlation of both pictures
there and that of their detail: two birds against a plain sky agree in the first alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tlaam.data.images import ImageError
from tlaam.data.sample import Sample

SIDE = 48
"""Side of the small grey pictures in pixels (`small_grey`)."""
LIKENESS = 0.95
"""Pictures are near copies if their correlation is at least this ..."""
DETAIL = 0.7
"""... and that of their detail is at least this."""

_COARSE = 16
_ROUGHLY = 0.4
"""Least correlation of whole pictures at which windows are tried."""
_MOST_LOOKED_AT, _MOST_REFINED = 1000, 16
"""Partners of a picture whose windows are tried, and that are refined: frames of one camera are alike without end."""
_PROMISING = 0.88
"""Least correlation at the best window of the grid at which a pair is refined."""
_SCALES = (1.0, 0.96, 0.92, 0.88, 0.84)
_STEPS = 8
_FARTHEST = (0.7, 1.4)
"""Range of scales that refinement may not leave."""
_BLUR = 3.0
"""Standard deviation, in pixels, of the blur that separates detail."""
_LEAST_CONTRAST = 2.0
"""Standard deviation in grey levels below which a picture shows nothing recognisable; for detail, a quarter of it."""
_BLOCK = 512

Pair = tuple[int, int]
Partners = tuple[int, NDArray[np.integer[Any]]]
"""The index of one picture, and the indices of others."""
_Floats = NDArray[np.float32]
_Any = NDArray[np.floating[Any]]


class Match(NamedTuple):
    """Two images that are near copies.

    Attributes:
        first: index of the first image.
        second: index of the second, greater than `first`.
        likeness: normalised correlation of what both show.
        mirrored: whether one is the mirror image of the other.
    """

    first: int
    second: int
    likeness: float
    mirrored: bool


def small_grey(image: Image.Image) -> NDArray[np.uint8]:
    """Return the picture used for comparison, ``(SIDE, SIDE)``: grey, squashed to a square.

    Examples:
        >>> small_grey(Image.new("RGB", (200, 100))).shape
        (48, 48)
    """
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def small_greys(samples: Sequence[Sample], progress: Callable[[int, int], None] | None = None) -> NDArray[np.uint8]:
    """Return the small grey pictures ``(N, SIDE, SIDE)`` of images; an unreadable one is black and matches none."""
    found = np.zeros((len(samples), SIDE, SIDE), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(samples), _BLOCK):
            batch = samples[start : start + _BLOCK]
            for place, grey in enumerate(pool.map(_grey_of, batch), start):
                found[place] = grey
                if progress is not None:
                    progress(place + 1, len(samples))
    return found


def _grey_of(sample: Sample) -> NDArray[np.uint8]:
    try:
        return small_grey(sample.picture(4 * SIDE))
    except ImageError:
        return np.zeros((SIDE, SIDE), dtype=np.uint8)


def partners(greys: NDArray[np.uint8]) -> Iterator[Partners]:
    """Yield for each of N pictures ``(N, SIDE, SIDE)`` the others that roughly agree with it; of many, the most alike.

    Pictures agree directly, or one with the mirror image of the other. All pairs are compared, in blocks of rows.
    """
    plain, mirrored = _signatures(greys), _signatures(greys[:, :, ::-1])
    for start in range(0, len(greys), _BLOCK):
        block = plain[start : start + _BLOCK]
        agree = np.maximum(block @ plain.T, block @ mirrored.T)
        for row, of_one in enumerate(agree):
            of_one[start + row] = -1
            others = np.flatnonzero(of_one >= _ROUGHLY)
            if len(others) > _MOST_LOOKED_AT:
                others = others[np.argpartition(-of_one[others], _MOST_LOOKED_AT)[:_MOST_LOOKED_AT]]
            yield start + row, others


def both_ways(pairs: Iterable[Pair]) -> Iterator[Partners]:
    """Yield the partners of each picture that occurs in the pairs."""
    found: defaultdict[int, set[int]] = defaultdict(set)
    for one, other in pairs:
        found[one].add(other)
        found[other].add(one)
    for one, others in found.items():
        yield one, np.array(sorted(others))


def matches(greys: NDArray[np.uint8], candidates: Iterable[Partners]) -> list[Match]:
    """Return the pairs of pictures that are near copies, in order; for each picture, only its closest partners count.

    Args:
        greys: small grey pictures ``(N, SIDE, SIDE)``.
        candidates: indices of pictures, each with the indices of those that its windows are compared with.
    """
    telling = greys.std((1, 2)) >= _LEAST_CONTRAST
    turned = (_signatures(greys), _signatures(greys[:, :, ::-1]))
    promising: dict[Pair, tuple[float, int, int, bool, int]] = {}
    for inner, others in candidates:
        outer = others[telling[others]]
        if not (telling[inner] and len(outer)):
            continue
        windows = _windows(greys[inner])
        agree = np.stack([windows @ signatures[outer].T for signatures in turned])
        likeness = agree.max((0, 1))
        for place in np.argsort(-likeness, kind="stable")[:_MOST_REFINED]:
            if likeness[place] < _PROMISING:
                break
            is_mirrored, window = np.unravel_index(agree[:, :, place].argmax(), agree.shape[:2])
            pair = (min(inner, int(outer[place])), max(inner, int(outer[place])))
            found = (float(likeness[place]), inner, int(outer[place]), bool(is_mirrored), int(window))
            promising[pair] = max(promising.get(pair, found), found)
    kept = []
    for pair, (_, inside, other, mirrored, at) in promising.items():
        picture = greys[other][:, ::-1] if mirrored else greys[other]
        agreement, detail = _refined(greys[inside], picture, _grid()[0][at])
        if agreement >= LIKENESS and detail >= DETAIL:
            kept.append(Match(*pair, min(agreement, 1.0), mirrored))
    return sorted(kept)


def near_copies(greys: NDArray[np.uint8]) -> list[Match]:
    """Return the pairs of near copies among small grey pictures ``(N, SIDE, SIDE)``."""
    return matches(greys, partners(greys))


def sets_of(count: int, pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Join pairs of numbers below `count` into sets, each sorted.

    Examples:
        >>> sets_of(6, [(0, 1), (3, 1), (4, 5)])
        [[0, 1, 3], [4, 5]]
    """
    parents = list(range(count))

    def root(place: int) -> int:
        while parents[place] != place:
            parents[place] = parents[parents[place]]
            place = parents[place]
        return place

    for one, other in pairs:
        first, second = sorted((root(one), root(other)))
        parents[second] = first
    members: defaultdict[int, list[int]] = defaultdict(list)
    for place in sorted({place for pair in pairs for place in pair}):
        members[root(place)].append(place)
    return sorted(members.values())


def _signatures(greys: NDArray[np.uint8]) -> _Floats:
    """Return pictures ``(N, SIDE, SIDE)`` as unit vectors ``(N, COARSE²)``; zeros for flat pictures."""
    cells = greys.reshape(len(greys), _COARSE, SIDE // _COARSE, _COARSE, SIDE // _COARSE).mean((2, 4), dtype=np.float32)
    return _unit(cells.reshape(len(greys), _COARSE**2))


def _unit(rows: _Any) -> _Floats:
    """Return rows ``(N, K)`` with their means subtracted and of unit length; zeros for constant rows."""
    rows = rows - rows.mean(1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(np.where(lengths > 1e-3, rows / np.maximum(lengths, 1e-3), 0), dtype=np.float32)


@lru_cache(1)
def _grid() -> tuple[list[tuple[float, float, float]], _Floats, _Floats]:
    """Return windows (side as a share; top, left in pixels) and what cuts them out, ``(W, COARSE, SIDE)`` twice."""
    places = []
    for scale in _SCALES:
        free = SIDE * (1 - scale)
        offsets = np.linspace(0, free, round(free / 2) + 1)
        places += [(scale, float(top), float(left)) for top in offsets for left in offsets]
    down = np.stack([_means(top, scale * SIDE) for scale, top, _ in places])
    across = np.stack([_means(left, scale * SIDE) for scale, _, left in places])
    return places, down, across


def _means(start: float, size: float) -> _Floats:
    """Return the matrix ``(COARSE, SIDE)`` that averages a piece of a line of SIDE pixels in COARSE equal parts."""
    ends = np.linspace(start, start + size, _COARSE + 1)
    pixels = np.arange(SIDE)
    shares = np.minimum(ends[1:, None], pixels + 1) - np.maximum(ends[:-1, None], pixels)
    shares = shares.clip(0)
    return np.asarray(shares / shares.sum(1, keepdims=True), dtype=np.float32)


def _windows(grey: NDArray[np.uint8]) -> _Floats:
    """Return all windows of a picture as unit vectors ``(W, COARSE²)``."""
    _, down, across = _grid()
    cut = down @ grey.astype(np.float32) @ across.transpose(0, 2, 1)
    return _unit(cut.reshape(len(cut), -1))


def _refined(
    inside: NDArray[np.uint8], other: NDArray[np.uint8], window: tuple[float, float, float]
) -> tuple[float, float]:
    """Return the correlation of a picture with the best-fitting window of another, and that of their detail.

    Args:
        inside: the picture that the window is cut from.
        other: the picture that it is compared with.
        window: the window to start from.
    """
    whole, wanted = inside.astype(np.float32), other.astype(np.float32)
    slope_down, slope_across = np.gradient(whole)
    wanted_unit = _unit(wanted.reshape(1, -1))[0]
    scale, top, left = window
    place = np.array([scale, top, scale, left])
    best = -1.0
    shown: _Any = whole
    at = np.arange(SIDE)[:, None] + 0.5
    for _ in range(_STEPS):
        down, across = _lines(place[0], place[1]), _lines(place[2], place[3])
        cut = down @ whole @ across.T
        agree = float(_unit(cut.reshape(1, -1))[0] @ wanted_unit)
        if agree <= best + 1e-4:
            break
        best, shown = agree, cut
        steep_down, steep_across = down @ slope_down @ across.T, down @ slope_across @ across.T
        flat = np.ones_like(cut)
        moves = np.stack([steep_down * at, steep_down, steep_across * at.T, steep_across, flat, cut], -1).reshape(-1, 6)
        spread = max(float(wanted.std()), 1e-3)
        rest = ((wanted - wanted.mean()) / spread * cut.std() + cut.mean() - cut).ravel()
        step = np.linalg.solve(moves.T @ moves + np.eye(6), moves.T @ rest)[:4]
        place = place + np.clip(step, [-0.05, -1.5, -0.05, -1.5], [0.05, 1.5, 0.05, 1.5])
        if not (_FARTHEST[0] < min(place[0], place[2]) and max(place[0], place[2]) < _FARTHEST[1]):
            break
    return best, _detail(shown, wanted)


def _detail(one: _Any, other: _Any) -> float:
    """Return the correlation of the detail of two pictures; 0 if one has none."""
    blur = _blur()
    sharp = [picture - blur @ picture @ blur.T for picture in (one, other)]
    if min(float(picture.std()) for picture in sharp) < _LEAST_CONTRAST / 4:
        return 0.0
    return float(_unit(sharp[0].reshape(1, -1))[0] @ _unit(sharp[1].reshape(1, -1))[0])


@lru_cache(1)
def _blur() -> _Floats:
    apart = np.arange(SIDE)[:, None] - np.arange(SIDE)
    weights = np.exp(-0.5 * (apart / _BLUR) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True), dtype=np.float32)


def _lines(scale: float, start: float) -> _Floats:
    """Return the matrix ``(SIDE, SIDE)`` that samples SIDE pixels from a piece of a line by linear interpolation."""
    at = ((np.arange(SIDE) + 0.5) * scale + start - 0.5).clip(0, SIDE - 1)
    return np.asarray((1 - np.abs(at[:, None] - np.arange(SIDE))).clip(0), dtype=np.float32)


__all__ = [
    "DETAIL", "LIKENESS", "SIDE", "Match", "Pair",
    "Partners", "both_ways", "matches", "near_copies",
    "partners",
    "sets_of", "small_grey", "small_greys",
]  # fmt: skip
