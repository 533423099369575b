"""Loader processes: as many as keep up, and what measuring leaves behind, which is nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric

from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.models.build import build_model
from tlaam.training import workers
from tlaam.training.dataset import TrainingImages, training_images
from tlaam.training.run import train
from tlaam.training.workers import needed_workers, workers_for

OPTIONS = {
    "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 64, "part_size": 32,
    "localizer": "oaam", "batch_size": 4, "accelerator": "cpu", "precision": "32-true", "epochs": 1, "val_fraction": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("loading", "training", "cores", "expected"),
    [
        (0.001, 1.0, 16, 1),  # one is enough, and lets the device go on while it loads
        (0.010, 0.010, 16, 2),
        (0.010, 0.002, 16, 8),
        (0.010, 0.0001, 16, 15),  # no number would be enough
        (0.010, 0.0001, 1, 1),
    ],
)
def test_as_many_as_keep_up(loading: float, training: float, cores: int, expected: int) -> None:
    assert workers_for(loading, training, cores=cores) == expected


def test_slower_loading_is_measured_and_asks_for_more(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_cores", lambda: 1000)
    config = Config.from_flat(OPTIONS)
    images = training_images(open_dataset(photos).split("train"), config)
    torch.manual_seed(0)
    model = build_model(config.model, 3).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fabric = Fabric(accelerator="cpu", devices=1)
    plain = needed_workers(fabric, model, config, 3, images)
    monkeypatch.setattr(workers, "_seconds_to_train", lambda *_: 0.002)
    monkeypatch.setattr(TrainingImages, "__getitem__", lambda *_: time.sleep(0.02))
    assert plain >= 1 and needed_workers(fabric, model, config, 3, images) >= 15  # 1.5 x 20 ms / 2 ms
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters()) and not model.training


def test_the_run_records_what_was_found(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tlaam.config.defaults._TINY", 0)
    monkeypatch.setattr("tlaam.training.run.needed_workers", lambda *_: 2)
    run = train(photos, tmp_path / "run", Config.from_flat(OPTIONS), progress=False)
    assert Config.from_yaml(run / "config.yaml").training.workers == 2
