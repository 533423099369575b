"""What fusing activations into convolutions buys beside folding normalisations: whole answers, in turns, medians.

    python benchmarks/fusing.py --out benchmarks/results/fusing-cpu.json

`tlaam.inference.fusing` reaches into private operators of PyTorch; this is what decides whether that is worth it.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tlaam.config.defaults import resolve_machine
from tlaam.config.schema import Config
from tlaam.inference import pytorch
from tlaam.models.build import build_model
from tlaam.runs.environment import environment
from tlaam.utils.allocator import keep_freed_memory

CASES = [("tf_efficientnet_lite0", 1), ("tf_efficientnet_lite0", 16), ("resnet50", 8)]
"""Backbone and images a batch, at 224 pixels from source images of 448."""


def measured(backbone: str, batch: int, precision: Any, rounds: int) -> dict[str, Any]:
    """Return milliseconds an image, fused and folded only, and the median of the rounds' ratios."""
    settings = {"backbone": backbone, "pretrained": "none", "image_size": 224, "localizer": "foreground"}
    config = resolve_machine(Config.from_flat({**settings, "accelerator": "cpu"}))
    torch.manual_seed(0)
    network = build_model(config.model, 10).eval()
    images = torch.randint(0, 256, (batch, 3, 448, 448), dtype=torch.uint8)
    fused = pytorch.prepared(network, "cpu", precision)
    with patch.object(pytorch, "fuse_activations", lambda *_: 0):
        folded = pytorch.prepared(network, "cpu", precision)
    times: dict[str, list[float]] = {"fused": [], "folded only": []}
    for turn in range(rounds + 2):
        for name, ready in (("fused", fused), ("folded only", folded)):
            began = time.perf_counter()
            with pytorch.asked_in("cpu", precision):
                pytorch.infer(ready, images)
            if turn > 1:
                times[name].append(1000 * (time.perf_counter() - began) / batch)
    ratios = [plain / quick for plain, quick in zip(times["folded only"], times["fused"], strict=True)]
    return {
        "backbone": backbone, "batch": batch, "precision": precision,
        **{f"ms an image, {name}": round(statistics.median(values), 2) for name, values in times.items()},
        "folded only, of fused": round(statistics.median(ratios), 3),
    }  # fmt: skip


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    keep_freed_memory()
    rows = []
    for backbone, batch in CASES:
        for precision in dict.fromkeys(("32-true", pytorch.best_precision("cpu"))):
            rows.append(measured(backbone, batch, precision, given.rounds))
            print(rows[-1], file=sys.stderr)
    record = {"command": shlex.join(sys.argv), "machine": environment(), "rows": rows}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
