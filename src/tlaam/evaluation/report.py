"""All measures of one model on one split, as JSON and as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tlaam.config.names import BRANCHES, FINAL_BRANCH
from tlaam.evaluation.classification import ClassificationReport
from tlaam.evaluation.heatmaps import HeatmapReport
from tlaam.evaluation.localization import LocalizationReport
from tlaam.evaluation.masks import MaskReport
from tlaam.evaluation.parts import PartReport
from tlaam.evaluation.ranks import RankReport
from tlaam.evaluation.rarity import Band, lines_of
from tlaam.reference.ood_detector import Verdict

BEST_EPOCH = "Best-epoch protocol: the epoch was chosen on these very images, so the figures flatter."
"""The text that every output shows for such a measurement."""

_CLASSIFICATION_TITLES = {
    "top1": "top-1 %",
    "top5": "top-5 %",
    "macro_f1": "macro-F1 %",
    "ece": "calib. error %",
    "debiased_calibration_error": "debiased %",
}
_LOCALIZATION_TITLES = {
    "mean_iou": "mean IoU %",
    "gt_known_0.3": "IoU>=0.3 %",
    "gt_known_0.5": "IoU>=0.5 %",
    "gt_known_0.7": "IoU>=0.7 %",
    "top1_loc_0.5": "top-1 loc. %",
}
TRIVIAL_TITLES = {"full": "whole image", "center_0.7": "central 70 %"}


@dataclass(frozen=True)
class ImageResult:
    """How one image was answered.

    Attributes:
        name: the image within its data set.
        label: its class, by the model's class index.
        predicted: the most probable class by branch.
        score: probability of the fused answer.
        iou: intersection over union of the predicted and the true box; None if either is missing.
        verdict: the model's verdict on its answer; None for a model without a reference index (docs/strangers.md).
        label_score: probability that the fused answer gives to the true class; NaN if it is not known.
    """

    name: str
    label: int
    predicted: Mapping[str, int]
    score: float
    iou: float | None
    verdict: Verdict | None = None
    label_score: float = math.nan


@dataclass(frozen=True)
class EvaluationReport:
    """The result of `evaluate`.

    Attributes:
        data: name of the data set.
        split: the split measured.
        images: number of images measured.
        classes: class names, in the order of the confusion matrix.
        classification: a report for each of `BRANCHES` that the model has; ``fused`` always.
        localization: measures of the object boxes, or None if the data has no boxes.
        heatmaps: measures of the heat maps, or None if the data has no boxes.
        parts: measures of the part windows, or None if the data has no part locations or the model no parts.
        masks: measures of the heat maps by masks, or None if the data has none or the model draws no maps.
        per_image: how each image was answered, in the data set's order, as paired comparisons need it.
        selected_on_these: whether the run chose its epoch on this very split (``select_on=test``), which makes the
            figures flattering.
        images_with_boxes: number of images with a true box, whether or not the model draws boxes.
        precision: the numerical precision of the measurement, ``32-true`` or ``bf16-mixed``, for an exported file
            ``fp32``, ``fp16`` or ``int8``; empty if it is not known.
        box_doubt: why the true boxes seem to belong to smaller copies of the images (`tlaam.data.boxes`); else empty.
        seconds: time spent on reading and answering, without loading the model; 0 if it was not measured.
        ranks: accuracy by rank and whether the promise held; None if nothing was promised.
        rarity: how well rare and frequent classes are recognised, the rarest first; empty if training had about equally
            many images of each class, or their numbers are not known.
    """

    data: str
    split: str
    images: int
    classes: Sequence[str] = field(repr=False)
    classification: Mapping[str, ClassificationReport]
    localization: LocalizationReport | None = None
    heatmaps: HeatmapReport | None = None
    parts: PartReport | None = None
    masks: MaskReport | None = None
    per_image: Sequence[ImageResult] = field(default=(), repr=False)
    selected_on_these: bool = False
    images_with_boxes: int = 0
    precision: str = ""
    seconds: float = 0.0
    box_doubt: str = ""
    ranks: RankReport | None = None
    rarity: Sequence[Band] = ()

    def __post_init__(self) -> None:
        branches = set(self.classification)
        if FINAL_BRANCH not in branches or not branches <= set(BRANCHES):
            raise ValueError(f"Branches must be among {BRANCHES} and include {FINAL_BRANCH!r}; received {branches}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, ready for strict JSON.

        ``classification``, ``localization``, ``parts`` and ``masks`` follow the documented contract (the latter three
        are left out if there is nothing to measure). ``per_class`` is given for every branch, and ``confusion`` (rows
        are the true classes, columns the predicted ones) for the fused prediction.
        """
        final = self.classification[FINAL_BRANCH]
        values: dict[str, Any] = {
            "data": self.data,
            "split": self.split,
            "images": self.images,
            "images_with_boxes": self.images_with_boxes,
            "selected_on_these": self.selected_on_these,
            "precision": self.precision or None,
            "classes": list(self.classes),
            "classification": {name: self.classification[name].summary() for name in self._branches()},
        }
        if self.box_doubt:
            values["box_doubt"] = self.box_doubt
        if self.localization is not None:
            values["localization"] = self.localization.summary()
            if self.heatmaps is not None:
                values["localization"] |= self.heatmaps.summary()
        if self.parts is not None:
            values["parts"] = self.parts.summary()
        if self.masks is not None:
            values["masks"] = self.masks.summary()
        if self.ranks is not None:
            values["taxonomy"] = self.ranks.summary()
        if self.rarity:
            values["rarity"] = [band._asdict() for band in self.rarity]
        values["per_class"] = {name: self.classification[name].per_class for name in self._branches()}
        values["confusion"] = final.confusion.tolist()
        return values

    def table(self) -> str:
        """Return the report as lines of ASCII text (for an ASCII data set name), without a trailing newline."""
        rows = {name: self.classification[name].summary() for name in self._branches()}
        heading = f"{self.data}, {self.split} split: {self.images} images, {len(self.classes)} classes"
        heading += f", measured in {self.precision}" if self.precision else ""
        if self.selected_on_these:
            heading += f"\n{BEST_EPOCH}"
        blocks = [heading, _text_table("branch", _CLASSIFICATION_TITLES, rows)]
        if self.rarity:
            blocks.append(lines_of(self.rarity))
        if self.ranks is not None:
            blocks.append(self.ranks.lines())
        if self.localization is not None:
            boxes = {"object box": self.localization.measures()}
            for name, report in self.localization.trivial.items():
                boxes[TRIVIAL_TITLES.get(name, name)] = report.measures()
            title = f"box ({self.localization.images} known)"
            blocks.append(_text_table(title, _LOCALIZATION_TITLES, boxes))
        if self.heatmaps is not None:
            blocks.append(_heatmap_line(self.heatmaps.summary()))
        if self.masks is not None:
            blocks.append(
                f"heat maps by masks ({self.masks.images} known): PxAP {100 * self.masks.pxap:.1f} %; of the same map "
                f"in the middle of every image {100 * self.masks.center_pxap:.1f} %"
            )
        if self.parts is not None:
            blocks.append(_parts_line(self.parts))
        return "\n\n".join(blocks)

    def _branches(self) -> list[str]:
        return [name for name in BRANCHES if name in self.classification]


