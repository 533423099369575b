"""What fine-tuning from a probe is worth, candidate by candidate, on three data sets' training images.

    python benchmarks/finetuning.py ../shared/data --only gentle

Three folds of cub10's training images; thirty classes of cars196, every sixth, its training images learnt from and its
validation images measured; flowers17 with ten training images a class, measured on its other training images. No test
split is opened. Every candidate starts from the probe of the same images; what it ends with, and what lies between the
start and that end, are measured as they are: no image is held out, and no floor decides.

The rule, written before the first run: of at most six candidates the one is adopted whose gain over the probe, the mean
of the three data sets', is at least 0.7 points with a lower 90 % bound above 0 (bootstrap over images within each), and
that makes none of them worse beyond chance (90 % interval below 0); ties go to the lower log-likelihood, then to the
fewer seconds.

The winner is confirmed on another draw, other folds, car classes and flowers, with two seeds, in a file of its own:

    python benchmarks/finetuning.py ../shared/data --only adamw pasted --draw 2 --seeds 0 1 \\
        --out benchmarks/results/finetuning-confirmed.json --probes runs/confirmed

How the pixels are divided among raw image, object and parts: of the divisions, none of which costs more than a plain
backbone of 448 pixels (four passes of 224), the one whose probe is best, by the mean of the three data sets, is
fine-tuned; the rule above then decides about it, beside the default's division.

Written to benchmarks/results/finetuning.json, run by run; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tlaam.utils.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from lightning.fabric import Fabric  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

import tlaam  # noqa: E402
from tlaam.config.schema import Config  # noqa: E402
from tlaam.data.folds import stratified_folds  # noqa: E402
from tlaam.data.sample import LabelledImages, Sample  # noqa: E402
from tlaam.inference.pytorch import infer  # noqa: E402
from tlaam.inference.store import load_model  # noqa: E402
from tlaam.models.network import TLAAM  # noqa: E402
from tlaam.probe.linear import negative_log_likelihood, temperature  # noqa: E402
from tlaam.runs.environment import environment  # noqa: E402
from tlaam.runs.folder import RunFolder  # noqa: E402
from tlaam.training.blend import Blend  # noqa: E402
from tlaam.training.eye import Eye  # noqa: E402
from tlaam.training.identity import settings_of  # noqa: E402
from tlaam.training.run import train  # noqa: E402
from tlaam.utils.atomic import write_json  # noqa: E402
from tlaam.utils.checksums import checksum  # noqa: E402

COMMON: dict[str, Any] = {"pretrained": "package", "val_fraction": 0.0, "keep": "last", "start_share": 0.0}
_GENTLE = {
    "epochs": 10, "raw_epochs": 0, "norm_statistics": "pretrained", "label_smoothing": 0.1, "gradient_clip": 1.0,
}  # fmt: skip


class Division(NamedTuple):
    """Pixels of the side of raw image, object and each part, and how many parts there are: four, two or none."""

    raw: int
    object: int
    part: int
    parts: int

    @property
    def name(self) -> str:
        """A name, such as ``224-288-4x112``."""
        return f"{self.raw}-{self.object}-{self.parts}x{self.part}"

    @property
    def options(self) -> dict[str, Any]:
        """What makes it; two parts are windows of half the object's side, four also of three quarters."""
        windows: dict[int, dict[str, Any]] = {4: {}, 2: {"part_windows": (0.5,)}, 0: {"parts": "none"}}
        size = {"part_size": self.part} if self.parts else {}
        return {
            "image_size": self.object,
            "raw_scale": self.raw / self.object,
            "source_size": 448,
            **size,
            **windows[self.parts],
        }


DIVISIONS = tuple(
    Division(*numbers)
    for numbers in (
        (224, 288, 112, 4), (256, 256, 112, 4), (288, 288, 80, 4), (256, 320, 80, 4), (192, 320, 96, 4),
        (224, 256, 144, 4), (288, 320, 0, 0), (288, 224, 160, 2), (224, 288, 160, 2), (224, 256, 192, 2),
    )
)  # fmt: skip
"""The default's is 288-224-4x112."""
BEST = Division(224, 256, 192, 2)
"""The one whose probe is best (benchmarks/results/finetuning-divisions.json)."""

