"""Systems side by side on one data set, over several seeds, with paired differences.

    python benchmarks/levels.py DATA RESULTS.json --seeds 3 --option epochs=12 --system plain=plain \\
        --system tlaam=default --system "plain at 320=plain image_size=320 epochs=20"

A system is NAME=PRESET, followed by settings of its own; --option gives settings to all of them. Runs go into --runs
(each continued if it was stopped, kept if it has finished), figures into RESULTS.json after every run: all branches,
boxes, seconds, command, versions, and how each image was answered; at the end the differences, with paired bootstrap
intervals over images and seeds. A folder in --runs that was begun with other settings is refused. The test split is
measured once a run, after training. Several processes may share --runs with different --only, to train side by side.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import statistics
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from tlaam import evaluate, open_images, resume, train
from tlaam.allocator import keep_freed_memory
from tlaam.atomic import write_json
from tlaam.config import Config, preset
from tlaam.data.sample import LabelledImages
from tlaam.data.split import with_validation
from tlaam.defaults import resolve
from tlaam.evaluation.bootstrap import paired_bootstrap

SYSTEMS = ("plain=plain", "tlaam=default")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/levels"))
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="a setting of all systems")
    parser.add_argument("--system", action="append", metavar="NAME=PRESET[ OPTION=VALUE ...]")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="train these systems only, and write no results")
    parser.add_argument("--first", help="the system that is compared with every other; by itself the last one")
    arguments = parser.parse_args()
    keep_freed_memory()
    options = settings(arguments.option)
    systems = dict(parsed(text) for text in arguments.system or SYSTEMS)
    images = open_images(arguments.data)
    runs = []
    for seed in range(arguments.seeds):
        for name, own in systems.items():
            if arguments.only and name not in arguments.only:
                continue
            given = {**preset(own["preset"]), **options, **own["options"], "seed": seed}
            folder = arguments.runs / f"{name.replace(' ', '-')}-{seed}"
            require_same_settings(folder, given, images)
            trained(arguments.data, folder, Config.from_flat(given))
            if arguments.only:
                continue
            runs.append(measured(arguments.data, folder, name, seed))
            record = {
                "command": shlex.join(["python", *sys.argv]),
                "data": images.name,
                "classes": len(images.classes),
                "options": options,
                "systems": systems,
                "machine": machine(),
                "summary": summary(runs),
                "differences": differences(runs, arguments.first or next(reversed(systems))),
                "runs": runs,
            }
            write_json(arguments.results, record)
    if runs:
        print(json.dumps({"summary": summary(runs), "differences": record["differences"]}, indent=2))


def settings(texts: list[str]) -> dict[str, Any]:
    return {name: yaml.safe_load(value) for name, _, value in (text.partition("=") for text in texts)}


def parsed(text: str) -> tuple[str, dict[str, Any]]:
    name, _, rest = text.partition("=")
    start, *own = rest.split()
    return name, {"preset": start, "options": settings(own)}


def require_same_settings(folder: Path, given: dict[str, Any], images: LabelledImages) -> None:
    """End the program where a run lies in `folder` that was begun with other settings or on other data."""
    if not (folder / "config.yaml").exists():
        return
    config = Config.from_flat(given)
    now = flat(resolve(config, with_validation(images, config.training.val_fraction, config.training.seed)))
    then = flat(Config.from_yaml(folder / "config.yaml"))
    other = [f"{name} {then[name]!r} instead of {now[name]!r}" for name in given if then[name] != now[name]]
    if json.loads((folder / "data.json").read_text())["source_fingerprint"] != images.fingerprint():
        other.append("other data")
    if other:
        sys.exit(f"{folder} holds a run with {', '.join(other)}; remove it or give another --runs.")


def flat(config: Config) -> dict[str, Any]:
    return {name: value for section in config.to_nested().values() for name, value in section.items()}


def trained(data: str, folder: Path, config: Config) -> None:
    if (folder / "config.yaml").exists():
        resume(folder)
    else:
        train(data, folder, config)


def measured(data: str, folder: Path, system: str, seed: int) -> dict[str, Any]:
    began = time.monotonic()
    report = evaluate(folder, data)
    values = report.to_dict()
    status = json.loads((folder / "run.json").read_text())
    return {
        "system": system,
        "seed": seed,
        "training_seconds": status["seconds"],
        "pseudo_mask_seconds": status.get("pseudo_mask_seconds", 0.0),
        "evaluation_seconds": round(time.monotonic() - began, 1),
        "versions": status["versions"],
        "split": values["split"],
        "images": values["images"],
        "classification": values["classification"],
        "localization": values.get("localization"),
        "right": {
            branch: "".join(str(int(image.predicted[branch] == image.label)) for image in report.per_image)
            for branch in report.classification
        },
        "iou": [None if image.iou is None else round(image.iou, 4) for image in report.per_image],
    }


def differences(runs: list[dict[str, Any]], first: str) -> list[dict[str, Any]]:
    """Of the first system's fused top-1 with each other system's, and of its object and part branches with its raw."""
    others = [name for name in dict.fromkeys(run["system"] for run in runs) if name != first]
    pairs = [((first, "fused"), (other, "fused")) for other in others]
    pairs += [((first, branch), (first, "raw")) for branch in ("object", "parts", "fused")]
    found = []
    for one, other in pairs:
        rights = [right(runs, *system) for system in (one, other)]
        if all(len(matrix) for matrix in rights):
            difference = paired_bootstrap(*rights)
            found.append({"of": " ".join(one), "minus": " ".join(other), **rounded(asdict(difference))})
    return found


def right(runs: list[dict[str, Any]], system: str, branch: str) -> np.ndarray:
    """Return which images were answered right, ``(seeds, images)``."""
    rows = [run["right"][branch] for run in runs if run["system"] == system and branch in run["right"]]
    return np.array([[cell == "1" for cell in row] for row in rows])


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of every branch's top-1 and of the boxes' measures."""
    found: dict[str, Any] = {}
    for system in dict.fromkeys(run["system"] for run in runs):
        mine = [run for run in runs if run["system"] == system]
        values = {f"{b}.top1": [run["classification"][b]["top1"] for run in mine] for b in mine[0]["classification"]}
        if mine[0]["localization"]:
            names = [name for name in mine[0]["localization"] if name != "trivial"]
            values |= {f"box.{name}": [run["localization"][name] for run in mine] for name in names}
        values["training_seconds"] = [run["training_seconds"] + run["pseudo_mask_seconds"] for run in mine]
        found[system] = {name: spread(numbers) for name, numbers in values.items()}
        found[system]["seeds"] = len(mine)
    return found


def spread(numbers: list[float]) -> dict[str, float | None]:
    return {
        "mean": round(statistics.mean(numbers), 4),
        "std": round(statistics.stdev(numbers), 4) if len(numbers) > 1 else None,
    }


def machine() -> dict[str, Any]:
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
    }


def processor() -> str:
    """The processor's model, as far as the system tells it."""
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(models), platform.processor() or platform.machine())


if __name__ == "__main__":
    main()
