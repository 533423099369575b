"""How well the foreground head boxes objects that it was not fitted to: folds of a data set's training images.

    python benchmarks/finder.py ../shared/data/cub10/CUB_200_2011

No box is used to fit anything; the true ones measure. The test split is not opened. A row a setting: side of the raw
image, side at which pseudo masks are made, threshold as chosen without boxes. Written to
benchmarks/results/finder-<data>.json, row by row.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

import torch
from lightning.fabric import Fabric

import tlaam
from tlaam.config.defaults import resolve, resolved
from tlaam.config.schema import Config
from tlaam.data.folds import stratified_folds
from tlaam.data.sample import Sample
from tlaam.evaluation.localization import box_iou
from tlaam.inference.pytorch import infer
from tlaam.models.build import build_model
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import TLAAM
from tlaam.runs.environment import environment
from tlaam.training.eye import Eye
from tlaam.training.finder import fit_localizer
from tlaam.training.pseudo_masks import taught_masks, taught_places
from tlaam.utils.allocator import keep_freed_memory

FOLDS = 3
RAW_SCALES = (1.0, 9 / 7, 10 / 7, 12 / 7)
MASK_SIZES = (576, 704)


def main() -> None:
    """Measure all settings and write the file."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--pretrained", default="package")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    images = tlaam.open_dataset(given.data)
    samples = [sample for sample in images.split("train") if sample.box is not None]
    out = given.out or Path(f"benchmarks/results/finder-{images.name.lower()}.json")
    folds = stratified_folds([s.label for s in samples], [s.name for s in samples], FOLDS)
    rows = []
    for raw_scale, mask_size in [(scale, size) for scale in RAW_SCALES for size in MASK_SIZES]:
        options = {"epochs": 0, "raw_scale": raw_scale, "pseudo_mask_size": mask_size, "pretrained": given.pretrained}
        config = resolve(Config.from_flat({**options, "parts": "none", "workers": 1}), images)
        ious, thresholds, seconds = [], [], 0.0
        for fold in range(FOLDS):
            fitted = [s for s, held_out in zip(samples, folds == fold, strict=True) if not held_out]
            measured = [s for s, held_out in zip(samples, folds == fold, strict=True) if held_out]
            found, threshold, took = _held_out(config, len(images.classes), fitted, measured)
            ious.append(found)
            thresholds.append(threshold)
            seconds += took
        iou = torch.cat(ious)
        rows.append(
            {
                "raw_size": round(resolved(config.model.image_size) * raw_scale / 32) * 32,
                "pseudo_mask_size": mask_size,
                "mean_iou": round(iou.mean().item(), 4),
                "gt_known_0.5": round((iou >= 0.5).float().mean().item(), 4),
                "gt_known_0.7": round((iou >= 0.7).float().mean().item(), 4),
                "thresholds": thresholds,
                "seconds_to_fit": round(seconds / FOLDS, 1),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        facts = {"data": images.name, "images": len(samples), "folds": FOLDS, "environment": environment()}
        command = shlex.join(["python", *sys.argv])
        out.write_text(json.dumps({"command": command, **facts, "rows": rows}, indent=1) + "\n", encoding="utf-8")


def _held_out(
    config: Config, classes: int, fitted: list[Sample], measured: list[Sample]
) -> tuple[torch.Tensor, float, float]:
    """Return IoUs of held-out images, the threshold that was chosen, and the seconds that fitting took."""
    began = time.monotonic()
    torch.manual_seed(0)
    network = build_model(config.model, classes).eval()
    assert isinstance(network, TLAAM) and isinstance(network.localizer, Foreground)
    fabric = Fabric(accelerator="cpu", devices=1)
    eye = Eye(fabric, network, config)
    taught = [fitted[place] for place in taught_places(fitted)]
    masks = taught_masks(fabric, eye.network, taught, config, context=eye.open, progress=False)
    fit_localizer(network.localizer, eye.pyramids(taught), masks, seed=0)
    seconds = time.monotonic() - began
    eye.update(network)
    ious = []
    for batch in eye.batches(measured):
        with eye.open():
            boxes = infer(eye.network, batch.input_image).object_boxes
        assert boxes is not None
        ious.append(box_iou(boxes.cpu(), batch.box.cpu()))
    return torch.cat(ious), round(float(network.localizer.threshold), 2), seconds


if __name__ == "__main__":
    main()