_ADAMW = {**_GENTLE, "optimizer": "adamw", "lr": 3e-4, "weight_decay": 0.05, "layer_decay": 0.75}
CANDIDATES: dict[str, dict[str, Any]] = {
    "probe": {"epochs": 0},
    "before": {  # the recipe until then: rate 0.01, statistics of its own, two epochs of the raw image
        "epochs": 10,
        "raw_epochs": 2,
        "norm_statistics": "own",
        "label_smoothing": 0.0,
        "optimizer": "sgd",
        "lr": 0.01,
        "weight_decay": 1e-4,
        "layer_decay": 1.0,
        "gradient_clip": 0.0,
    },
    "gentle": {**_GENTLE, "optimizer": "sgd", "lr": 0.003, "weight_decay": 1e-4, "layer_decay": 1.0},
    "frozen": {**_ADAMW, "frozen_stages": 4},
    "adamw": _ADAMW,
    "distilled": {**_ADAMW, "distillation": 1.0},
    "no-parts": {**_ADAMW, "parts": "none"},
    "pasted": {**_ADAMW, "paste": 0.5},
    "medium": {**_ADAMW, "augment": "medium"},
    "strong": {**_ADAMW, "augment": "strong"},
    # What the part level is worth to a probe: none of it, and two other ways to choose windows.
    "probe-no-parts": {"epochs": 0, "parts": "none"},
    "probe-appm": {"epochs": 0, "parts": "appm"},
    "probe-contribution": {"epochs": 0, "parts": "contribution"},
    **{f"probe-{sizes.name}": {"epochs": 0, **sizes.options} for sizes in DIVISIONS},
    f"pasted-{BEST.name}": {**_ADAMW, "paste": 0.5, **BEST.options},
}
"""Without clipping, a rate of 0.01 with pretrained statistics ended at chance (10 % of cub10's first fold)."""
PROBES = {"no-parts": "probe-no-parts", f"pasted-{BEST.name}": f"probe-{BEST.name}"}
"""Whose probe a candidate starts from; all others from the first one."""
ADOPTED = "adamw", "0.25"
"""The candidate that was adopted first, and how much of the start is in it; `pasted`, which took the tie, is compared
with it."""
SHARES = (0.0, 0.25, 0.5, 0.75)
"""Of the start, in weights that are measured beside the end."""


class Task(NamedTuple):
    """Images to learn from (train) and to measure (test)."""

    data: str
    name: str
    images: LabelledImages


def tasks(folder: Path, draw: int = 1) -> Iterator[Task]:
    """Yield all that a candidate is measured on; other draws have other folds, car classes and flowers."""
    birds = tlaam.open_dataset(folder / "cub10" / "CUB_200_2011")
    samples = birds.split("train")
    folds = stratified_folds([s.label for s in samples], [s.name for s in samples], 3, seed=draw)
    for fold in range(3):
        yield Task("cub10", f"cub10-{fold + 1}", _as_split(birds, samples, folds == fold))
    cars = tlaam.open_dataset(folder / "cars196" / "annotations.csv")
    kept = sorted(cars.classes)[(draw - 1) % 6 :: 6][:30]
    samples = tuple(s for s in cars.samples if cars.classes[s.label] in kept and s.split in ("train", "val"))
    labels = {cars.classes.index(name): number for number, name in enumerate(kept)}
    relabelled = tuple(replace(s, label=labels[s.label]) for s in samples)
    held_out = np.array([s.split == "val" for s in samples])
    yield Task("cars30", "cars30", _as_split(replace(cars, classes=tuple(kept)), relabelled, held_out))
    flowers = tlaam.open_dataset(folder / "flowers17")
    samples = flowers.split("train")
    yield Task("flowers170", "flowers170", _as_split(flowers, samples, ~_few(samples, 10, draw)))


def _few(samples: tuple[Sample, ...], count: int, draw: int) -> NDArray[np.bool_]:
    """Return which images are the first ones of their class in a draw by name."""
    salt = "" if draw == 1 else f"{draw}\0"
    taken: defaultdict[int, int] = defaultdict(int)
    few = np.zeros(len(samples), dtype=bool)
    for place in sorted(range(len(samples)), key=lambda place: checksum(f"{salt}{samples[place].name}".encode())):
        few[place] = taken[samples[place].label] < count
        taken[samples[place].label] += 1
    return few


def _as_split(images: LabelledImages, samples: tuple[Sample, ...], held_out: NDArray[np.bool_]) -> LabelledImages:
    split = [replace(s, split="test" if out else "train") for s, out in zip(samples, held_out, strict=True)]
    return replace(images, is_cut=True).with_samples(split)


