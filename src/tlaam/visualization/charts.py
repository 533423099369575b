"""SVG charts that take their colours from the page, light or dark. All text is escaped."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from html import escape

from tlaam.utils.text import per_cent

Point = tuple[float, float]

STYLE = """
.chart { display: block; width: 100%; max-width: 31rem; height: auto; margin: 0 auto; }
.chart { font-size: 13px; fill: var(--grey); }
.chart.broad { max-width: none; }
.chart .name { fill: var(--ink); }
.chart .grid { stroke: var(--line); fill: none; }
.chart .line { fill: none; stroke-width: 2.5; stroke-linejoin: round; stroke: var(--tone); }
.chart .dot { fill: var(--tone); }
.chart .ideal { --tone: var(--line); stroke-dasharray: 6 5; }
.chart .s0 { --tone: #3d7fc4; } .chart .s1 { --tone: #d9822b; } .chart .s2 { --tone: #3a9a6a; }
.chart .s3 { --tone: #b0569e; } .chart .s4 { --tone: #8a8d3a; } .chart .s5 { --tone: #6b6fd0; }
"""
"""CSS of the charts; the page must define the colours ``--ink``, ``--grey`` and ``--line``."""

_ALONE = "svg { --ink: #202226; --grey: #666a70; --line: #e3e3dc; font-family: sans-serif; }"

_WIDTH, _HEIGHT = 400, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 22, 14, 46
"""Charts are no wider than a phone screen, so that their text is not scaled down there."""


def line_chart(series: Mapping[str, Sequence[Point]], *, x: str, y: str, share: bool = False) -> str:
    """Draw one or more lines; points that are not finite leave a gap.

    Args:
        series: points (x, y) by name, in ascending order of x; the names become the legend.
        x: label of the horizontal axis.
        y: label of the vertical axis, which begins at 0.
        share: the values are shares, so the vertical axis ends at 100 %.

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
    """Draw how often answers are right against their probabilities; dots grow with the number of images.

    Args:
        bins: mean confidence, share of right answers and number of images of each non-empty bin.

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
            f"<title>{count} images: given {per_cent(confidence, 0)}, {per_cent(accuracy, 0)} right</title></circle>"
        )
    return _svg(parts, "Share of right answers over the probability given", [])


_COLUMNS, _LINE, _GAP = 54, 17, 12
_STRIP = 11


def spread_chart(
    rows: Sequence[tuple[str, Mapping[str, tuple[float, float | None]]]], measures: Sequence[str], *, alone: int = 0
) -> str:
    """Draw shares as dots with bars of ± one standard deviation, one block per row and one line per measure in it.

    The chart is as wide as the page, and its text keeps its size on any screen, since horizontal positions are in per
    cent. The axis ends at the round values that enclose everything drawn.

    Args:
        rows: names, and mean and standard deviation (None for none) by measure.
        measures: in the order of the legend.
        alone: width in pixels of a picture for a separate file, with its own colours; by default the chart is for a
            page and uses the page's colours.

    Returns:
        An ``<svg>`` element.
    """
    ends = [mean + sign * (std or 0.0) for _, found in rows for mean, std in found.values() for sign in (-1, 1)]
    low = min(max(math.floor(10 * min(ends, default=0.0) + 1e-6) / 10, 0.0), 0.9)
    high = min(max(math.ceil(10 * max(ends, default=1.0) - 1e-6) / 10, low + 0.1), 1.0)

    def across(share: float) -> str:
        return f"{5 + 90 * (min(max(share, low), high) - low) / (high - low):.2f}%"

    legend = []
    for number, measure in enumerate(measures):  # two entries per line
        left, y = 50 * (number % 2), _LINE * (number // 2 + 1)
        legend.append(f'<circle class="dot s{number % 6}" cx="{left + 2}%" cy="{y - 4}" r="4.5"/>')
        legend.append(f'<text x="{left + 4}%" y="{y}">{escape(measure)}</text>')
    top = _LINE * (-(-len(measures) // 2) + 1) + 4
    y = top + 6
    blocks = []
    for name, found in rows:
        for text in textwrap.wrap(name, _COLUMNS):
            y += _LINE
            blocks.append(f'<text class="name" x="0" y="{y}">{escape(text)}</text>')
        for number, measure in enumerate(measures):
            if measure not in found:
                continue
            y += _STRIP
            mean, std = found[measure]
            spread = "" if std is None else f" ± {100 * std:.1f}"
            start, end = across(mean - (std or 0.0)), across(mean + (std or 0.0))
            blocks.append(
                f'<g class="s{number % 6}"><title>{escape(name)}, {escape(measure)}: {100 * mean:.1f}{spread} %</title>'
                f'<line class="line" x1="{start}" x2="{end}" y1="{y}" y2="{y}"/>'
                f'<circle class="dot" cx="{across(mean)}" cy="{y}" r="4"/></g>'
            )
        y += _GAP
    ticks = []
    for tick in _ticks(low, high):
        x = across(tick)
        ticks.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top + 4}" y2="{y}"/>')
        ticks += [
            f'<text x="{x}" y="{place}" text-anchor="middle">{per_cent(tick, 0)}</text>' for place in (top, y + 16)
        ]
    height = y + 24
    label = f'role="img" aria-label="{escape(", ".join(measures))} of {len(rows)} systems"'
    drawn = "\n".join([*legend, *ticks, *blocks])
    if not alone:
        return f'<svg class="chart broad" style="height: {height}px" {label}>\n{drawn}\n</svg>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {alone} {height}" {label}>\n'
        f'<style>{_ALONE}{STYLE}</style>\n<rect width="100%" height="100%" fill="white"/>\n{drawn}\n</svg>\n'
    )


class _Frame:
    """Maps values to positions in the picture."""

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
            text = f"{per_cent(tick, 0)}" if share else f"{tick:g}"
            parts.append(f'<path class="grid" d="M{_LEFT} {self.y(tick):.1f}H{_WIDTH - _RIGHT}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{self.y(tick) + 4:.1f}" text-anchor="end">{text}</text>')
        for tick in _ticks(*self.across):
            text = f"{per_cent(tick, 0)}" if share_x else f"{tick:g}"
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
    """Return three to six round values between `low` and `high`."""
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
    rows, row_height = -(-len(legend) // 2), 20
    entries = []
    for number, name in enumerate(legend):
        x, y = _LEFT + 160 * (number % 2), _HEIGHT + row_height * (number // 2) + 14
        entries.append(f'<circle class="dot s{number % 6}" cx="{x}" cy="{y - 4}" r="5"/>')
        entries.append(f'<text x="{x + 10}" y="{y}">{escape(name)}</text>')
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT + row_height * rows}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}{"".join(entries)}</svg>'
    )
