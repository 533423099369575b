"""The page of a comparison: its tables, and the same images as seen by every system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tlaam.comparison.results import MEASURES, Row, Spread, cell
from tlaam.data.sample import LabelledImages, Sample
from tlaam.inference.engine import load_engine
from tlaam.reports.evaluation_report import VIEWS, in_turns, picture_beside_truth
from tlaam.reports.page import Cell, Chart, Gallery, Picture, Section, Table, write_page
from tlaam.visualization.charts import spread_chart

PICTURES = 4
"""Number of images shown for all systems."""
_CHARTED = {
    "raw.top1": "top-1, whole image",
    "object.top1": "top-1, object",
    "parts.top1": "top-1, parts",
    "fused.top1": "top-1, fused",
    "box.gt_known_0.5": "boxes, IoU ≥ 0.5",
    "box.mean_iou": "boxes, mean IoU",
}


def write_comparison_page(
    folder: Path,
    images: LabelledImages,
    summary: Mapping[str, Mapping[str, Spread]],
    differences: Sequence[Row],
    titles: Mapping[str, str],
    *,
    measured_on: str,
    measured: Sequence[Sample],
    drawn: str,
    runs: Mapping[str, str],
    conditions: Sequence[tuple[str, str]],
    command: str,
    note: str = "",
) -> Path:
    """Write ``index.html`` into a comparison's folder and return its path.

    Args:
        folder: the folder of the comparison.
        images: the data set of the comparison.
        summary: means and deviations by system and measure.
        differences: between systems.
        titles: display title of each system.
        measured_on: description of the measured images.
        measured: those of them that the runs of `runs` were measured on.
        drawn: what the bootstrap resamples besides seeds.
        runs: for each system, the folder in ``runs/`` to make its pictures with.
        conditions: the conditions of the comparison (`tlaam.comparison.conditions`).
        command: the command that repeats the comparison.
        note: a sentence that applies to all figures.
    """
    shown = [name for name in _CHARTED if any(name in measures for measures in summary.values())]
    spreads = [
        (
            f"{titles[system]} ({system})",
            {_CHARTED[name]: (measures[name].mean, measures[name].std) for name in shown if name in measures},
        )
        for system, measures in summary.items()
    ]
    numbers: list[Sequence[Cell]] = [
        # Do not break lines within "88.1 ± 0.4".
        (title, *(cell(name, measures.get(name)).replace(" ", "\N{NO-BREAK SPACE}") for measures in summary.values()))
        for name, title in MEASURES.items()
        if any(name in measures for measures in summary.values())
    ]
    rows: list[Sequence[Cell]] = [
        (
            f"{titles[row.first]}: {row.first_branch}",
            f"{titles[row.second]}: {row.second_branch}",
            f"{100 * row.mean:+.1f}",
            f"{100 * row.low:+.1f} to {100 * row.high:+.1f}",
            "yes" if row.decided else "no",
        )
        for row in differences
    ]
    sections: list[Section] = [
        Chart(
            "At a glance",
            spread_chart(spreads, [_CHARTED[name] for name in shown]),
            "Dots are means over seeds, bars one standard deviation to each side.",
            wide=True,
        ),
        Table(
            "Every measure",
            ("Measure", *summary),
            numbers,
            "Mean ± standard deviation over seeds. The names are those in brackets above: by them systems are chosen, "
            "and their runs lie in runs/NAME-SEED (of folds in runs/NAME-SEED-foldNUMBER).",
        ),
        Table(
            "Differences of top-1, in points",
            ("Of", "Minus", "Points", "95 % interval", "Excludes zero"),
            rows,
            f"Paired bootstrap over {drawn} and seeds. Each interval is for itself: of twenty contrasts about one "
            "excludes zero by chance.",
        ),
        Table("What was compared, and how", ("Condition", "Value"), conditions, f"Made again by: {command}"),
    ]
    pictures = _pictures(folder, images, in_turns(measured, PICTURES), runs, titles)
    return write_page(
        folder / "index.html",
        title=f"{images.name}: systems compared",
        intro=(
            f"All systems saw the same images under the same settings and were measured on {measured_on}. "
            f"{note}\n\n"
            "The pictures show the first of them as each system's first run saw them, right or wrong."
        ),
        sections=[*sections, *pictures],
    )


def _pictures(
    folder: Path, images: LabelledImages, samples: Sequence[Sample], runs: Mapping[str, str], titles: Mapping[str, str]
) -> list[Gallery]:
    """Return one gallery per image that shows what every system saw of it."""
    found: list[list[Picture]] = []
    for system in titles:
        predictions = load_engine(folder / "runs" / runs[system]).predict(samples)
        pictures = [picture_beside_truth(*pair, images.classes) for pair in zip(samples, predictions, strict=True)]
        found.append([replace(p, caption=f"{titles[system]} ({runs[system]}): {p.caption}") for p in pictures])
    return [
        Gallery(f"Image {number}", of_image, f"It is {images.classes[sample.label]}. {VIEWS if number == 1 else ''}")
        for number, (sample, of_image) in enumerate(zip(samples, zip(*found, strict=True), strict=True), start=1)
    ]