def scores_of(network: TLAAM, config: Config, images: LabelledImages) -> dict[str, NDArray[np.float32]]:
    """Return logarithms of probabilities ``(N, C)`` of test images by branch; of W its scores."""
    eye = Eye(Fabric(accelerator="cpu", devices=1), network.eval(), config)
    found: defaultdict[str, list[NDArray[np.float32]]] = defaultdict(list)
    for batch in eye.batches(images.split("test")):
        with eye.open():
            output = infer(eye.network, batch.input_image)
        for name, chances in output.branch_probabilities().items():
            found[name].append(chances.float().clamp(min=1e-30).log().cpu().numpy())
        if output.joint_logits is not None:
            found["joint"].append(output.joint_logits.float().cpu().numpy())
    return {name: np.concatenate(batches) for name, batches in found.items()}


def run(task: Task, name: str, options: dict[str, Any], seed: int, probes: Path) -> dict[str, Any]:
    """Train one candidate on one task and return what it comes to; probes are kept in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        out, begun = Path(folder) / "run", PROBES.get(name, "probe")
        probe = probes / f"{task.name}-{seed}-{begun if options['epochs'] else name}"
        config = Config.from_flat({**COMMON, **options, "seed": seed})
        began = time.monotonic()
        train(task.images, out, config, progress=False)
        seconds = time.monotonic() - began
        network, settings = _loaded(out)
        if not options["epochs"]:
            shutil.copytree(out, probe, dirs_exist_ok=True)
        labels = np.array([s.label for s in task.images.split("test")])
        rows: dict[str, Any] = {}
        for share in SHARES if options["epochs"] else SHARES[:1]:
            if share:
                start, _ = _loaded(probe)
                blend = Blend(network, share)
                blend.start = {n: v for n, v in _adapted(start, network).items()}
                blend.update(network)
                measured = blend.network
            else:
                measured = network
            assert isinstance(measured, TLAAM)
            scores = scores_of(measured, settings, task.images)
            rows[str(share)] = {branch: _row(values, labels) for branch, values in scores.items()}
        return {"seconds": round(seconds, 1), "images": len(task.images.split("train")), "measured": rows}


def _loaded(run_folder: Path) -> tuple[TLAAM, Config]:
    network = load_model(run_folder).network
    assert isinstance(network, TLAAM)
    return network, settings_of(RunFolder(run_folder)).with_options(workers=1)


def _adapted(start: TLAAM, network: TLAAM) -> dict[str, torch.Tensor]:
    """Return the start's weights under the names and shapes of the network, which may have statistics of its own."""
    found, wanted = start.state_dict(), network.state_dict()
    for name, value in wanted.items():
        if name not in found:  # (V, C) of each view beside (C,) of all
            plain = name.replace(".means", ".running_mean").replace(".variances", ".running_var")
            found[name] = found[plain].expand_as(value).clone()
    return {name: found[name] for name in wanted}


