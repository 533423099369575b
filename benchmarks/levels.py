"""TL-AAM beside the plain backbone on one data set, under the same settings and over several seeds.

    python benchmarks/levels.py DATA RESULTS.json --seeds 3 --option epochs=12 --option lr=0.01

Runs go into --runs (each continued if it was stopped, kept if it has finished), figures into RESULTS.json after every
run: all branches, boxes, seconds, command and versions. A folder in --runs that was begun with other settings is
refused. The test split is measured once a run, after training.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from tlaam import evaluate, open_images, resume, train
from tlaam.allocator import keep_freed_memory
from tlaam.atomic import write_json
from tlaam.config import Config, preset
from tlaam.data.sample import LabelledImages
from tlaam.data.split import with_validation
from tlaam.defaults import resolve

SYSTEMS = {"plain": "plain", "tlaam": "default"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("results", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/levels"))
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="a setting of both systems")
    arguments = parser.parse_args()
    keep_freed_memory()
    options = {name: yaml.safe_load(value) for name, _, value in (o.partition("=") for o in arguments.option)}
    images = open_images(arguments.data)
    runs = []
    for seed in range(arguments.seeds):
        for system, start in SYSTEMS.items():
            given = {**preset(start), **options, "seed": seed}
            folder = arguments.runs / f"{system}-{seed}"
            require_same_settings(folder, given, images)
            runs.append(measured(arguments.data, folder, Config.from_flat(given), system, seed))
            record = {
                "command": shlex.join(["python", *sys.argv]),
                "data": images.name,
                "classes": len(images.classes),
                "options": options,
                "machine": machine(),
                "summary": summary(runs),
                "runs": runs,
            }
            write_json(arguments.results, record)
    print(json.dumps(summary(runs), indent=2))


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


def measured(data: str, folder: Path, config: Config, system: str, seed: int) -> dict[str, Any]:
    if (folder / "config.yaml").exists():
        resume(folder)
    else:
        train(data, folder, config)
    began = time.monotonic()
    report = evaluate(folder, data).to_dict()
    status = json.loads((folder / "run.json").read_text())
    return {
        "system": system,
        "seed": seed,
        "training_seconds": status["seconds"],
        "evaluation_seconds": round(time.monotonic() - began, 1),
        "versions": status["versions"],
        "split": report["split"],
        "images": report["images"],
        "classification": report["classification"],
        "localization": report.get("localization"),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of every branch's top-1 and of the boxes' measures."""
    found: dict[str, Any] = {}
    for system in dict.fromkeys(run["system"] for run in runs):
        mine = [run for run in runs if run["system"] == system]
        values = {f"{b}.top1": [run["classification"][b]["top1"] for run in mine] for b in mine[0]["classification"]}
        if mine[0]["localization"]:
            names = [name for name in mine[0]["localization"] if name != "trivial"]
            values |= {f"box.{name}": [run["localization"][name] for run in mine] for name in names}
        values["training_seconds"] = [run["training_seconds"] for run in mine]
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
