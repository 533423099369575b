"""What `tlaam clean` finds of faults that were planted, three seeds.

    python benchmarks/cleaning.py ../shared/data

Labels: 5 % are swapped with one of the two most similar classes; average precision of the suspects' order. Near
copies: 50 images re-encoded, resized by 0.7, cropped by 8 % or mirrored; share found, and false pairs a hundred images.
Frames of a feeder, whose bursts are known: share of their pairs found, and pairs that join two groups. 20 % swapped:
what deciding on the suspects gives back of what the faults cost, out of fold, for labels that are the right ones.
First of all, the neighbours of a million random embeddings: time, memory, and near copies among them.

Labels do not change what the backbone sees, so images are looked at once a data set, and features are kept in --cache.
Written to benchmarks/results/cleaning.json, part by part; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import resource
import shlex
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import tlaam
from tlaam.cleaning.label_issues import label_issues
from tlaam.cleaning.looking import probe_settings
from tlaam.cleaning.neighbours import directions, nearest
from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.data.folds import stratified_folds
from tlaam.data.groups import groups_of
from tlaam.data.near_copies import near_copies, sets_of, small_grey
from tlaam.data.sample import LabelledImages, Sample
from tlaam.models.build import build_model
from tlaam.models.network import TLAAM
from tlaam.probe.classifiers import solve_classifiers
from tlaam.runs.environment import environment
from tlaam.training.launch import launched
from tlaam.training.probe_first import fit_probe_model
from tlaam.utils.allocator import keep_freed_memory
from tlaam.utils.atomic import write_json

SEEDS = 3
DATA = {"cub10": "cub10/CUB_200_2011", "flowers17": "flowers17"}
PLANTED = 50


class Features(NamedTuple):
    """What was seen of the training images of a data set."""

    views: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: list[str]
    ties: list[Any]
    network: TLAAM


def main() -> None:
    """Measure what is missing, and write."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--pretrained", default="package")
    parser.add_argument("--cache", type=Path, default=Path("runs/cleaning"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cleaning.json"))
    given = parser.parse_args()
    record = json.loads(given.out.read_text(encoding="utf-8")) if given.out.exists() else {}
    found = {
        "command": shlex.join(["python", *sys.argv]),
        "environment": environment(),
        "parts": record.get("parts", {}),
    }

    def measure(key: str, work: Callable[[], dict[str, Any]]) -> None:
        if key not in found["parts"]:
            began = time.monotonic()
            found["parts"][key] = {**work(), "seconds": round(time.monotonic() - began, 1)}
            print(key, found["parts"][key], flush=True)
            write_json(given.out, found)

    measure("million/neighbours", million)
    measure("feeder5/bursts", lambda: bursts(given.data / "feeder5"))
    for name, place in DATA.items():
        images = tlaam.open_dataset(given.data / place)
        images = images.with_samples(images.split("train"))
        for seed in range(SEEDS):
            measure(f"{name}/near copies/{seed}", partial(planted_copies, images, seed))
        wanted = [f"{name}/{what}/{seed}" for what in ("labels", "brought back") for seed in range(SEEDS)]
        if all(key in found["parts"] for key in wanted):
            continue
        features = seen(images, given.pretrained, given.cache / f"{name}.npz")
        for seed in range(SEEDS):
            measure(f"{name}/labels/{seed}", partial(swapped_labels, features, seed))
        for seed in range(SEEDS):
            measure(f"{name}/brought back/{seed}", partial(brought_back, features, seed))


def million() -> dict[str, Any]:
    """Measure neighbours among a million random embeddings, a thousand of which are near copies of others."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((1_000_000, 128), dtype=np.float32)
    rows[500_000:501_000] = rows[:1000] + 0.15 * random.standard_normal((1000, 128), dtype=np.float32)
    vectors = directions(rows)
    del rows
    found = nearest(vectors, 10).places[:1000, 0] == np.arange(500_000, 501_000)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # kilobytes on Linux
    return {"copies_found": round(float(found.mean()), 4), "peak_gigabytes": round(peak, 2)}


def seen(images: LabelledImages, pretrained: str, cache: Path) -> Features:
    """Return features of all images, looked at as `tlaam clean` does, or as they were kept."""
    config: Config = resolve(probe_settings({"pretrained": pretrained, "workers": 1}), images)
    torch.manual_seed(0)
    network = build_model(config.model, len(images.classes))
    assert isinstance(network, TLAAM)
    samples: tuple[Sample, ...] = images.samples
    if not cache.exists():
        kept: list[NDArray[np.float32]] = []

        def keep(views: NDArray[np.float32]) -> list[None]:
            kept.append(views.copy())
            return [None] * len(views)

        fit_probe_model(launched(config), network, samples, config, ties=keep)
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, views=kept[0])
    greys = np.stack([small_grey(sample.picture(192)) for sample in samples])
    ties: list[int | None] = [None] * len(samples)
    for number, members in enumerate(sets_of(len(samples), [match[:2] for match in near_copies(greys)])):
        for place in members:
            ties[place] = number
    labels, names = np.array([sample.label for sample in samples]), [sample.name for sample in samples]
    return Features(np.load(cache)["views"], labels, names, groups_of(samples, ties), network)


def answers(features: Features, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return probabilities out of fold ``(N, C)`` for given labels."""
    classes = features.network.classifier.out_features
    folds = stratified_folds(labels.tolist(), features.names, 5, groups=features.ties)
    return np.exp(solve_classifiers(features.views, labels, classes, folds).scores)


def swapped(features: Features, share: float, seed: int) -> NDArray[np.int64]:
    """Return labels of which a share is one of the two classes that are most similar to the right one."""
    random = np.random.default_rng(seed)
    views = features.views.reshape(len(features.labels), -1)
    centred = views - views.mean(0)
    classes = features.network.classifier.out_features
    centres = np.stack([centred[features.labels == label].mean(0) for label in range(classes)])
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    alike = np.argsort(-(centres @ centres.T), axis=1)[:, 1:3]
    labels = features.labels.copy()
    for place in random.choice(len(labels), round(share * len(labels)), replace=False):
        labels[place] = random.choice(alike[labels[place]])
    return labels


def swapped_labels(features: Features, seed: int) -> dict[str, Any]:
    """Measure the order of suspects where 5 % of the labels are swapped."""
    labels = swapped(features, 0.05, seed)
    wrong = labels != features.labels
    margins = label_issues(answers(features, labels), labels).margins
    right = wrong[np.argsort(-margins, kind="stable")]
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return {
        "images": len(labels), "swapped": int(wrong.sum()),
        "average_precision": round(float(precision[right].mean()), 4),
        "suspects": int((margins > 0).sum()), "swapped_among_suspects": int((wrong & (margins > 0)).sum()),
    }  # fmt: skip


def brought_back(features: Features, seed: int) -> dict[str, Any]:
    """Measure what deciding on suspects is worth where 20 % of the labels are swapped, on the right labels."""
    labels = swapped(features, 0.2, seed)
    issues = label_issues(answers(features, labels), labels)
    decided = np.where(issues.margins > 0, features.labels, labels)  # by somebody who knows them
    unasked = np.where(issues.confident, issues.suggested, labels)  # each confident suggestion is taken
    shares = {
        name: round(float((answers(features, used).argmax(1) == features.labels).mean()), 4)
        for name, used in (("clean", features.labels), ("swapped", labels), ("decided", decided), ("unasked", unasked))
    }
    cost = shares["clean"] - shares["swapped"]
    back = {
        f"{name}_back": round((shares[name] - shares["swapped"]) / cost, 3) if cost > 0 else None
        for name in ("decided", "unasked")
    }
    return {"top1": shares, **back, "suspects": int((issues.margins > 0).sum())}


def planted_copies(images: LabelledImages, seed: int) -> dict[str, Any]:
    """Measure how many of 50 planted near copies are found; pairs that were there before are not false."""
    pictures = [sample.picture() for sample in images.samples]
    greys = [small_grey(picture) for picture in pictures]
    before = {match[:2] for match in near_copies(np.stack(greys))}
    random = np.random.default_rng(seed)
    pairs = set()
    for number, place in enumerate(random.choice(len(pictures), PLANTED, replace=False).tolist()):
        pairs.add((place, len(greys)))
        greys.append(small_grey(altered(pictures[place], number % 4, random)))
    found = {match[:2] for match in near_copies(np.stack(greys))}
    known = sets_of(len(greys), [*before, *pairs])
    of = {place: number for number, members in enumerate(known) for place in members}
    false = [pair for pair in found if of.get(pair[0], -1) != of.get(pair[1], -2)]
    return {
        "images": len(pictures), "planted": PLANTED, "found": len(pairs & found),
        "pairs_there_before": len(before), "false_pairs_a_hundred_images": round(100 * len(false) / len(greys), 2),
    }  # fmt: skip


def altered(picture: Image.Image, how: int, random: np.random.Generator) -> Image.Image:
    """Return a picture re-encoded (0), also resized by 0.7 (1), cropped by 8 % (2) or mirrored (3)."""
    width, height = picture.size
    if how == 1:
        picture = picture.resize((round(0.7 * width), round(0.7 * height)))
    elif how == 2:
        left, top = random.uniform(0, 0.08, 2) * (width, height)
        picture = picture.crop((round(left), round(top), round(left + 0.92 * width), round(top + 0.92 * height)))
    elif how == 3:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=int(random.integers(30, 90)))
    return Image.open(buffer).convert("RGB")


def bursts(folder: Path) -> dict[str, Any]:
    """Measure near copies among frames whose bursts and groups are known."""
    with (folder / "boxes.csv").open(newline="", encoding="utf-8") as stream:
        of = {row["image"]: (row["group"], row["burst"]) for row in csv.DictReader(stream)}
    names = sorted(of)
    found = near_copies(np.stack([small_grey(Image.open(folder / name).convert("RGB")) for name in names]))
    groups, frames = ([of[name][which] for name in names] for which in (0, 1))
    wanted = {(i, j) for i in range(len(names)) for j in range(i + 1, len(names)) if frames[i] == frames[j]}
    pairs = {match[:2] for match in found}
    joined = sets_of(len(names), sorted(pairs))
    together = {(i, j) for members in joined for i in members for j in members if i < j}
    return {
        "frames": len(names), "pairs_of_bursts": len(wanted), "found": round(len(pairs & wanted) / len(wanted), 4),
        "found_in_one_set": round(len(together & wanted) / len(wanted), 4), "pairs_found": len(pairs),
        "joining_two_bursts": sum(frames[i] != frames[j] for i, j in pairs),
        "joining_two_groups": sum(groups[i] != groups[j] for i, j in pairs),
    }  # fmt: skip


if __name__ == "__main__":
    main()
