"""What `--balance` is worth to a probe where classes have unequally many images.

    python benchmarks/skew.py ../shared/data

In each of five cuts of the training images of cub10, flowers17 and drawn creatures, classes stand in a random order
and their numbers of images fall geometrically to two. Four images of each class stay out of every cut, so that some of
each are unseen: of 30 birds a class 26 are the most (13 to 1), of 40 flowers 36 (18 to 1), of 104 creatures 100 (50
to 1). All training images outside the cut are measured, and each class counts the same. No test split is opened. A cut
with equally many images of each class is the control, which `auto` leaves as it is.

The figure is macro-F1 of `--balance auto` less that of `--balance none`, pooled over the cuts, with a 95 % interval by
bootstrap over the measured images within cut and class.

Written to benchmarks/results/skew.json, cut by cut; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tlaam.utils.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from lightning.fabric import Fabric  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from sklearn.metrics import f1_score  # noqa: E402

import tlaam  # noqa: E402
from tlaam.config.defaults import resolve  # noqa: E402
from tlaam.config.schema import Config  # noqa: E402
from tlaam.data.sample import LabelledImages, Sample  # noqa: E402
from tlaam.data.synthetic import SyntheticOptions, synthetic_images  # noqa: E402
from tlaam.inference.pytorch import infer  # noqa: E402
from tlaam.models.build import build_model  # noqa: E402
from tlaam.models.network import TLAAM  # noqa: E402
from tlaam.runs.environment import environment  # noqa: E402
from tlaam.training.balance import image_weights  # noqa: E402
from tlaam.training.eye import Eye  # noqa: E402
from tlaam.training.probe_first import fit_probe_model  # noqa: E402
from tlaam.utils.atomic import write_json  # noqa: E402
from tlaam.utils.checksums import checksum  # noqa: E402

CUTS, FEWEST, LEFT = 5, 2, 4
BALANCES = ("none", "auto")
SETTINGS: dict[str, Any] = {"epochs": 0, "pretrained": "package", "backbone": "tf_efficientnet_lite0", "workers": 1}
SMALLER = {"image_size": 128, "source_size": 384}
"""Of drawn creatures, as in the quick start."""


def main() -> None:
    """Measure what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=["cub10", "flowers17", "synthetic"])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/skew.json"))
    given = parser.parse_args()
    cuts = json.loads(given.out.read_text(encoding="utf-8"))["cuts"] if given.out.exists() else {}
    for name, images, settings in data_sets(given.data, given.only):
        for cut in range(CUTS):
            for skewed in (True, False):
                key = f"{name}/{'skewed' if skewed else 'equal'}/{cut}"
                if key in cuts or (cut and not skewed):  # one control a data set
                    continue
                learnt = drawn(images.split("train"), cut, skewed=skewed)
                cuts[key] = measured(images, learnt, settings)
                print(key, {b: round(macro_f1(cuts[key]["labels"], cuts[key][b]), 4) for b in BALANCES}, flush=True)
                write_json(given.out, found(cuts))
    write_json(given.out, found(cuts))


def found(cuts: dict[str, Any]) -> dict[str, Any]:
    """Return what is written: the figures, and the cuts that they come from."""
    names = dict.fromkeys(key.rpartition("/")[0] for key in cuts)
    return {
        "command": "python benchmarks/skew.py ../shared/data",
        "settings": {**SETTINGS, "synthetic": SMALLER},
        "gains": {name: gain([cuts[key] for key in sorted(cuts) if key.startswith(f"{name}/")]) for name in names},
        "environment": environment(),
        "cuts": dict(sorted(cuts.items())),
    }


def data_sets(folder: Path, only: Sequence[str]) -> Iterator[tuple[str, LabelledImages, dict[str, Any]]]:
    """Yield data sets by name, with settings."""
    if "cub10" in only:
        yield "cub10", tlaam.open_dataset(folder / "cub10" / "CUB_200_2011"), SETTINGS
    if "flowers17" in only:
        yield "flowers17", tlaam.open_dataset(folder / "flowers17"), SETTINGS
    if "synthetic" in only:
        options = SyntheticOptions(images_per_class=100 + LEFT, test_per_class=1)
        yield "synthetic", synthetic_images(options), {**SETTINGS, **SMALLER}


def drawn(samples: Sequence[Sample], cut: int, *, skewed: bool) -> list[Sample]:
    """Return the images of a cut, the same whenever it is drawn."""
    of_class: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: checksum(f"{cut}\0{sample.name}".encode())):
        of_class[sample.label].append(sample)
    order = np.random.default_rng(cut).permutation(sorted(of_class)).tolist()
    most = min(map(len, of_class.values())) - LEFT
    steps = np.geomspace(most, FEWEST, len(order)).round().astype(int).tolist()
    counts = dict(zip(order, steps if skewed else [most] * len(order), strict=True))
    return sorted((s for label, members in of_class.items() for s in members[: counts[label]]), key=lambda s: s.name)


def measured(images: LabelledImages, learnt: list[Sample], settings: dict[str, Any]) -> dict[str, Any]:
    """Return labels of the training images outside a cut, and what probes of it answer for them, by balance."""
    names = {sample.name for sample in learnt}
    unseen = [sample for sample in images.split("train") if sample.name not in names]
    counts = np.bincount([sample.label for sample in learnt], minlength=len(images.classes))
    answers: dict[str, Any] = {"counts": counts.tolist(), "labels": [sample.label for sample in unseen]}
    for balance in BALANCES:
        config = resolve(Config.from_flat({**settings, "balance": balance}), images.with_samples(learnt))
        torch.manual_seed(0)
        network = build_model(config.model, len(images.classes))
        assert isinstance(network, TLAAM)
        fabric = Fabric(accelerator="cpu", devices=1)
        fit_probe_model(fabric, network, learnt, config)
        eye = Eye(fabric, network, config)
        answers[balance] = []
        for batch in eye.batches(unseen):
            with eye.open():
                answers[balance] += infer(eye.network, batch.input_image).probabilities.argmax(1).tolist()
    return answers


def macro_f1(labels: Sequence[int] | NDArray[np.int64], answers: Sequence[int] | NDArray[np.int64]) -> float:
    """Return the mean of the classes' F1, where each class counts the same whatever its number of images."""
    weights = image_weights(np.asarray(labels))
    return float(f1_score(labels, answers, average="macro", sample_weight=weights, zero_division=0.0))


def gain(cuts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return macro-F1 by balance, and its gain with a 95 % interval, in points, means over the cuts."""
    random = np.random.default_rng(0)
    means = {b: 100 * float(np.mean([macro_f1(cut["labels"], cut[b]) for cut in cuts])) for b in BALANCES}
    draws = []
    for _ in range(1000):
        gains = []
        for cut in cuts:
            labels = np.array(cut["labels"])
            places = np.concatenate([random.choice(of, len(of)) for of in map(np.flatnonzero, _each(labels))])
            none, auto = (macro_f1(labels[places], np.array(cut[b])[places]) for b in BALANCES)
            gains.append(100 * (auto - none))
        draws.append(np.mean(gains))
    low, high = np.quantile(draws, [0.025, 0.975]).tolist()
    return {
        "cuts": len(cuts),
        "macro_f1": {balance: round(mean, 2) for balance, mean in means.items()},
        "gain": [round(value, 2) for value in (means["auto"] - means["none"], low, high)],
    }


def _each(labels: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    return (labels == label for label in np.unique(labels))


if __name__ == "__main__":
    main()
