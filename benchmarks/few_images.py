"""What a probe reaches with few images a class, beside probes that see the whole image alone.

    python benchmarks/few_images.py ../shared/data/cub10/CUB_200_2011

Of each class 2, 5, 10, 20 and 30 training images are drawn, in five cuts; everything is fitted to those alone, the
object's finder too, and measured on the test split. Written to benchmarks/results/few-images-<data>.json, cut by cut;
the same command goes on where it was stopped, and draws the chart when all cuts are there.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray

import tlaam
from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.data.sample import LabelledImages, Sample
from tlaam.inference.pytorch import infer
from tlaam.models.build import build_model
from tlaam.models.network import TLAAM
from tlaam.probe.solver import negative_log_likelihood
from tlaam.runs.environment import environment
from tlaam.training.eye import Eye
from tlaam.training.probe_first import fit_probe_model
from tlaam.utils.allocator import keep_freed_memory
from tlaam.utils.atomic import write_json, write_text
from tlaam.utils.checksums import checksum
from tlaam.visualization.charts import spread_chart

COUNTS = (2, 5, 10, 20, 30)
CUTS = 5
_WHOLE = {"localizer": "none", "parts": "none", "attention": "none"}
SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "whole": ("whole image, 224 px", _WHOLE),
    "whole-larger": ("whole image, 448 px", {**_WHOLE, "image_size": 448, "source_size": 448}),
    "tlaam": ("image, object and parts", {}),
}


def main() -> None:
    """Measure what is missing, write, and draw."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--pretrained", default="package")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--chart", type=Path, default=Path("docs/images/few-images.svg"))
    given = parser.parse_args()
    images = tlaam.open_dataset(given.data)
    out = given.out or Path(f"benchmarks/results/few-images-{images.name.lower()}.json")
    found: dict[str, Any] = {
        "command": shlex.join(["python", *sys.argv]),
        "data": images.name,
        "test_images": len(images.split("test")),
        "environment": environment(),
        "cuts": json.loads(out.read_text(encoding="utf-8"))["cuts"] if out.exists() else {},
    }
    for count in COUNTS:
        for cut in range(CUTS):
            for system, (_, options) in SYSTEMS.items():
                key, first = f"{count}/{cut}/{system}", f"{count}/0/{system}"
                samples = drawn(images.split("train"), count, cut)
                if cut and samples == drawn(images.split("train"), count, 0):  # all that there are
                    found["cuts"][key] = found["cuts"][first]
                if key not in found["cuts"]:
                    config = resolve(
                        Config.from_flat({"epochs": 0, "pretrained": given.pretrained, "workers": 1, **options}), images
                    )
                    found["cuts"][key] = measured(config, images, samples)
                    print(key, found["cuts"][key], flush=True)
                    write_json(out, found)
    write_json(out, found)
    rows = [(f"{count} images a class", _spreads(found["cuts"], count)) for count in COUNTS]
    write_text(given.chart, spread_chart(rows, [title for title, _ in SYSTEMS.values()], alone=720))


def drawn(samples: tuple[Sample, ...], count: int, cut: int) -> list[Sample]:
    """Return so many images of each class, in the order of a draw by name."""
    of_class: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: checksum(f"{cut}\0{sample.name}".encode())):
        if len(of_class[sample.label]) < count:
            of_class[sample.label].append(sample)
    return sorted((s for members in of_class.values() for s in members), key=lambda s: s.name)


def measured(config: Config, images: LabelledImages, samples: list[Sample]) -> dict[str, float]:
    """Return what a probe of some images comes to on the test split."""
    torch.manual_seed(0)
    network = build_model(config.model, len(images.classes))
    assert isinstance(network, TLAAM)
    fabric = Fabric(accelerator="cpu", devices=1)
    fit_probe_model(fabric, network, samples, config)
    eye = Eye(fabric, network, config)
    logits: list[NDArray[np.float32]] = []
    for batch in eye.batches(images.split("test")):
        with eye.open():
            scores = infer(eye.network, batch.input_image).joint_logits
        assert scores is not None
        logits.append(scores.cpu().numpy())
    labels = np.array([sample.label for sample in images.split("test")])
    scores_of_all = np.concatenate(logits)
    right = float((scores_of_all.argmax(1) == labels).mean())
    return {"top1": round(right, 4), "nll": round(negative_log_likelihood(scores_of_all, labels), 4)}


def _spreads(cuts: dict[str, dict[str, float]], count: int) -> dict[str, tuple[float, float | None]]:
    spreads: dict[str, tuple[float, float | None]] = {}
    for system, (title, _) in SYSTEMS.items():
        values = [cuts[f"{count}/{cut}/{system}"]["top1"] for cut in range(CUTS)]
        spreads[title] = (statistics.mean(values), statistics.stdev(values))
    return spreads


if __name__ == "__main__":
    main()
