"""The report of an evaluation: tables and pictures of the measured images, right or wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample
from tlaam.evaluation.heatmaps import HeatmapReport
from tlaam.evaluation.report import BEST_EPOCH, TRIVIAL_TITLES, EvaluationReport
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.reports.credibility import calibration_of, ranks_of, rarity_of, verdicts_of
from tlaam.reports.page import Figure, Gallery, Panel, Picture, Table, write_page
from tlaam.reports.words import arithmetic, images_of, interval, points
from tlaam.utils.text import per_cent

PICTURES = 40
_WORTH_SAYING = 0.005
"""Minimum probability for listing another class beside the answer; anything less is displayed as 0 %."""
VIEWS = (
    "Of each image: the boxes found (dashed: the true one, where it is known), the heat map that the object was found "
    "by, the object and its parts, where the model has them."
)
"""Explains what the pictures of predictions show."""


def write_evaluation_report(
    path: Path,
    model: Engine | PredictionCache,
    data: LabelledImages | Path | str,
    report: EvaluationReport,
    *,
    count: int = PICTURES,
) -> Path:
    """Write the HTML page of an evaluation and return its path.

    Args:
        path: the file to write; an existing one is replaced.
        model: the engine that was evaluated, or the cache of its answers.
        data: the data set it was evaluated on.
        report: what `tlaam.evaluation.evaluate.evaluate` returned for the two.
        count: number of images to show, taken from the classes in turn; never selected by result.

    Raises:
        RunError: the file cannot be written.
    """
    images = data if isinstance(data, LabelledImages) else open_dataset(data, strict=False)
    measured = {image.name for image in report.per_image}
    samples = in_turns([s for s in images.samples if s.name in measured], count)
    answers = PredictionCache(model) if isinstance(model, Engine) else model
    predictions = answers.of(samples)
    pictures = [picture_beside_truth(*pair, images.classes) for pair in zip(samples, predictions, strict=True)]
    wrong = sum(picture.good is False for picture in pictures)
    return write_page(
        path,
        title=f"{report.data}: what the model saw",
        intro=(f"{measured_in(report)}.{' ' + BEST_EPOCH if report.selected_on_these else ''}"),
        figures=figures_of(report),
        sections=[
            *tables_of({"": report}, {}),
            calibration_of(report),
            *rarity_of(report),
            *ranks_of(report),
            verdicts_of(report, answers.engine.detector),
            Gallery(
                "Pictures",
                pictures,
                f"Of each class the first images, in turn, whatever came out: {len(pictures)} images, {wrong} of them "
                f"wrong. {VIEWS}",
            ),
        ],
    )


def picture_beside_truth(sample: Sample, prediction: Prediction, classes: Sequence[str]) -> Picture:
    """Return the picture of an error-free prediction, with the true class and box, marked as right or wrong."""
    label = classes[sample.label]
    views = prediction.views(true_box=sample.box_in_picture(prediction.size[1]))
    (name, probability), *others = prediction.top(3)
    answer = f"{name} {per_cent(probability, 0)}" + ("" if name == label else f", it is {label}")
    said = [f"{other} {per_cent(share, 0)}" for other, share in others if share >= _WORTH_SAYING]
    others_said = "else " + ", ".join(said) if said else ""
    return Picture(
        [Panel(view, image) for view, image in views.items()],
        answer,
        good=name == label,
        detail=" · ".join(filter(None, (prediction.doubt, others_said, sample.name))),
    )


def measured_in(report: EvaluationReport) -> str:
    """Say on what and at which precision a model was measured, without a full stop."""
    within = f"in {arithmetic(report.precision)} " if report.precision else ""
    return f"Measured {within}on {report.images} {images_of(report.split)}"


def figures_of(report: EvaluationReport) -> list[Figure]:
    """Return the headline figures of an evaluation."""
    found = [right_of(report)]
    if len(report.classification) > 2 and "raw" in report.classification:
        fused, whole = report.classification["fused"], report.classification["raw"]
        exchanged = _exchanged(*won_and_lost(rights(report), rights(report, "raw")))
        note = f"over the whole image alone, {per_cent(whole.top1)}: {exchanged}"
        found.append(Figure(points(fused.top1 - whole.top1), "points by looking closer", note))
    if report.localization is not None:
        share, known = report.localization.measures()["gt_known_0.5"], report.localization.images
        found.append(Figure(per_cent(share), "objects found", f"IoU ≥ 0.5, on {known} images with a true box"))
    fused = report.classification["fused"]
    about = f"how far its probabilities are off, without what chance adds; expected, with it: {per_cent(fused.ece)}"
    found.append(Figure(per_cent(fused.debiased_calibration_error), "calibration error", about))
    return found


def right_of(report: EvaluationReport, name: str = "right") -> Figure:
    """Return the share of right answers with its confidence interval."""
    fused = report.classification["fused"]
    within = f"; measured in {arithmetic(report.precision)}" if report.precision else ""
    likely = interval(round(fused.top1 * report.images), report.images)
    about = f"of {report.images} images, {len(report.classes)} classes (95 % interval {likely}){within}"
    return Figure(per_cent(fused.top1), name, about)


def gain_of(report: EvaluationReport, other: EvaluationReport, name: str) -> Figure:
    """Return the gain in accuracy over another model on the same images; `name`, the title, says over what."""
    gained = report.classification["fused"].top1 - other.classification["fused"].top1
    return Figure(points(gained), name, _exchanged(*won_and_lost(rights(report), rights(other))))


def rights(report: EvaluationReport, branch: str = "fused") -> list[bool]:
    """Return for each image whether the given branch is right."""
    return [result.predicted[branch] == result.label for result in report.per_image]


def won_and_lost(mine: Sequence[bool], others: Sequence[bool]) -> tuple[int, int]:
    """Return how many images only `mine` has right, and how many only `others` has right."""
    pairs = list(zip(mine, others, strict=True))
    return sum(m and not o for m, o in pairs), sum(o and not m for m, o in pairs)


def _exchanged(won: int, lost: int) -> str:
    return f"{won} images right that were wrong, {lost} the other way round"


def tables_of(reports: Mapping[str, EvaluationReport], titles: Mapping[str, str]) -> list[Table]:
    """Return the tables of a page: accuracy by model title and branch, and boxes compared with trivial ones."""
    branches = {"raw": "whole image", "object": "object", "parts": "parts", "fused": "all levels fused"}
    rows: list[Sequence[str | int | float | None]] = []
    for name, report in reports.items():
        shown = {"fused": "whole image"} if set(report.classification) == {"raw", "fused"} else branches
        for branch, title in shown.items():
            if branch in report.classification:
                measured = report.classification[branch]
                level = title if len(reports) == 1 else f"{titles.get(name, name)}: {title}"
                rows.append((level, measured.top1, measured.macro_f1))
    corner = "Level" if len(reports) == 1 else "Model and level"
    note = (
        "A model's answer is that of all levels fused; by chance another row may be above it." if len(rows) > 1 else ""
    )
    found = [Table("How often it is right", (corner, "Right", "F1, mean of classes"), rows, note, ranked=True)]
    located = {name: report.localization for name, report in reports.items() if report.localization is not None}
    for localization in located.values():
        boxes = {"box found": localization.measures()}
        boxes |= {TRIVIAL_TITLES[name]: trivial.measures() for name, trivial in localization.trivial.items()}
        found.append(
            Table(
                "How well it finds the object",
                ("Box", *_BOX_COLUMNS.values()),
                [(name, *(measured[column] for column in _BOX_COLUMNS)) for name, measured in boxes.items()],
                note="No box was used in training. The last two rows are fixed boxes that need no model.",
                ranked=True,
            )
        )
    for report in reports.values():
        if report.heatmaps is not None:
            found.append(_heatmap_table(report.heatmaps))
    return found


_BOX_COLUMNS = {
    "mean_iou": "Mean IoU",
    "gt_known_0.3": "IoU ≥ 0.3",
    "gt_known_0.5": "IoU ≥ 0.5",
    "gt_known_0.7": "IoU ≥ 0.7",
    "top1_loc_0.5": "IoU ≥ 0.5 and name right",
}


def _heatmap_table(heatmaps: HeatmapReport) -> Table:
    measured = heatmaps.summary()
    rows: list[Sequence[str | int | float | None]] = [
        (title, measured[name]) for name, title in _HEATMAP_ROWS.items() if name in measured
    ]
    return Table(
        "How well the heat map marks it",
        ("Measure", "Share"),
        rows,
        note="Where a box drawn on the map at its best threshold is much better than the box found, the threshold is "
        "what is wrong.",
    )


_HEATMAP_ROWS = {
    "max_box_acc": "MaxBoxAcc: boxes with IoU ≥ 0.5 at the threshold that is best on these images (oracle)",
    "max_box_acc_v2": "MaxBoxAccV2: mean over IoU 0.3, 0.5, 0.7, each at its best threshold (oracle)",
    "box_acc_val_threshold": "BoxAcc at the threshold that is best on validation boxes",
    "box_acc_v2_val_threshold": "BoxAccV2 at the thresholds that are best on validation boxes",
    "pointing_game": "Pointing game: the map's maximum lies in the true box",
}


def in_turns(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return the first `count` samples, taking the classes in turn."""
    seen: Counter[int] = Counter()
    turns = []
    for place, sample in enumerate(samples):
        turns.append((seen[sample.label], place))
        seen[sample.label] += 1
    return [samples[place] for _, place in sorted(turns)[:count]]
