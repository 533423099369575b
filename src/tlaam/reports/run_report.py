"""The report of a run, ``report.html``: its results on one self-contained page."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from PIL import Image

from tlaam.config.names import BRANCHES
from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.errors import RunError
from tlaam.evaluation.confusion import MixedUp, mixed_up
from tlaam.evaluation.evaluate import evaluate, trained_on
from tlaam.evaluation.report import BEST_EPOCH, EvaluationReport, ImageResult
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.prediction import Prediction
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.reports.advice import advice_of
from tlaam.reports.credibility import calibration_of, ranks_of, rarity_of, verdicts_of
from tlaam.reports.evaluation_report import (
    VIEWS,
    figures_of,
    in_turns,
    measured_in,
    picture_beside_truth,
    rights,
    tables_of,
    won_and_lost,
)
from tlaam.reports.page import Chart, Figure, Gallery, Matrix, Panel, Part, Picture, Section, Table, write_page
from tlaam.reports.words import arithmetic
from tlaam.runs.data import own_data
from tlaam.runs.environment import environment
from tlaam.runs.folder import RunFolder
from tlaam.runs.splits import held_out_split, with_the_runs_splits
from tlaam.utils.text import per_cent
from tlaam.visualization.charts import Point, line_chart

PAIRS = 6
"""Number of most confused class pairs to show."""
LEAD = 3
"""Number of images shown before anything else."""
MATRIX = 40
"""Largest number of classes for which a confusion matrix is shown; with more, its cells would be too small to read."""
SHOWN = 6
"""Number of images of each kind (worst mistakes, least probable answers, ...)."""

_score = attrgetter("score")
_BRANCH_TITLES = {"raw": "whole image", "object": "object", "parts": "parts", "fused": "fused"}


def write_run_report(
    model: Engine | str | Path,
    data: LabelledImages | str | Path | None = None,
    *,
    split: Split | None = None,
    path: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    answers: PredictionCache | None = None,
    **options: Any,
) -> Path:
    """Evaluate a finished run, write its report and return the report's path.

    Args:
        model: the run folder, or its engine.
        data: the data to evaluate on; by default the data that the run was trained on, at its original location.
        split: the images to use; by default those that the run held out for validation, else a test split. Without
            either, the report covers the training only.
        path: the file to write; by default ``report.html`` in the run folder. An existing one is replaced.
        progress: called with (images done, images in all) while evaluating.
        answers: the engine's answers so far; images with an answer in this cache are not predicted again.
        **options: see `tlaam.inference.engine.load_engine`.

    Raises:
        RunError: the folder holds no finished run, or the page cannot be written.
        DataError: the data cannot be read or does not fit the run.
        ModelError: the run holds no usable model.
    """
    folder = finished_run(model)
    if data is None:
        images = own_data(folder.path, "report")
    else:
        images = data if isinstance(data, LabelledImages) else open_dataset(data, strict=False)
    engine = model if isinstance(model, Engine) else load_engine(folder.path, **options)
    seen = trained_on(engine)
    others = data is not None and seen is not None and not seen.is_of(images)  # the run was trained on none of them
    images = with_the_runs_splits(images, seen, folder.path)
    return _written(engine, images, others=others, split=split, path=path, progress=progress, answers=answers)


def write_own_report(
    engine: Engine,
    images: LabelledImages,
    *,
    progress: Callable[[int, int], None] | None = None,
    answers: PredictionCache | None = None,
) -> Path:
    """Write the report of a run that has just finished, on its own data.

    Args:
        engine: the engine of the run.
        images: the data that it was trained on, with the splits that training cut.
        progress, answers: see `write_run_report`.

    Raises:
        RunError, DataError: see `write_run_report`.
    """
    return _written(engine, images, others=False, progress=progress, answers=answers)


def _written(
    engine: Engine,
    images: LabelledImages,
    *,
    others: bool,
    split: Split | None = None,
    path: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    answers: PredictionCache | None = None,
) -> Path:
    """Write the report; `others` says that the images are not the data that the run was trained on."""
    folder = finished_run(engine)
    status, config = folder.read_json(folder.status), Config.from_yaml(folder.config)
    facts = folder.read_json(folder.data)
    chosen = split or held_out_split(images) or ("train" if others else None)
    parts: list[Part] = []
    report, speed, lead = None, None, None
    if chosen is not None:
        answers = answers or PredictionCache(engine)
        report = evaluate(engine, images, split=chosen, skip_unreadable=True, progress=progress, answers=answers)
        speed = engine.answered / engine.seconds if engine.seconds else None
        lead, parts = _measured(report, images, answers)
    history = _history(folder.history)
    learnt = {} if others else images.class_counts("train")
    if not others:
        parts = [Part("What to do", advice_of(report, learnt, status, history, config.training.epochs or 0)), *parts]
    parts.append(Part("How it was made", [*_curves(history), *_facts(config, status, history, speed, report)]))
    return write_page(
        path or folder.report,
        title=f"{images.name}: what the model learnt",
        intro=_intro(config, facts, status, report, images.name if others else ""),
        sections=parts,
        figures=[] if report is None else [*figures_of(report), *_time_spent(history)],
        lead=lead,
    )


def finished_run(model: Engine | str | Path) -> RunFolder:
    """Return the run folder that a model belongs to, after checking that the run has finished.

    Raises:
        RunError: the model was not loaded from a run folder, or the run has not finished.
    """
    folder = _run_of(model)
    folder.require_run()
    if folder.read_json(folder.status).get("state") != "finished":
        raise RunError(
            f"{folder.path} has not finished; its report is written at its end (train --resume RUN goes on)."
        )
    return folder


def _run_of(model: Engine | str | Path) -> RunFolder:
    """Return the run folder that a model belongs to.

    Raises:
        RunError: the model was not loaded from a run folder.
    """
    if not isinstance(model, Engine):
        if Path(model).is_file():
            raise RunError(
                f"{model} is a file, and a run's report needs its run folder. Of an exported file, "
                f"`tlaam evaluate {model} DATA --page FILE.html` writes what is measured on DATA."
            )
        return RunFolder(Path(model))
    if model.origin is None or not model.origin.is_dir():
        raise RunError("a run's report needs its run folder; give the folder that tlaam train wrote.")
    return RunFolder(model.origin)


def _intro(
    config: Config, facts: dict[str, Any], status: dict[str, Any], report: EvaluationReport | None, others: str
) -> str:
    """Describe what was trained and on which images it was evaluated.

    Args:
        others: name of the evaluated data if the model was not trained on it; else empty.
    """
    model, epochs = config.model, config.training.epochs
    before = status.get("started_from", {}).get("name")
    frozen = not epochs or status.get("kept") == "probe"
    how = "as it was pretrained, under classifiers that were solved" if frozen else f"trained for {epochs} epochs"
    if before is not None:
        how = f"as {before} has it, under classifiers solved anew" if frozen else f"started from {before} and {how}"
    text = (
        f"{model.backbone} at {model.image_size} pixels, {how} to tell {facts['classes']} classes of {facts['name']} "
        "apart, from image labels alone."
    )
    out_of_fold = status.get("probe", {}).get("out_of_fold_top1")
    if out_of_fold is not None:
        began = "Of the training images" if not epochs else "Before the first epoch, of the training images"
        text += (
            f" {began} {per_cent(out_of_fold)} were named right by classifiers that had not seen them (out of fold)."
        )
    if status.get("kept") == "probe":
        text += f" None of {epochs} epochs did better on held-out images, so the weights are those from before."
    text += "\n\n"
    if report is not None and others:
        shared = ", and images that it has learnt from flatter the figures" if report.split == "train" else ""
        return (
            f"{text}{measured_in(report)} of {others}, which is not the data set that it was trained on{shared}; "
            "curves are of the training."
        )
    if report is not None:
        return text + measured_on(report, config)
    if out_of_fold is None:
        return text + "There were no validation or test images, so nothing is known of how often it is right."
    return text + "There were no validation or test images: what is known of it is that figure."


def measured_on(report: EvaluationReport, config: Config) -> str:
    """Say which images a finished run was evaluated on, and whether this makes the figures optimistic."""
    flattering = ""
    if report.selected_on_these:
        flattering = " " + BEST_EPOCH
    elif report.split == "val" and config.training.keep == "best" and config.training.epochs:
        flattering = " The epoch was chosen by these images, so the figures flatter a little."
    return f"{measured_in(report)}.{flattering}"


def _measured(report: EvaluationReport, images: LabelledImages, cache: PredictionCache) -> tuple[Gallery, list[Part]]:
    """Return the gallery shown first, and the parts with the results."""
    by_name = {sample.name: sample for sample in images.samples}
    results = report.per_image
    right = [r for r in results if r.predicted["fused"] == r.label]
    wrong = [r for r in results if r.predicted["fused"] != r.label]
    pairs = mixed_up(results)
    galleries: dict[str, tuple[Sequence[ImageResult], str]] = {
        "Worst mistakes": (sorted(wrong, key=_score)[::-1], "Wrong, with the highest probabilities."),
        "Least probable answers": (sorted(results, key=_score), "The answers with the lowest probabilities."),
        "Worst boxes": (
            sorted((r for r in results if r.iou is not None), key=lambda r: r.iou or 0.0),
            "The object boxes that overlap least with the true ones (dashed).",
        ),
        "Most probable right answers": (sorted(right, key=_score)[::-1], ""),
    }
    first = _one_of_some_classes([by_name[r.name] for r in results])
    beside = pairs[:PAIRS]
    if len(results) <= SHOWN:  # each of these galleries would repeat the same few images
        leading = {sample.name for sample in first}
        galleries, beside = {"The other images": ([r for r in results if r.name not in leading], "")}, []
    shown = {sample.name for sample in first} | {r.name for found, _ in galleries.values() for r in found[:SHOWN]}
    shown |= {r.name for pair in beside for r in (pair.example, pair.other) if r is not None}
    samples = [by_name[name] for name in sorted(shown)]
    answers = {s.name: (s, p) for s, p in zip(samples, cache.of(samples), strict=True) if p.error is None}

    def pictures(names: Iterable[str]) -> list[Picture]:
        return [picture_beside_truth(*answers[name], images.classes) for name in names if name in answers]

    sections: list[Section] = [*tables_of({"": report}, {}), _branches(report)]
    if len(report.classes) <= MATRIX:
        sections.append(_matrix(report))
    if wrong:
        sections.append(_mixed_up(pairs, report.classes))
    sections.append(calibration_of(report))
    sections += [*rarity_of(report), *ranks_of(report), verdicts_of(report, cache.engine.detector)]
    shown_last = [_pair_gallery(beside, report.classes, answers)]
    for title, (found, note) in galleries.items():
        shown_last.append(Gallery(title, pictures(r.name for r in found[:SHOWN]), note))
    lead = pictures(sample.name for sample in first)
    return (
        Gallery("", lead, f"The first image of each of {len(lead)} classes, whatever came out. {VIEWS}"),
        [Part("How good it is", sections), Part("Pictures", shown_last)],
    )


def _one_of_some_classes(samples: Sequence[Sample]) -> list[Sample]:
    """Return the first image of each of a few classes, spread as widely as possible over the data set's order."""
    first = in_turns(samples, len({sample.label for sample in samples}))
    count = min(LEAD, len(first))
    return [first[number * len(first) // count] for number in range(count)]


def _branches(report: EvaluationReport) -> Table:
    rows: list[Sequence[str | int]] = []
    for branch in BRANCHES[1:]:
        if branch in report.classification and "raw" in report.classification:
            rows.append((_BRANCH_TITLES[branch], *won_and_lost(rights(report, branch), rights(report, "raw"))))
    return Table(
        "What looking closer changes",
        ("Level", "Right where the whole image is wrong", "Wrong where the whole image is right"),
        rows,
        "Numbers of images.",
    )


def _matrix(report: EvaluationReport) -> Matrix:
    return Matrix(
        "What was taken for what",
        report.classes,
        report.classification["fused"].confusion.tolist(),
        "Rows are the true classes, columns what they were taken for, by their numbers; right answers lie on the "
        "diagonal. The stronger the colour, the more of the class.",
    )


def _mixed_up(pairs: Sequence[MixedUp], classes: Sequence[str]) -> Table:
    shown = PAIRS if len(classes) <= MATRIX else 3 * PAIRS  # the matrix shows the rest
    rows = [(f"{classes[p.first]} and {classes[p.second]}", p.count, p.forth, p.back) for p in pairs[:shown]]
    return Table(
        "Most mixed up",
        ("Classes", "Images", "First taken for second", "Second taken for first"),
        rows,
        f"{sum(p.count for p in pairs)} mistakes in all.",
    )


def _pair_gallery(
    pairs: Sequence[MixedUp], classes: Sequence[str], answers: dict[str, tuple[Sample, Prediction]]
) -> Gallery:
    pictures = []
    for pair in pairs:
        taken = classes[pair.example.predicted["fused"]]
        shown = [result for result in (pair.example, pair.other) if result is not None and result.name in answers]
        columns = [(classes[result.label], _views(*answers[result.name])) for result in shown]
        panels = [Panel(name, views[0]) for name, views in columns]
        if all(len(views) > 1 for _, views in columns):
            panels += [Panel("object", views[1]) for _, views in columns]
        if panels:
            pictures.append(
                Picture(
                    panels,
                    f"{classes[pair.example.label]} taken for {taken} with {per_cent(pair.example.score, 0)}",
                    detail=" | ".join(result.name for result in shown),
                )
            )
    return Gallery(
        "Side by side",
        pictures,
        "Of each pair, the mistake with the highest probability (left), and an image of the class it was taken for "
        "(right).",
    )


def _views(sample: Sample, prediction: Prediction) -> list[Image.Image]:
    """Return the image with its boxes, and the object if there is one."""
    alone = replace(prediction, heatmap=None, part_boxes=None)
    return list(alone.views().values())


def _history(path: Path) -> list[dict[str, float | None]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [{k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(stream)]
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path} is not a run's history: {error}.") from error


def _curves(history: Sequence[dict[str, float | None]]) -> list[Section]:
    def lines(prefix: str, names: Sequence[str]) -> dict[str, list[Point]]:
        found = {}
        for name in names:
            points = [(r["epoch"], r[prefix + name]) for r in history if r.get(prefix + name) is not None]
            if points:
                found[_BRANCH_TITLES.get(name, name)] = [(float(e or 0), float(v or 0)) for e, v in points]
        return found

    sections: list[Section] = []
    top1, losses = lines("val_top1_", BRANCHES), lines("loss_", [*BRANCHES[:3], "foreground", "own", "joint"])
    if top1:
        chart = line_chart(top1, x="epoch", y="right", share=True)
        sections.append(
            Chart("How it learnt: validation images", chart, "Share of the validation images it has right.")
        )
    if losses:
        sections.append(Chart("How it learnt: losses", line_chart(losses, x="epoch", y="loss"), "On training images."))
    return sections


def _seconds(history: Sequence[dict[str, float | None]]) -> list[float]:
    """Return the duration of each epoch, where it is known."""
    return [row["seconds"] for row in history if row["seconds"] is not None]


def _time_spent(history: Sequence[dict[str, float | None]]) -> list[Figure]:
    seconds = _seconds(history)
    return [Figure(_duration(sum(seconds)), "of training", f"{len(seconds)} epochs")] if seconds else []


def _facts(
    config: Config,
    status: dict[str, Any],
    history: Sequence[dict[str, float | None]],
    speed: float | None,
    report: EvaluationReport | None,
) -> list[Section]:
    seconds = _seconds(history)
    rows: list[tuple[str, str]] = []
    if seconds:
        rows += [("training", _duration(sum(seconds))), ("an epoch", _duration(sum(seconds) / len(seconds)))]
    if "probe" in status:
        rows.append(("probe", _duration(status["probe"]["seconds"])))
    if status.get("pseudo_mask_seconds"):
        rows.append(("pseudo masks", _duration(status["pseudo_mask_seconds"])))
    if "memory_bytes" in status:
        rows.append(("memory at most", f"{status['memory_bytes'] / 2**30:.1f} GiB"))
    if speed is not None:
        rows.append(("answering", f"{speed:.1f} images a second, read and answered"))
    if report is not None and report.precision:
        rows.append(("measured in", arithmetic(report.precision)))
    here = environment()
    rows.append(("this report's machine", here["gpu"] or here["processor"]))
    rows += [(f"trained with {name}", str(version)) for name, version in status.get("versions", {}).items()]
    settings = [(n, _setting(v)) for section in config.to_nested().values() for n, v in section.items()]
    return [
        Table("Time and machine", ("What", "How much"), rows, facts=True),
        Table("Settings", ("Option", "Value"), settings, facts=True),
    ]


def _setting(value: Any) -> str:
    """Return a value as it is written on the command line, except that None becomes a dash."""
    if value is None:
        return "—"
    return value if isinstance(value, str) else json.dumps(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
