"""Turn the ``results.json`` of `tlaam compare` into what docs show of it: Markdown tables, and a picture.

    python benchmarks/glance.py RESULTS.json [--picture FILE.svg]

tests/test_results.py holds the docs to what this prints.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

COLUMNS = {
    "raw.top1": "whole image",
    "object.top1": "object",
    "parts.top1": "parts",
    "fused.top1": "**fused**",
    "box.mean_iou": "box: mean IoU",
    "box.gt_known_0.3": "IoU ≥ 0.3",
    "box.gt_known_0.5": "IoU ≥ 0.5",
    "box.gt_known_0.7": "IoU ≥ 0.7",
    "minutes": "minutes",
    "memory": "GiB",
}
"""Measures of the table, and what they are called there; all but the last two are shares, shown in per cent."""


def table(results: Mapping[str, Any]) -> str:
    """Return a row a system: means ± standard deviations over its seeds."""
    rows = [["system", "seeds", *COLUMNS.values()]]
    seeds = {name: sum(run["system"] == name for run in results["runs"]) for name in results["summary"]}
    for system, measures in results["summary"].items():
        cells = [_cell(name, measures.get(name)) for name in COLUMNS]
        rows.append([results["systems"][system]["title"], str(seeds[system]), *cells])
    return _markdown(rows)


def _cell(name: str, spread: Mapping[str, Any] | None) -> str:
    if spread is None:
        return "–"
    factor = 1 if name in ("minutes", "memory") else 100
    deviation = "" if spread["std"] is None else f" ± {factor * spread['std']:.1f}"
    return f"{factor * spread['mean']:.1f}{deviation}"


def differences(results: Mapping[str, Any], than: str) -> str:
    """Return how many points of fused top-1 each system has more than `than`, with intervals; bold where decided."""
    rows = [[f"fused top-1 minus that of {results['systems'][than]['title']}", "points", "95 % interval"]]
    for row in results["differences"]:
        if row["first_branch"] == row["second_branch"] and than in (row["first"], row["second"]):
            sign = 1 if row["second"] == than else -1
            other = row["first"] if sign == 1 else row["second"]
            low, high = sorted((sign * row["low"], sign * row["high"]))
            points = f"{100 * sign * row['mean']:+.1f}"
            decided = low > 0 or high < 0
            interval = f"{_points(low)} to {_points(high)}"
            rows.append([results["systems"][other]["title"], f"**{points}**" if decided else points, interval])
    return _markdown(rows)


def _points(share: float) -> str:
    text = f"{100 * share:+.1f}"
    return text if float(text) or not share else f"{100 * share:+.2f}"  # an end next to zero shows its side


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body]) + "\n"


_ROW, _LEFT, _WIDTH, _TOP = 22, 230, 620, 34
_SHOWN = {"fused.top1": "#1b6ca8", "box.gt_known_0.5": "#d1701f"}


def picture(results: Mapping[str, Any]) -> str:
    """Return an SVG: a line a system, with a dot for its top-1 and one for its boxes, and bars of ± one deviation."""
    systems = results["summary"]
    height = _TOP + _ROW * len(systems) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 30} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="100%" height="{height}" fill="white"/>',
    ]
    for tick in range(0, 101, 20):
        x = _x(tick / 100)
        lines.append(f'<path d="M{x:.1f} {_TOP - 8}V{height - 26}" stroke="#ddd"/>')
        lines.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle" fill="#555">{tick} %</text>')
    for index, (name, colour) in enumerate(_SHOWN.items()):
        label = {"fused.top1": "fused top-1", "box.gt_known_0.5": "boxes with IoU ≥ 0.5"}[name]
        lines.append(f'<circle cx="{_LEFT + 8 + 190 * index}" cy="14" r="5" fill="{colour}"/>')
        lines.append(f'<text x="{_LEFT + 18 + 190 * index}" y="18">{label}</text>')
    for row, (system, measures) in enumerate(systems.items()):
        y = _TOP + _ROW * row + _ROW / 2
        title = escape(results["systems"][system]["title"])
        lines.append(f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{title}</text>')
        for name, colour in _SHOWN.items():
            if name in measures:
                mean, deviation = measures[name]["mean"], measures[name]["std"] or 0.0
                low, high = _x(mean - deviation), _x(mean + deviation)
                lines.append(f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="{colour}" stroke-width="3" opacity="0.5"/>')
                lines.append(f'<circle cx="{_x(mean):.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def _x(share: float) -> float:
    return _LEFT + _WIDTH * min(max(share, 0.0), 1.0)


def main() -> None:
    """Print the tables of a results file, and draw its picture where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    results = json.loads(given.results.read_text(encoding="utf-8"))
    print(table(results))
    for than in dict.fromkeys((results["first"], *(name for name in ("plain",) if name in results["systems"]))):
        print(differences(results, than))
    if given.picture is not None:
        given.picture.write_text(picture(results), encoding="utf-8")


if __name__ == "__main__":
    main()
