"""What joining fixed normalisations with the convolutions before them buys while training: steps in turns, medians.

    python benchmarks/joined_norm.py --out benchmarks/results/joined-norm-cpu.json

A step is forward, loss and backward of the default TL-AAM at 224 pixels from source images of 448, without the
optimiser and without loading.
"""

from __future__ import annotations

import argparse
import copy
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from tlaam.utils.allocator import keep_freed_memory

keep_freed_memory()

import torch  # noqa: E402

from tlaam.config.defaults import resolve_machine  # noqa: E402
from tlaam.config.schema import Config  # noqa: E402
from tlaam.models.build import build_model, memory_format  # noqa: E402
from tlaam.models.joined_norm import join_norms  # noqa: E402
from tlaam.models.norm import fix_statistics  # noqa: E402
from tlaam.runs.environment import environment  # noqa: E402
from tlaam.training.loss import TwoLevelLoss  # noqa: E402
from tlaam.utils.atomic import write_json  # noqa: E402

CASES = [("tf_efficientnet_lite0", 16), ("resnet50", 8)]
"""Backbone and images a batch."""


def measured(backbone: str, batch: int, rounds: int) -> dict[str, Any]:
    """Return seconds a step, plain and joined, and the median of the rounds' ratios."""
    settings = {"backbone": backbone, "pretrained": "none", "image_size": 224, "localizer": "foreground"}
    config = resolve_machine(Config.from_flat({**settings, "accelerator": "cpu", "norm_statistics": "shared"}))
    torch.manual_seed(0)
    device = torch.device("cpu")
    plain = build_model(config.model, 10).to(memory_format=memory_format(device))  # type: ignore[call-overload]
    fix_statistics(plain.backbone.network)  # of random weights, whose maps mean nothing; they take as long
    joined = copy.deepcopy(plain)
    assert join_norms(joined.backbone.network, joined.backbone.image_size)
    networks = {"plain": plain.train(), "joined": joined.train()}
    images = torch.randint(0, 256, (batch, 3, 448, 448), dtype=torch.uint8)
    labels, masks = torch.arange(batch) % 10, torch.full((batch, 64, 64), 200, dtype=torch.uint8)
    criterion = TwoLevelLoss(0.1, 0.0, None)
    times: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(rounds + 2):
        for name, network in networks.items():
            began = time.perf_counter()
            criterion(network(images, labels), labels, masks).total.backward()
            network.zero_grad()
            if turn > 1:
                times[name].append(time.perf_counter() - began)
    ratios = [slow / quick for slow, quick in zip(times["plain"], times["joined"], strict=True)]
    return {
        "backbone": backbone, "batch": batch,
        **{f"s a step, {name}": round(statistics.median(values), 3) for name, values in times.items()},
        "plain, of joined": round(statistics.median(ratios), 3),
    }  # fmt: skip


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    rows = [measured(backbone, batch, given.rounds) for backbone, batch in CASES]
    write_json(given.out, {"command": shlex.join(["python", *sys.argv]), "environment": environment(), "rows": rows})
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
