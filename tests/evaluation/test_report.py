from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tlaam.comparison.results import MEASURES, result_of
from tlaam.evaluation.classification import ClassificationReport, classification_report
from tlaam.evaluation.heatmaps import HeatmapReport
from tlaam.evaluation.localization import LocalizationReport, localization_report
from tlaam.evaluation.masks import MaskReport
from tlaam.evaluation.parts import PartReport
from tlaam.evaluation.report import EvaluationReport
from tlaam.evaluation.wsol import BoxAccuracy

CLASSES = ["wren", "robin", "<script>", "鸟"]
CLASSIFICATION_KEYS = ["top1", "top5", "macro_f1", "ece", "debiased_calibration_error"]
LOCALIZATION_KEYS = ["mean_iou", "gt_known_0.3", "gt_known_0.5", "gt_known_0.7", "top1_loc_0.5"]


def branch(seed: int) -> ClassificationReport:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 1, 1, 2, 0])  # the last class has no image
    return classification_report(torch.randn(5, 4, generator=generator).softmax(dim=1), labels, CLASSES)


def boxes() -> LocalizationReport:
    box = torch.tensor([[10.0, 10.0, 60.0, 80.0]]).repeat(5, 1)
    report = localization_report(box, box + 5, torch.tensor([True] * 4 + [False]), torch.full((5, 2), 100))
    assert report is not None
    return report


def full_report() -> EvaluationReport:
    branches = {"fused": branch(3), "raw": branch(0), "parts": branch(2), "object": branch(1)}
    return EvaluationReport("cub10", "test", 5, CLASSES, branches, boxes(), images_with_boxes=5)


