"""Pseudo masks within a run: made once from pretrained features, right on drawn creatures, kept over a resumption."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from tlaam.config import Config
from tlaam.data.synthetic import SyntheticOptions, synthetic_images
from tlaam.defaults import resolve
from tlaam.errors import RunError
from tlaam.evaluation.localization import box_iou, trivial_boxes
from tlaam.model.build import build_model
from tlaam.model.localization import largest_component, mask_boxes
from tlaam.training.pseudo_masks import MASK_SIZE, read_pseudo_masks, write_pseudo_masks
from tlaam.training.run import resume, train

QUICK = {
    "backbone": "resnet18", "pretrained": "none", "localizer": "foreground", "image_size": 64, "source_size": 96,
    "pseudo_mask_size": 96, "epochs": 2, "raw_epochs": 1, "workers": 0, "accelerator": "cpu", "val_fraction": 0.2,
}  # fmt: skip


def test_pretrained_features_mark_creatures_that_no_box_or_label_showed(tmp_path: Path) -> None:
    options = SyntheticOptions(classes=2, images_per_class=8, test_per_class=1, size=256, seed=3)
    images = synthetic_images(options, tmp_path / "cache")
    samples = images.split("train")
    given = {"backbone": "tf_efficientnet_lite0", "pretrained": "package", "image_size": 128, "accelerator": "cpu"}
    config = resolve(Config.from_flat({**given, "pseudo_mask_size": 288, "workers": 0}), images)
    model = build_model(config.model, 2).train()
    path = tmp_path / "masks.npy"
    write_pseudo_masks(Fabric(accelerator="cpu", devices=1), model, samples, config, path, progress=False)
    assert model.training
    masks = read_pseudo_masks(path, len(samples))
    found = mask_boxes(largest_component(torch.from_numpy(np.array(masks)) > 0), (256, 256))
    true = torch.tensor([sample.box for sample in samples])
    central = trivial_boxes(torch.tensor([[256, 256]] * len(samples)))["center_0.7"]
    iou, rival = box_iou(found, true), box_iou(central, true)
    assert iou.mean() > rival.mean() + 0.15 and (iou > 0.3).float().mean() > 0.9


def test_a_run_learns_from_masks_that_it_keeps(photographs: Path, tmp_path: Path) -> None:
    run = train(photographs, tmp_path / "run", QUICK, progress=False)
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert all(0 < float(row["loss_foreground"]) < 10 for row in rows)
    masks = np.load(run / "pseudo_masks.npy")
    assert masks.shape[1:] == (MASK_SIZE, MASK_SIZE) and set(np.unique(masks)) <= {0, 255}
    again = train(photographs, tmp_path / "again", QUICK, progress=False)
    assert (run / "pseudo_masks.npy").read_bytes() == (again / "pseudo_masks.npy").read_bytes()
    assert (run / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_a_run_goes_on_with_its_masks_and_not_without(photographs: Path, tmp_path: Path) -> None:
    whole = train(photographs, tmp_path / "whole", QUICK, progress=False)
    stopped = train(photographs, tmp_path / "stopped", {**QUICK, "epochs": 1, "raw_epochs": 0}, progress=False)
    kept = (stopped / "pseudo_masks.npy").read_bytes()
    assert kept == (whole / "pseudo_masks.npy").read_bytes()
    (stopped / "run.json").write_text((stopped / "run.json").read_text().replace('"finished"', '"running"', 1))
    (stopped / "pseudo_masks.npy").unlink()
    with pytest.raises(RunError, match=r"pseudo_masks\.npy cannot be read"):
        resume(stopped, progress=False)
    (stopped / "pseudo_masks.npy").write_bytes(kept)
    assert resume(stopped, progress=False) == stopped


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_or_foreign_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "pseudo_masks.npy"
    if content is None:
        np.save(path, np.zeros((3, MASK_SIZE, MASK_SIZE), dtype=np.uint8))
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"pseudo_masks\.npy"):
        read_pseudo_masks(path, 2)
