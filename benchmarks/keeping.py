"""Which epoch to keep, and when to stop, by a few held-out images: every epoch of a training measured on other images.

    python benchmarks/keeping.py ../shared/data [--only cub10-1 synthetic-41 ...]

Trained are the tasks of finetuning.py (no test split is opened) and drawn creatures at the quick start's size, each
with the default's recipe, a tenth of the images held out (drawn creatures: 48), and no patience. After each epoch, the
weights that a run could keep answer for the held-out images and for the task's test images.

The rule, written before the first run: by the mean over cub10, cars30, flowers170 and the drawn creatures, each
counting alike, the lowest negative log-likelihood on held-out images takes the place of the highest top-1 if the epoch
that it keeps has at least as many test images right and gives them the lower negative log-likelihood. The last epoch
takes it if it has 0.5 points more than either. A patience is kept if the epochs that it saves cost at most 0.2 points.

Written to benchmarks/results/keeping.json, run by run; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tlaam.utils.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
from finetuning import Task, scores_of, tasks  # noqa: E402

from tlaam.config.schema import Config  # noqa: E402
from tlaam.data.synthetic import SyntheticOptions, synthetic_images  # noqa: E402
from tlaam.models.network import TLAAM  # noqa: E402
from tlaam.probe.linear import negative_log_likelihood  # noqa: E402
from tlaam.runs.environment import environment  # noqa: E402
from tlaam.training import loop  # noqa: E402
from tlaam.training.run import train  # noqa: E402
from tlaam.utils.atomic import write_json  # noqa: E402
from tlaam.workflows.quickstart import SETTINGS  # noqa: E402

SEEDS = (41, 42, 43)
"""Of the drawn creatures."""
PATIENCES = (2, 3, 4, 5)


def all_tasks(folder: Path) -> Iterator[Task]:
    """Yield the tasks of fine-tuning, and drawn creatures."""
    yield from tasks(folder)
    for seed in SEEDS:
        images = synthetic_images(
            SyntheticOptions(classes=6, images_per_class=36, val_per_class=8, test_per_class=20, seed=seed)
        )
        yield Task("synthetic", f"synthetic-{seed}", images)


def run(task: Task) -> dict[str, Any]:
    """Train one task, and return its epochs and how many images were held out."""
    own = SETTINGS if task.data == "synthetic" else {"epochs": 10}
    config = Config.from_flat({"pretrained": "package", **own, "patience": 0})
    labels = np.array([sample.label for sample in task.images.split("test")])
    epochs: list[dict[str, Any]] = []
    end_epoch = loop._Fit._end_epoch

    def measured(fit: Any) -> None:
        end_epoch(fit)
        network, row, choice = fit._best_guess(), fit.state.history[-1], fit.choice
        assert isinstance(network, TLAAM)
        heat = choice.last_temperature if len(fit.val) >= loop._ENOUGH else 1.0
        training = network.training
        scores = scores_of(network, fit.config.with_options(workers=1), task.images)["joint"]
        network.train(training)
        epochs.append({
            "val_top1": row["val_top1_fused"], "val_loss": row["val_loss_fused"], "gain": choice.gains[-1][0],
            "top1": float((scores.argmax(1) == labels).mean()),
            "nll": negative_log_likelihood(scores, labels, heat),
        })  # fmt: skip

    loop._Fit._end_epoch = measured  # type: ignore[method-assign, assignment]
    try:
        with tempfile.TemporaryDirectory() as out:
            train(task.images, Path(out) / "run", config, progress=False)
            held_out = json.loads((Path(out) / "run" / "run.json").read_text())["held_out"]["images"]
    finally:
        loop._Fit._end_epoch = end_epoch  # type: ignore[method-assign]
    return {"images": len(labels), "held_out": held_out, "epochs": epochs}


def kept(epochs: Sequence[dict[str, Any]], rule: str, patience: int = 0) -> tuple[int, int]:
    """Return the epoch that a rule keeps, and how many were trained; from 0, and without the probe's floor."""

    def key(number: int) -> tuple[float, ...]:
        if rule == "top-1":
            return epochs[number]["val_top1"], -epochs[number]["val_loss"]
        return (epochs[number]["gain"],) if rule == "likelihood" else (number,)

    best = 0
    for number in range(len(epochs)):
        if key(number) > key(best):
            best = number
        if patience and number - best >= patience:
            return best, number + 1
    return best, len(epochs)


def summary(runs: dict[str, Any]) -> dict[str, Any]:
    """Return, of each rule and patience, top-1 and likelihood on test images and the epochs trained, by data."""
    found: dict[str, Any] = {}
    for rule in ("top-1", "likelihood", "last"):
        for patience in (0, *(PATIENCES if rule != "last" else ())):
            rows: defaultdict[str, list[tuple[float, float, float]]] = defaultdict(list)
            for name, of_task in runs.items():
                epoch, trained = kept(of_task["epochs"], rule, patience)
                row = of_task["epochs"][epoch]
                rows[name.split("-")[0]].append((100 * row["top1"], row["nll"], trained))
            means = {data: np.mean(values, axis=0) for data, values in rows.items()}
            means["mean"] = np.mean(list(means.values()), axis=0)
            found[f"{rule}, patience {patience}" if patience else rule] = {
                data: {"top1": round(float(t), 2), "nll": round(float(nll), 4), "epochs": round(float(n), 1)}
                for data, (t, nll, n) in means.items()
            }
    return found


def main() -> None:
    """Train what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", help="tasks")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/keeping.json"))
    given = parser.parse_args()
    runs = json.loads(given.out.read_text(encoding="utf-8"))["runs"] if given.out.exists() else {}
    for task in all_tasks(given.data):
        if task.name in runs or (given.only and task.name not in given.only):
            continue
        runs[task.name] = run(task)
        write_json(given.out, {
            "command": shlex.join(["python", *sys.argv]), "rule": " ".join(__doc__.split("\n\n")[3].split()),
            "rules": summary(runs), "environment": environment(), "runs": dict(sorted(runs.items())),
        })  # fmt: skip
        print(task.name, [round(epoch["top1"], 3) for epoch in runs[task.name]["epochs"]], flush=True)


if __name__ == "__main__":
    main()