def strict(values: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(values, allow_nan=False)
    loaded = json.loads(text)
    assert loaded == values
    return dict(loaded)


def test_json_contract() -> None:
    report = full_report()
    values = strict(report.to_dict())
    assert list(values["classification"]) == ["raw", "object", "parts", "fused"]
    for measures in values["classification"].values():
        assert list(measures) == CLASSIFICATION_KEYS
    assert list(values["localization"]) == [*LOCALIZATION_KEYS, "trivial"]
    assert list(values["localization"]["trivial"]) == ["full", "center_0.7"]
    for measures in values["localization"]["trivial"].values():
        assert list(measures) == LOCALIZATION_KEYS
    assert (values["data"], values["split"]) == ("cub10", "test")
    assert (values["images"], values["images_with_boxes"], values["classes"]) == (5, 5, CLASSES)
    assert values["per_class"]["fused"] == report.classification["fused"].per_class
    assert set(values["per_class"]) == set(report.classification)
    assert list(values["per_class"]["fused"]) == CLASSES
    assert values["per_class"]["fused"]["鸟"]["support"] == 0
    assert [sum(row) for row in values["confusion"]] == [2, 2, 1, 0]


def heatmaps(*, validation: bool) -> HeatmapReport:
    rising = np.linspace(0, 1, 1000)
    accuracy = BoxAccuracy(rising, np.stack([rising] * 3))
    others = BoxAccuracy(1 - abs(rising - 0.25), np.stack([rising] * 3))
    return HeatmapReport(accuracy, 0.5, others if validation else None)


def test_thresholds_of_validation_images_are_told_apart_from_the_oracle() -> None:
    report = replace(full_report(), heatmaps=heatmaps(validation=True))
    measures = strict(report.to_dict())["localization"]
    assert measures["box_acc_val_threshold"] == pytest.approx(0.25, abs=1e-3) and measures["max_box_acc"] == 1
    assert report.table().splitlines()[-1] == (
        "heat maps: MaxBoxAcc 100.0 %, MaxBoxAccV2 100.0 % (at the best thresholds on these images); BoxAcc 25.0 %, "
        "BoxAccV2 100.0 % (at the best thresholds on the validation images, by their boxes); pointing game 50.0 %"
    )
    without = replace(full_report(), heatmaps=heatmaps(validation=False))
    assert "val_threshold" not in json.dumps(without.to_dict()) and "validation" not in without.table()


def parts() -> PartReport:
    return PartReport(2, 0.5, 0.25, {"random": PartReport(2, 0.4, 0.125), "center": PartReport(2, 1.0, 0.75)})


def test_part_windows_stand_beside_chance() -> None:
    report = replace(full_report(), parts=parts())
    assert strict(report.to_dict())["parts"] == {
        "images": 2, "hit": 0.5, "recall": 0.25,
        "trivial": {"random": {"hit": 0.4, "recall": 0.125}, "center": {"hit": 1.0, "recall": 0.75}},
    }  # fmt: skip
    assert report.table().splitlines()[-1] == (
        "part windows (2 images with known parts) that hit a part, and parts that are in one: 50.0 %, 25.0 %; equally "
        "large windows at random in the object box: 40.0 %, 12.5 %; in its middle: 100.0 %, 75.0 %"
    )
    measures = result_of("a", 0, report, {"seconds": 60}, "last").measures
    assert {name: value for name, value in measures.items() if "parts." in name and "top1" not in name} == {
        "parts.hit": 0.5, "parts.recall": 0.25, "parts.hit_random": 0.4, "parts.recall_random": 0.125,
    }  # fmt: skip
    assert set(measures) <= set(MEASURES) and "parts" not in full_report().to_dict()


def test_masks_stand_by_themselves() -> None:
    branches = {"raw": branch(0), "fused": branch(0)}
    report = EvaluationReport("pets", "test", 5, CLASSES, branches, masks=MaskReport(3, 0.5, 0.25))
    values = strict(report.to_dict())
    assert values["masks"] == {"images": 3, "pxap": 0.5, "trivial": {"center": {"pxap": 0.25}}}
    assert "localization" not in values and "masks" not in full_report().to_dict()
    assert report.table().splitlines()[-1] == (
        "heat maps by masks (3 known): PxAP 50.0 %; of the same map in the middle of every image 25.0 %"
    )
    assert result_of("a", 0, report, {"seconds": 60}, "last").measures["masks.pxap"] == 0.5


def test_every_name_is_documented() -> None:
    table = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    values = replace(
        full_report(), heatmaps=heatmaps(validation=True), parts=parts(), masks=MaskReport(3, 0.5, 0.25)
    ).to_dict()
    written = [*values, *values["classification"]["raw"]]
    written += [key for name in ("localization", "parts", "masks") for key in values[name]]
    assert [key for key in written if not re.search(rf"[`.{{,]{re.escape(key)}[`.}},]", table)] == []


def test_absent_branches_and_boxes_are_left_out() -> None:
    report = EvaluationReport("folder", "val", 5, CLASSES, {"raw": branch(0), "fused": branch(0)})
    values = strict(report.to_dict())
    assert list(values["classification"]) == ["raw", "fused"]
    assert "localization" not in values
    assert values["images_with_boxes"] == 0
    assert "object" not in report.table()
    assert "box" not in report.table()


def test_table_is_aligned_and_shows_every_measure() -> None:
    report = full_report()
    table = report.table()
    assert table.isascii()
    heading, classification, localization = table.split("\n\n")
    assert heading == "cub10, test split: 5 images, 4 classes"
    measured_so = replace(report, precision="bf16-mixed").table().partition("\n")[0]
    assert measured_so == f"{heading}, measured in bf16-mixed"
    for block in (classification, localization):
        assert len({len(line) for line in block.splitlines()}) == 1
    assert [line.split()[0] for line in classification.splitlines()[2:]] == ["raw", "object", "parts", "fused"]
    assert [line[:12].rstrip() for line in localization.splitlines()[2:]] == [
        "object box",
        "whole image",
        "central 70 %",
    ]
    fused = report.classification["fused"].summary()
    assert classification.splitlines()[-1].split()[1:] == [f"{100 * fused[key]:.1f}" for key in CLASSIFICATION_KEYS]
    assert report.localization is not None
    assert localization.splitlines()[2].split()[2:] == [
        f"{100 * report.localization.measures()[key]:.1f}" for key in LOCALIZATION_KEYS
    ]


def test_refuses_unknown_or_missing_branches() -> None:
    with pytest.raises(ValueError, match="fused"):
        EvaluationReport("d", "val", 5, CLASSES, {"raw": branch(0)})
    with pytest.raises(ValueError, match="part"):
        EvaluationReport("d", "val", 5, CLASSES, {"fused": branch(0), "part": branch(0)})
