"""The networks that TL-AAM is compared with go through the same trainer, evaluation and prediction."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from measuring import measured

import tlaam
from tlaam.config.presets import preset
from tlaam.inference.store import load_model
from tlaam.training.run import train


@pytest.mark.parametrize("name", ["racnn", "macnn", "tasn"])
def test_they_train_measure_and_predict(name: str, photographs: Path, tmp_path: Path) -> None:
    options = {
        **preset(name), "backbone": "resnet18", "pretrained": "none", "image_size": 32, "source_size": 48, "epochs": 4,
        "raw_epochs": 1, "batch_size": 8, "val_fraction": 0.2, "accelerator": "cpu", "workers": 0, "keep": "last",
    }  # fmt: skip
    run = train(photographs, tmp_path / "run", tlaam.Config.from_flat(options), progress=False)
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert len(rows) == 4 and all(row["val_top1_parts"] for row in rows)
    own = [bool(row["loss_own"]) for row in rows]
    # RA-CNN and MA-CNN are shown their task first, and take turns: the third epoch is the attention's own.
    assert own == ([False, True, True, True] if name == "tasn" else [True, False, True, False])
    report = measured(run, photographs)
    assert {"raw", "parts", "fused"} <= set(report.classification)
    answers = list(tlaam.load(run).predict(photographs / "class0"))
    assert len(answers) == 9 and not any(answer.error for answer in answers)
    assert all(answer.part_boxes is not None and len(answer.part_boxes) for answer in answers)
    assert type(load_model(run).network).__name__.lower() == name
