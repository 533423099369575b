"""Charts for pages, as SVG that takes its colours from the page (`tlaam.page`), light or dark. All text is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Point = tuple[float, float]

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 44


def line_chart(series: Mapping[str, Sequence[Point]], *, x: str, y: str, share: bool = False) -> str:
    """Draw lines over one axis; points that are not finite leave a gap.

    Args:
        series: points (x, y) by name, x rising; the names become the legend.
        x: what stands on the horizontal axis.
        y: what stands on the vertical axis, which begins at 0.
        share: the values are shares: the axis ends at 100 %.

    Returns:
        An ``<svg>`` element.
    """
    points = [point for line in series.values() for point in line if all(map(math.isfinite, point))]
    left, right = (min(p[0] for p in points), max(p[0] for p in points)) if points else (0.0, 1.0)
    highest = 1.0 if share else max((p[1] for p in points), default=1.0)
    frame = _Frame((left, right if right > left else left + 1), (0.0, highest if highest > 0 else 1.0))
    parts = [frame.axes(x, y, share)]
    for number, line in enumerate(series.values()):
        for run in _unbroken(line):
            path = "L".join(f"{frame.x(px):.1f} {frame.y(py):.1f}" for px, py in run)
            parts.append(f'<path class="line s{number % 6}" d="M{path}"/>')
            if len(run) == 1:
                parts.append(_dot(frame, run[0], number))
    return _svg(parts, f"{y} over {x}: {', '.join(series)}", list(series))


def reliability_chart(bins: Sequence[tuple[float, float, int]]) -> str:
    """Draw how often answers are right beside how sure they were; dots grow with the number of images.

    Args:
        bins: mean confidence, share of right answers and number of images of each bin that is not empty.

    Returns:
        An ``<svg>`` element.
    """
    frame = _Frame((0.0, 1.0), (0.0, 1.0))
    most = max((count for *_, count in bins), default=1)
    parts = [
        frame.axes("probability it gave its answer", "share of right answers", True, share_x=True),
        f'<path class="line ideal" d="M{frame.x(0):.1f} {frame.y(0):.1f}L{frame.x(1):.1f} {frame.y(1):.1f}"/>',
    ]
    for confidence, accuracy, count in bins:
        radius = 3 + 9 * math.sqrt(count / most)
        parts.append(
            f'<circle class="dot s0" cx="{frame.x(confidence):.1f}" cy="{frame.y(accuracy):.1f}" r="{radius:.1f}">'
            f"<title>{count} images: {confidence:.0%} sure, {accuracy:.0%} right</title></circle>"
        )
    return _svg(parts, "Share of right answers over the probability given", [])


class _Frame:
    """From values to places in the picture."""

    def __init__(self, across: tuple[float, float], up: tuple[float, float]) -> None:
        self.across, self.up = across, up

    def x(self, value: float) -> float:
        low, high = self.across
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.up
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)

    def axes(self, x: str, y: str, share: bool, *, share_x: bool = False) -> str:
        parts = []
        for tick in _ticks(*self.up):
            text = f"{tick:.0%}" if share else f"{tick:g}"
            parts.append(f'<path class="grid" d="M{_LEFT} {self.y(tick):.1f}H{_WIDTH - _RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{self.y(tick) + 4:.1f}" text-anchor="end">{text}</text>')
        for tick in _ticks(*self.across):
            text = f"{tick:.0%}" if share_x else f"{tick:g}"
            parts.append(
                f'<text x="{self.x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{text}</text>'
            )
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x)}</text>')
        centre = (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(
            f'<text transform="translate(12 {centre:.1f}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
        )
        return "".join(parts)


def _ticks(low: float, high: float) -> list[float]:
    """Return three to six round values from `low` to `high`."""
    step = 10 ** math.floor(math.log10(high - low))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if (high - low) / s < 6)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _unbroken(line: Sequence[Point]) -> list[list[Point]]:
    runs: list[list[Point]] = [[]]
    for point in line:
        if all(map(math.isfinite, point)):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _dot(frame: _Frame, point: Point, number: int) -> str:
    return f'<circle class="dot s{number % 6}" cx="{frame.x(point[0]):.1f}" cy="{frame.y(point[1]):.1f}" r="4"/>'


def _svg(parts: Sequence[str], label: str, legend: Sequence[str]) -> str:
    rows, row_height = -(-len(legend) // 4), 22
    entries = []
    for number, name in enumerate(legend):
        x, y = _LEFT + 148 * (number % 4), _HEIGHT + row_height * (number // 4) + 14
        entries.append(f'<circle class="dot s{number % 6}" cx="{x}" cy="{y - 4}" r="5"/>')
        entries.append(f'<text x="{x + 10}" y="{y}">{escape(name)}</text>')
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT + row_height * rows}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}{"".join(entries)}</svg>'
    )
