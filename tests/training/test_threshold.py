"""The finder's threshold follows its weights through training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

import tlaam
from tlaam.config.schema import Config
from tlaam.inference.store import load_model
from tlaam.models.build import build_model
from tlaam.models.crops import resize_whole
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import RAW, TLAAM
from tlaam.runs.folder import RunFolder
from tlaam.training import finder, threshold
from tlaam.training.dataset import EvaluationImages
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


def built(**changes: Any) -> Any:
    config = Config.from_flat({**SMALL, "backbone": "test_efficientnet", **changes})
    return config, build_model(config.model, 3)


def test_some_training_images_evenly_spaced_decide_with_their_own_masks(
    photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def agreeing(head: Any, batches: Any) -> float:
        assert not network.training
        asked.extend([head, *batches])
        return 0.4

    monkeypatch.setattr(threshold, "IMAGES", 10)
    monkeypatch.setattr(threshold, "_BATCH", 4)
    monkeypatch.setattr(threshold, "agreeing_threshold", agreeing)
    config, network = built()
    samples = tlaam.open_dataset(photographs).split("train")
    assert len(samples) == 27
    masks: Any = [np.full((64, 64), number, dtype=np.uint8) for number in range(27)]
    chooser = ThresholdChooser(Fabric(accelerator="cpu", devices=1), samples, masks, config)
    for training in (True, False):
        assert chooser.threshold_of(network.train(training)) == 0.4 and network.training is training
    head, *batches = asked[:4]
    assert head is network.localizer and [len(of_masks) for _, of_masks in batches] == [4, 4, 2]
    places = [0, 2, 5, 8, 10, 13, 16, 18, 21, 24]  # number · 27 / 10, rounded down
    assert torch.cat([of_masks[:, 0, 0] for _, of_masks in batches]).tolist() == places
    images = torch.stack([EvaluationImages(samples, 96)[place].input_image for place in places])
    with torch.no_grad():
        raw = resize_whole(network.eval().normalise(images), network.raw_size)
        expected = network.backbone.pyramid(raw, RAW)[1]
    for level, wanted in enumerate(expected):
        found = torch.cat([maps[level] for maps, _ in batches])
        assert not found.requires_grad and found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_fewer_images_than_decide_all_decide(photographs: Path) -> None:
    config, _ = built()
    samples = tlaam.open_dataset(photographs).split("train")
    masks: Any = []
    assert ThresholdChooser(Fabric(accelerator="cpu", devices=1), samples, masks, config).places == list(range(27))


def test_what_chooses_no_threshold_is_left_alone(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threshold, "agreeing_threshold", lambda *_: 0.4)
    masks: Any = []
    without = {"localizer": "none", "parts": "none", "attention": "none", "fusion": "mean", "probe_first": False}
    for changes in (
        {"localizer": "oaam", "fusion": "mean"},
        {"threshold": 0.3},
        {"architecture": "macnn", "attention": "none", **without},
    ):
        config, network = built(**changes)
        chooser = ThresholdChooser(Fabric(accelerator="cpu", devices=1), [], masks, config)
        assert chooser.threshold_of(network) is None


def test_one_that_is_given_stays(photographs: Path, tmp_path: Path) -> None:
    network = trained(photographs, tmp_path / "run", threshold=0.33)
    assert isinstance(network.localizer, Foreground)
    assert float(network.localizer.threshold) == pytest.approx(0.33)
