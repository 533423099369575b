"""What looking at a data set's images for a probe costs beside the bare passes of its backbone.

    python benchmarks/extraction.py ../shared/data/cub10/CUB_200_2011

Both in turns within one process, the same images and arithmetic, medians of `--rounds`: reading and decoding by a
loader process, passes, boxes, crops, checksums and all, beside the passes alone on tensors that are there already.
Written to benchmarks/results/extraction.json.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from pathlib import Path

import torch
from lightning.fabric import Fabric

import tlaam
from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.models.build import build_model
from tlaam.models.network import OBJECT, PARTS, RAW, TLAAM
from tlaam.runs.environment import environment
from tlaam.training.eye import Eye
from tlaam.training.workers import spare_cores
from tlaam.utils.allocator import keep_freed_memory
from tlaam.utils.atomic import write_json


def main() -> None:
    """Measure and write."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pretrained", default="package")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/extraction.json"))
    given = parser.parse_args()
    images = tlaam.open_dataset(given.data)
    samples = images.split("train")[: given.images]
    options = {"epochs": 0, "pretrained": given.pretrained, "workers": spare_cores()}
    config = resolve(Config.from_flat(options), images)
    network = build_model(config.model, len(images.classes)).eval()
    assert isinstance(network, TLAAM) and network.parts is not None
    eye = Eye(Fabric(accelerator="cpu", devices=1), network, config)
    ready, size, batch = eye.network, network.image_size, 16
    raw, whole = (torch.randn(batch, 3, side, side) for side in (network.raw_size, size))
    parts = torch.randn(batch * network.parts.count, 3, network.part_size, network.part_size)
    views = [view.contiguous(memory_format=torch.channels_last) for view in (raw, whole, parts)]

    def look() -> None:
        with eye.look(samples, progress=False):
            pass

    @torch.no_grad()
    def passes() -> None:
        with eye.open():
            for _ in range(0, len(samples), batch):
                ready.backbone.pyramid(views[0], RAW)
                ready.backbone(views[1], OBJECT)
                ready.backbone(views[2], PARTS)

    seconds: dict[str, list[float]] = {"look": [], "passes": []}
    for number in range(given.rounds + 1):
        for name, work in (("look", look), ("passes", passes)):
            began = time.perf_counter()
            work()
            if number:  # the first is for caches
                seconds[name].append(time.perf_counter() - began)
    each = {name: statistics.median(found) / len(samples) for name, found in seconds.items()}
    found = {
        "command": shlex.join(["python", *sys.argv]),
        "images": len(samples),
        "rounds": given.rounds,
        "precision": eye.precision,
        "milliseconds_an_image": {name: round(1000 * value, 2) for name, value in each.items()},
        "ratio": round(statistics.median(a / b for a, b in zip(seconds["look"], seconds["passes"], strict=True)), 3),
        "environment": environment(),
    }
    write_json(given.out, found)
    print(found)


if __name__ == "__main__":
    main()
