"""The files of a comparison of trained models: all changed answers as JSON, and a page that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlaam.comparison.models import MeasuredModel, ModelComparison
from tlaam.errors import RunError
from tlaam.inference.prediction import Prediction
from tlaam.reports.evaluation_report import in_turns
from tlaam.reports.page import Cell, Figure, Gallery, Panel, Picture, Section, Table, write_page
from tlaam.utils.atomic import full_disk_named, write_json
from tlaam.utils.text import per_cent

RESULTS, PAGE = "models.json", "index.html"
PICTURES = 24
"""Maximum number of images shown for each kind of change."""


def write_model_comparison(folder: Path, comparison: ModelComparison) -> Path:
    """Write ``models.json`` and ``index.html`` into a folder, and return the path of the page.

    Raises:
        RunError: the folder holds a comparison of systems, whose page would be replaced, or a run; or the disk is full.
    """
    require_own(folder)
    with full_disk_named(folder, "try again."):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / RESULTS, comparison.to_dict())
        return _write_page(folder / PAGE, comparison)


def require_own(folder: Path) -> None:
    """Check that a folder holds neither a comparison of systems nor a run.

    Raises:
        RunError: it holds one of these.
    """
    if any((folder / name).exists() for name in ("comparison.json", "config.yaml")):
        raise RunError(f"{folder} holds a comparison of systems, or a run; choose another folder for --out.")


def _write_page(path: Path, comparison: ModelComparison) -> Path:
    first, *others = comparison.models
    rows: list[Sequence[Cell]] = [
        (m.name, m.classes, m.top1, m.macro_f1, "—" if m.nll is None else f"{m.nll:.3f}") for m in comparison.models
    ]
    differences: list[Sequence[Cell]] = [
        (row.first, row.second, *(f"{100 * value:+.1f}" for value in (row.mean, row.low, row.high)))
        for row in comparison.differences
    ]
    sections: list[Section] = [
        Table("Models", ("Model", "Classes", "Top-1", "Macro-F1", "NLL"), rows, " ".join(comparison.notes)),
        Table(
            "Differences of top-1, in points",
            ("Of", "Minus", "Points", "95 % from", "to"),
            differences,
            "Paired bootstrap over images, or their groups: how other images would be answered for.",
        ),
    ]
    for model in others:
        sections += [_gallery(comparison, model, right=False), _gallery(comparison, model, right=True)]
    figures = [Figure(f"{100 * m.top1:.1f}\N{NO-BREAK SPACE}%", "right", m.name) for m in comparison.models]
    return write_page(
        path,
        title=f"{comparison.data}: models compared",
        intro=(
            f"All models answered for the same {len(comparison.samples)} images of the {comparison.split} split. "
            f"Each is compared with {first.name}. {RESULTS} lists every answer that changed."
        ),
        sections=sections,
        figures=figures,
    )


def _gallery(comparison: ModelComparison, model: MeasuredModel, *, right: bool) -> Gallery:
    first = comparison.models[0]
    places = comparison.changed(model, right=right)
    place_of = {comparison.samples[place].name: place for place in places}
    pictures = []
    for sample in in_turns([comparison.samples[place] for place in places], PICTURES):
        place, label = place_of[sample.name], comparison.classes[sample.label]
        before, after = first.predictions[place], model.predictions[place]
        true_box = sample.box_in_picture(before.size[1])
        panels = [
            Panel(
                f"{m.name}: {p.label} {per_cent(p.score or 0, 0)}",
                next(iter(_alone(p).views(true_box=true_box).values())),
            )
            for m, p in ((first, before), (model, after))
        ]
        pictures.append(Picture(panels, f"It is {label}; {after.label} after {before.label}", right, sample.name))
    what = "right" if right else "wrong"
    shown = "all are shown" if len(pictures) == len(places) else f"{len(pictures)} are shown, of each class in turn"
    return Gallery(
        f"Became {what} with {model.name}",
        pictures,
        f"{len(places)} answers, wrong by {first.name if right else model.name} alone; {shown}. With the boxes found.",
    )


def _alone(prediction: Prediction) -> Prediction:
    return replace(prediction, heatmap=None, part_boxes=None)
