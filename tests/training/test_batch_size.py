"""The batch that fits: grows with the memory there is, leaves the network as it was, and stands in the run's record."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric

from tlaam.config.schema import Config
from tlaam.models.build import build_model
from tlaam.training import batch_size
from tlaam.training.run import train

OPTIONS = {
    "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 64, "part_size": 32,
    "localizer": "oaam", "batch_size": None, "accelerator": "cpu", "precision": "32-true",
}  # fmt: skip


def found(monkeypatch: pytest.MonkeyPatch, free: int, *, images: int = 10_000, **options: object) -> int:
    config = Config.from_flat({**OPTIONS, **options})
    torch.manual_seed(0)
    model = build_model(config.model, 3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    monkeypatch.setattr(batch_size, "_free_memory", lambda: free)
    size = batch_size.largest_batch(Fabric(accelerator="cpu", devices=1), model, config, 3, images)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    return size


def test_it_grows_with_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [found(monkeypatch, free) for free in (0, 30 << 20, 60 << 20, 120 << 20, 1 << 40)]
    assert sizes[0] == 2 and sizes[-1] == batch_size.LARGEST
    assert sizes == sorted(sizes) and len(set(sizes)) >= 4
    # Twice the memory is twice the batch, but for what does not depend on it.
    assert sizes[3] in (sizes[2], 2 * sizes[2], 4 * sizes[2])


def test_it_is_at_most_a_quarter_of_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch, 1 << 40, images=40) == 8
    assert found(monkeypatch, 1 << 40, images=3) == 2
    assert found(monkeypatch, 1 << 40, images=40, accumulate=4) == 2  # 8 images a step


def test_the_run_records_what_was_found(photos: Path, tmp_path: Path) -> None:
    run = train(
        photos,
        tmp_path / "run",
        Config.from_flat({**OPTIONS, "epochs": 1, "workers": 0, "val_fraction": 0}),
        progress=False,
    )
    assert Config.from_yaml(run / "config.yaml").training.batch_size == 4  # of 18 training images