def _heatmap_line(measures: Mapping[str, float]) -> str:
    per_cent = {name: f"{100 * value:.1f} %" for name, value in measures.items()}
    chosen = ""
    if "box_acc_val_threshold" in per_cent:
        chosen = (
            f"; BoxAcc {per_cent['box_acc_val_threshold']}, BoxAccV2 {per_cent['box_acc_v2_val_threshold']} "
            "(at the best thresholds on the validation images, by their boxes)"
        )
    return (
        f"heat maps: MaxBoxAcc {per_cent['max_box_acc']}, MaxBoxAccV2 {per_cent['max_box_acc_v2']} (at the best "
        f"thresholds on these images){chosen}; pointing game {per_cent['pointing_game']}"
    )


def _parts_line(parts: PartReport) -> str:
    own, random, center = (
        f"{100 * report.hit:.1f} %, {100 * report.recall:.1f} %" for report in (parts, *parts.trivial.values())
    )
    return (
        f"part windows ({parts.images} images with known parts) that hit a part, and parts that are in one: {own}; "
        f"equally large windows at random in the object box: {random}; in its middle: {center}"
    )


def _text_table(corner: str, titles: Mapping[str, str], rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out shares as percentages: names are left-aligned, numbers right-aligned under their titles."""
    first = max(map(len, [corner, *rows]))
    lines = ["  ".join([corner.ljust(first), *titles.values()])]
    lines.append("  ".join("-" * width for width in [first, *map(len, titles.values())]))
    for name, measures in rows.items():
        cells = [f"{100 * measures[key]:{len(title)}.1f}" for key, title in titles.items()]
        lines.append("  ".join([name.ljust(first), *cells]))
    return "\n".join(lines)
