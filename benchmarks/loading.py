"""How many images a second one core decodes, augments and batches, beside torchvision's plain pipeline.

    python benchmarks/loading.py FOLDER --out results/loading.json [--source-size 448]

FOLDER holds JPEG files, at any depth. All ways take turns in one process on one thread; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import transforms

from tlaam.data.sample import Sample
from tlaam.runs.environment import environment
from tlaam.training.dataset import TrainingImages
from tlaam.training.input_cache import InputCache
from tlaam.training.transforms import Augment


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--source-size", type=int, default=448)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    side = given.source_size
    files = sorted(given.folder.rglob("*.jpg"))[: given.images]
    samples = [Sample(str(file), file.name, 0, "train") for file in files]
    sizes = [Image.open(file).size for file in files]

    plain = transforms.Compose([
        transforms.Resize((side, side)), transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=0.2, contrast=0.2), transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ])  # fmt: skip

    def torchvisions() -> None:
        for file in files:
            plain(Image.open(file).convert("RGB"))

    augment = Augment(side, flip=True, jitter=0.2, crop_scale=1)
    ours = TrainingImages(samples, side, augment, 0)
    cropping = TrainingImages(samples, side, Augment(side, flip=True, jitter=0.2, crop_scale=0.5), 0)
    with tempfile.TemporaryDirectory() as folder:
        cache = InputCache(folder, side)
        cache.fill(samples, workers=1)
        cached = TrainingImages(samples, side, augment, 0, cache=cache)
        ways: dict[str, Callable[[], Any]] = {
            "torchvision: decode, resize, flip, jitter, normalise": torchvisions,
            "tlaam (jitter and normalisation are the device's)": lambda: [ours[0, i] for i in range(len(ours))],
            "tlaam with random crops": lambda: [cropping[0, i] for i in range(len(ours))],
            "tlaam with --cache": lambda: [cached[0, i] for i in range(len(ours))],
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(given.rounds + 1):
            for name, way in ways.items():
                began = time.perf_counter()
                way()
                if turn:
                    seconds[name].append(time.perf_counter() - began)
    first = next(iter(ways))
    record = {
        "command": shlex.join(sys.argv),
        "machine": environment(),
        "images": len(files),
        "median size of a file": [statistics.median(values) for values in zip(*sizes, strict=True)],
        "source_size": side,
        "images a second and core": {name: len(files) / statistics.median(times) for name, times in seconds.items()},
        "times as many as torchvision": {
            name: statistics.median(a / b for a, b in zip(seconds[first], times, strict=True))
            for name, times in seconds.items()
        },
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
