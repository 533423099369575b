"""Pseudo masks within a run: made once from pretrained features, right on drawn creatures, kept over a resumption."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric

from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.data.sample import Sample
from tlaam.data.synthetic import SyntheticOptions, synthetic_images
from tlaam.errors import ModelError, RunError
from tlaam.evaluation.localization import box_iou, trivial_boxes
from tlaam.models.build import build_model
from tlaam.models.localization import largest_component, mask_boxes
from tlaam.training import loop
from tlaam.training.masks import MASK_SIZE, read_pseudo_masks
from tlaam.training.pseudo_masks import write_pseudo_masks
from tlaam.training.run import resume, train
from tlaam.utils.checksums import trailer

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
    masks = read_pseudo_masks(path, samples)
    found = mask_boxes(
        largest_component(torch.from_numpy(np.stack([masks[index] for index in range(len(samples))])) > 127), (256, 256)
    )
    true = torch.tensor([sample.box for sample in samples])
    central = trivial_boxes(torch.tensor([[256, 256]] * len(samples)))["center_0.7"]
    iou, rival = box_iou(found, true), box_iou(central, true)
    assert iou.mean() > rival.mean() + 0.15 and (iou > 0.3).float().mean() > 0.9


def test_a_run_learns_from_masks_that_it_keeps(photographs: Path, tmp_path: Path) -> None:
    run = train(photographs, tmp_path / "run", QUICK, progress=False)
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert all(0 < float(row["loss_foreground"]) < 10 for row in rows)
    masks = np.load(run / "pseudo_masks.npy")
    assert masks.shape[1:] == (MASK_SIZE, MASK_SIZE) and set(np.unique(masks)) <= {0, 96, 160, 255}
    again = train(photographs, tmp_path / "again", QUICK, progress=False)
    assert (run / "pseudo_masks.npy").read_bytes() == (again / "pseudo_masks.npy").read_bytes()
    assert (run / "model.safetensors").read_bytes() == (again / "model.safetensors").read_bytes()


def test_a_run_goes_on_with_its_masks_and_not_without(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**QUICK, "epochs": 3, "checkpoint_every": 0.0}
    whole = train(photographs, tmp_path / "whole", settings, progress=False)
    step = loop._Fit._step

    def broken_off(self: Any, batch: Any) -> Any:
        if self.state.step == 3:  # in the second epoch, of two steps each
            raise RunError("broken off")
        return step(self, batch)

    monkeypatch.setattr(loop._Fit, "_step", broken_off)
    with pytest.raises(RunError, match="broken off"):
        train(photographs, tmp_path / "stopped", settings, progress=False)
    monkeypatch.undo()
    stopped = tmp_path / "stopped"
    kept = (stopped / "pseudo_masks.npy").read_bytes()
    (stopped / "pseudo_masks.npy").unlink()
    with pytest.raises(RunError, match=r"pseudo_masks\.npy cannot be read"):
        resume(stopped, progress=False)
    (stopped / "pseudo_masks.npy").write_bytes(kept)
    resume(stopped, progress=False)
    assert (stopped / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_masks_stay_with_their_images_however_these_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "pseudo_masks.npy"
    stored = np.arange(3, dtype=np.uint8)[:, None, None].repeat(MASK_SIZE, 1).repeat(MASK_SIZE, 2)  # of a, b, c
    np.save(path, stored)
    samples = [Sample(name, name, 0, "train") for name in ("c", "a", "b")]
    masks = read_pseudo_masks(path, samples)
    assert [int(masks[index][0, 0]) for index in range(3)] == [2, 0, 1]


def test_half_precision_of_the_network_leaves_the_sums_whole(photographs: Path, tmp_path: Path) -> None:
    images = open_dataset(photographs)
    given = {"backbone": "tf_efficientnet_lite0", "pretrained": "package", "image_size": 64, "accelerator": "cpu"}
    config = resolve(Config.from_flat({**given, "pseudo_mask_size": 192, "workers": 0}), images)
    model = build_model(config.model, 3)
    written = {}
    for precision in ("32-true", "bf16-mixed"):
        fabric = Fabric(accelerator="cpu", devices=1, precision=precision)  # type: ignore[arg-type]
        path = tmp_path / f"{precision}.npy"
        write_pseudo_masks(fabric, model, images.split("train"), config, path, progress=False)
        written[precision] = np.load(path)
    assert 0.02 < (written["32-true"] > 127).mean() < 0.98
    assert ((written["32-true"] > 127) != (written["bf16-mixed"] > 127)).mean() < 0.03


def test_a_network_that_cannot_take_their_size_says_so_before_it_looks(photographs: Path, tmp_path: Path) -> None:
    fixed = {
        **QUICK,
        "backbone": "levit_128s",
        "image_size": 224,
        "source_size": 224,
        "raw_scale": 1,
        "pseudo_mask_size": 288,
    }
    with pytest.raises(ModelError, match=r"cannot take 288.*pseudo_mask_size.*localizer=oaam"):
        train(photographs, tmp_path / "run", {**fixed, "parts": "none", "attention": "none"}, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_or_foreign_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "pseudo_masks.npy"
    if content is None:
        np.save(path, np.zeros((3, MASK_SIZE, MASK_SIZE), dtype=np.uint8))
    else:
        path.write_bytes(content)
    with pytest.raises(RunError, match=r"pseudo_masks\.npy"):
        read_pseudo_masks(path, [Sample(name, name, 0, "train") for name in "ab"])


def test_a_bit_turned_in_the_masks_is_noticed(tmp_path: Path) -> None:
    path, samples = tmp_path / "pseudo_masks.npy", [Sample(name, name, 0, "train") for name in "ab"]
    np.save(path, np.zeros((2, MASK_SIZE, MASK_SIZE), dtype=np.uint8))
    plain = path.read_bytes()
    read_pseudo_masks(path, samples)  # as older versions wrote it
    path.write_bytes(plain + trailer(plain))
    assert read_pseudo_masks(path, samples)[1].max() == 0
    for damaged in (b"".join((plain[:-5], b"\x01", plain[-4:], trailer(plain))), plain + trailer(plain)[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=r"pseudo_masks\.npy is damaged: its checksum"):
            read_pseudo_masks(path, samples)