def _row(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    heat = temperature(scores, labels)
    return {
        "right": "".join("01"[int(right)] for right in scores.argmax(1) == labels),  # of each image, in their order
        "top1": round(float((scores.argmax(1) == labels).mean()), 4),
        "nll": round(negative_log_likelihood(scores, labels), 4),
        "nll_at_its_temperature": round(negative_log_likelihood(scores, labels, heat), 4),
    }


def summary(
    runs: dict[str, Any], names: list[str], seeds: list[int], beside: tuple[str, str] = ("probe", "0.0")
) -> dict[str, Any]:
    """Return each candidate's gain over another: by data set, and the mean of the data sets', with 90 % intervals.

    Args:
        runs: all.
        names: of the candidates.
        seeds: of their runs.
        beside: the candidate that they are set beside, and how much of the start is in it; by default the probe.
    """
    draws = np.random.default_rng(0)
    found: dict[str, Any] = {}
    by_data = {"cub10": ["cub10-1", "cub10-2", "cub10-3"], "cars30": ["cars30"], "flowers170": ["flowers170"]}
    for name in names:
        for share in SHARES if CANDIDATES[name]["epochs"] else SHARES[:1]:
            gains: dict[str, NDArray[np.float64]] = {}
            losses: dict[str, float] = {}
            for data, of_data in by_data.items():
                stems = [[f"{task}-{seed}" for seed in seeds] for task in of_data]
                if all(f"{s}-{each}" in runs for of_task in stems for s in of_task for each in (name, beside[0])):
                    mine = [[runs[f"{s}-{name}"]["measured"][str(share)]["joint"] for s in each] for each in stems]
                    base = [[runs[f"{s}-{beside[0]}"]["measured"][beside[1]]["joint"] for s in each] for each in stems]
                    gains[data] = np.concatenate([_gain(a, b) for a, b in zip(mine, base, strict=True)])
                    losses[data] = float(np.mean([row["nll_at_its_temperature"] for each in mine for row in each]))
            means = {data: g[draws.integers(0, len(g), (4000, len(g)))].mean(1) for data, g in gains.items()}
            row: dict[str, Any] = {data: _interval(float(gains[data].mean()), means[data]) for data in gains}
            if len(gains) == len(by_data):
                mean = float(np.mean([gain.mean() for gain in gains.values()]))
                row["mean"] = _interval(mean, np.mean(list(means.values()), axis=0))
                row["nll"] = {"mean": round(float(np.mean(list(losses.values()))), 4), **losses}
            if row:
                found[f"{name}, {share:.0%} of the start"] = row
    return found


def table(found: dict[str, Any]) -> str:
    """Return gains and likelihoods as a table in Markdown: points over the probe, with 90 % intervals."""
    columns = ("mean", "cub10", "cars30", "flowers170")
    rows = ["| candidate | mean | cub10 | cars30 | flowers170 | NLL |", "|---|---|---|---|---|---|"]
    for name, row in found["gains"].items():
        if "mean" not in row:
            continue
        cells = ["{:+.1f} ({:+.1f} to {:+.1f})".format(*row[column]) for column in columns]
        rows.append(f"| {name} | {' | '.join(cells)} | {row['nll']['mean']:.3f} |")
    return "\n".join(rows)


def _right(row: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([int(digit) for digit in row["right"]], dtype=np.float64)


def _gain(mine: list[dict[str, Any]], base: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Return the gain of each image of a task, the mean of the seeds'."""
    gain: NDArray[np.float64] = np.mean([_right(a) - _right(b) for a, b in zip(mine, base, strict=True)], axis=0)
    return gain


def _interval(value: float, draws: NDArray[np.float64]) -> list[float]:
    return [round(100 * v, 2) for v in (value, *np.quantile(draws, [0.05, 0.95]).tolist())]


def main() -> None:
    """Train what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=list(CANDIDATES))
    parser.add_argument("--tasks", nargs="*")
    parser.add_argument("--draw", type=int, default=1, help="of folds, car classes and flowers; one file for each")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--probes", type=Path, default=Path("runs/finetuning"), help="a folder to keep probes in")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/finetuning.json"))
    given = parser.parse_args()
    runs = json.loads(given.out.read_text(encoding="utf-8"))["runs"] if given.out.exists() else {}
    begun = dict.fromkeys(["probe", *(PROBES[name] for name in given.only if name in PROBES)])
    for name in dict.fromkeys([*begun, *given.only]):
        for task in tasks(given.data, given.draw):
            for seed in given.seeds:
                key = f"{task.name}-{seed}-{name}"
                if given.tasks and task.name not in given.tasks:
                    continue
                if key not in runs or (name in begun and not (given.probes / key).exists()):
                    runs[key] = run(task, name, CANDIDATES[name], seed, given.probes)
                    print(key, runs[key]["seconds"], runs[key]["measured"]["0.0"]["joint"]["top1"], flush=True)
                    _write(given.out, runs, given.seeds)
    print(table(_write(given.out, runs, given.seeds)))


def _write(out: Path, runs: dict[str, Any], seeds: list[int]) -> dict[str, Any]:
    found = {
        "command": shlex.join(["python", *sys.argv]),
        "rule": " ".join(__doc__.split("\n\n")[3].split()),
        "candidates": CANDIDATES,
        "gains": summary(runs, [name for name in CANDIDATES if name != "probe"], seeds),
        "beside the adopted one": summary(
            runs, [n for n in CANDIDATES if n not in ("probe", ADOPTED[0])], seeds, ADOPTED
        ),
        "environment": environment(),
        "runs": dict(sorted(runs.items())),
    }
    write_json(out, found)
    return found


if __name__ == "__main__":
    main()
