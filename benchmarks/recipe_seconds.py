"""How long training takes to its end with the recipe of today and with the one before it, on the same network.

    python benchmarks/recipe_seconds.py ../shared/data

An epoch of each recipe on 64 of cub10's training images, in turns in one process; the recipe before trains the raw
image alone for its first two epochs, so such an epoch is measured too. Medians of the rounds give the seconds an image
costs; the ends are computed from them: epochs times images. The probe, which both begin with, is not counted.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from tlaam.utils.allocator import keep_freed_memory

keep_freed_memory()

from finetuning import CANDIDATES, COMMON  # noqa: E402

import tlaam  # noqa: E402
from tlaam.config.schema import Config  # noqa: E402
from tlaam.data.sample import LabelledImages  # noqa: E402
from tlaam.runs.environment import environment  # noqa: E402
from tlaam.runs.folder import RunFolder  # noqa: E402
from tlaam.training.run import train  # noqa: E402
from tlaam.utils.atomic import write_json  # noqa: E402

IMAGES, ROUNDS = 64, 3
TASKS = {"cub10, a fold": 200, "cub10": 300, "cars30": 469, "flowers170": 170, "cars98": 1529}
"""Training images of what was fine-tuned."""


def epoch_seconds(images: LabelledImages, options: dict[str, Any]) -> float:
    """Return the seconds of a run's first epoch by its history; the raw image is never alone in a run's last epoch."""
    epochs = 1 + options["raw_epochs"]
    config = Config.from_flat({**COMMON, **options, "epochs": epochs, "probe_first": False})
    with tempfile.TemporaryDirectory() as folder:
        train(images, Path(folder) / "run", config, progress=False)
        with RunFolder(Path(folder) / "run").history.open(newline="", encoding="utf-8") as file:
            first = next(iter(csv.DictReader(file)))
    return float(first["seconds"])


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/recipe-seconds.json"))
    given = parser.parse_args()
    birds = tlaam.open_dataset(given.data / "cub10" / "CUB_200_2011")
    samples = birds.split("train")
    images = birds.with_samples(samples[:: len(samples) // IMAGES][:IMAGES])
    now, before = CANDIDATES["pasted"], CANDIDATES["before"]
    recipes = {
        "now": {**now, "start_share": 0.25},
        "before": {**before, "raw_epochs": 0},
        "before, raw image alone": {**before, "raw_epochs": 1},
    }
    rounds: dict[str, list[float]] = {name: [] for name in recipes}
    for turn in range(ROUNDS + 1):
        for name, options in recipes.items():
            seconds = epoch_seconds(images, options) / IMAGES
            if turn:  # the first round warms up
                rounds[name].append(round(seconds, 4))
            print(turn, name, f"{seconds:.3f} s an image", flush=True)
    an_image = {name: statistics.median(values) for name, values in rounds.items()}
    raw = before["raw_epochs"]
    of_all = {
        "now": now["epochs"] * an_image["now"],
        "before": raw * an_image["before, raw image alone"] + (before["epochs"] - raw) * an_image["before"],
    }
    found = {
        "command": shlex.join(["python", *sys.argv]),
        "environment": environment(),
        "seconds of an epoch for an image, by round": rounds,
        "seconds to the end": {
            task: {name: round(seconds * count) for name, seconds in of_all.items()} for task, count in TASKS.items()
        },
    }
    write_json(given.out, found)
    print(found["seconds to the end"])


if __name__ == "__main__":
    main()
