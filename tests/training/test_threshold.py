"""The finder's threshold follows its weights through training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.fabric import Fabric

import tlaam
from tlaam.config.schema import Config
from tlaam.inference.store import load_model
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import TLAAM
from tlaam.runs.folder import RunFolder
from tlaam.training import finder
from tlaam.training.identity import settings_of
from tlaam.training.masks import read_pseudo_masks
from tlaam.training.run import train
from tlaam.training.threshold import ThresholdChooser

SMALL: dict[str, Any] = {
    "epochs": 1, "backbone": "resnet18", "localizer": "foreground", "image_size": 64, "source_size": 96,
    "pretrained": "none", "workers": 0, "pseudo_mask_size": 96, "val_fraction": 0.0, "accelerator": "cpu",
    "precision": "32-true", "batch_size": 9, "probe_first": True, "fusion": "joint",
}  # fmt: skip


def trained(photographs: Path, out: Path, **changes: Any) -> TLAAM:
    network = load_model(train(photographs, out, Config.from_flat({**SMALL, **changes}), progress=False)).network
    assert isinstance(network, TLAAM)
    return network


@pytest.mark.parametrize("ema_decay", [0.0, 0.99])
def test_it_fits_the_weights_that_are_kept(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema_decay: float
) -> None:
    monkeypatch.setattr(finder, "agreeing_threshold", lambda *_: 0.91)  # of the probe; none that can be chosen
    network = trained(photographs, tmp_path / "run", ema_decay=ema_decay)
    folder, images = RunFolder(tmp_path / "run"), tlaam.open_dataset(photographs)
    samples = images.split("train")
    masks = read_pseudo_masks(folder.pseudo_masks, samples)
    chooser = ThresholdChooser(Fabric(accelerator="cpu", devices=1), samples, masks, settings_of(folder))
    assert isinstance(network.localizer, Foreground)
    wanted = chooser.threshold_of(network)
    assert wanted is not None and float(network.localizer.threshold) == pytest.approx(wanted)


def test_one_that_is_given_stays(photographs: Path, tmp_path: Path) -> None:
    network = trained(photographs, tmp_path / "run", threshold=0.33)
    assert isinstance(network.localizer, Foreground)
    assert float(network.localizer.threshold) == pytest.approx(0.33)
