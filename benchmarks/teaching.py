"""What `tlaam add-class` comes to: new classes and old ones beside a probe that had all classes from the start.

    python benchmarks/teaching.py ../shared/data --work runs/teaching

Two questions are asked of training images alone, on features of a probe, by three folds: what is lost when features are
kept in 8 bits, and whether a new class of few photographs should count as much as the others.

The third one by the commands themselves: of cub10 two classes and of flowers17 three are left out in turn; a probe of
the others is exported, and each class that was left out is taught from 5, 10 and 30 photographs. cub10 is measured on
its test split; flowers17 learns 30 drawn training images a class and is measured on its other training and its
validation images. A probe of all classes, from the same images, stands beside it.

Written to benchmarks/results/teaching.json, step by step; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tlaam.utils.allocator import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

import tlaam  # noqa: E402
from tlaam.data.folds import stratified_folds  # noqa: E402
from tlaam.data.sample import LabelledImages, Sample  # noqa: E402
from tlaam.data.skew import log_priors  # noqa: E402
from tlaam.inference.engine import load_engine  # noqa: E402
from tlaam.probe.classifiers import solve_classifiers  # noqa: E402
from tlaam.reference.pooled import PooledFeatures  # noqa: E402
from tlaam.runs.environment import environment  # noqa: E402
from tlaam.teaching.teach import add_class  # noqa: E402
from tlaam.utils.atomic import write_json  # noqa: E402
from tlaam.utils.checksums import checksum  # noqa: E402

COUNTS = (5, 10, 30)
"""Photographs that a class is taught from."""
PROBE: dict[str, Any] = {"pretrained": "package", "epochs": 0, "val_fraction": 0.0}


class Birds(NamedTuple):
    """A data set, its classes cut into groups that are left out in turn.

    Attributes:
        name: of it.
        images: the training images of at most 30 a class, and under ``test`` those that are measured.
        groups: class indices of each group.
    """

    name: str
    images: LabelledImages
    groups: tuple[tuple[int, ...], ...]


def data_sets(folder: Path) -> Iterator[Birds]:
    """Yield cub10 and flowers17."""
    birds = tlaam.open_dataset(folder / "cub10" / "CUB_200_2011")
    yield Birds("cub10", _cut(birds, birds.split("train"), birds.split("test")), _groups(10, 5))
    flowers = tlaam.open_dataset(folder / "flowers17")
    drawn = sorted(flowers.split("train"), key=lambda sample: checksum(sample.name.encode()))
    place: Counter[int] = Counter()
    learnt: list[Sample] = []
    rest = list(flowers.split("val"))
    for sample in drawn:
        (learnt if place[sample.label] < max(COUNTS) else rest).append(sample)
        place[sample.label] += 1
    yield Birds("flowers17", _cut(flowers, learnt, rest), _groups(17, 6))


def _groups(classes: int, count: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(range(start, classes, count)) for start in range(count))


def _cut(images: LabelledImages, learnt: Any, measured: Any) -> LabelledImages:
    split = [replace(s, split="train") for s in learnt] + [replace(s, split="test") for s in measured]
    return replace(images, is_cut=True).with_samples(split)


def _only(images: LabelledImages, classes: list[int]) -> LabelledImages:
    """Return the images of some classes, under these alone."""
    labels = {label: number for number, label in enumerate(classes)}
    kept = [replace(s, label=labels[s.label]) for s in images.samples if s.label in labels]
    return replace(images, classes=tuple(images.classes[label] for label in classes)).with_samples(kept)


def exported(images: LabelledImages, folder: Path) -> Path:
    """Return the exported file of a probe, which is made where it is not there."""
    file = folder / "model.onnx"
    if not file.exists():
        run = folder / "run"
        classifier = tlaam.load(run) if run.exists() else tlaam.fit(images, run, report=False, progress=False, **PROBE)
        first = images.split("train")[0]
        classifier.export(file, images=[str(first.path)])
    return file


def named(file: Path, samples: list[Sample], classes: tuple[str, ...]) -> dict[str, int]:
    """Return how many images of each class a file names right."""
    right: Counter[str] = Counter()
    for sample, answer in zip(samples, load_engine(file).predict(samples), strict=True):
        right[classes[sample.label]] += answer.label == classes[sample.label]
    return dict(right)


def taught(birds: Birds, group: tuple[int, ...], work: Path) -> dict[str, Any]:
    """Teach one group's classes; return how many of each class are named right, by photographs."""
    classes = birds.images.classes
    others = [label for label in range(len(classes)) if label not in group]
    file = exported(_only(birds.images, others), work / f"{birds.name}-without-{group[0]}")
    measured = list(birds.images.split("test"))
    found: dict[str, Any] = {}
    for count in COUNTS:
        known, seconds = file, []
        for label in group:
            photographs = sorted(str(s.path) for s in birds.images.split("train") if s.label == label)[:count]
            target = work / f"{birds.name}-{group[0]}-{count}-{label}.onnx"
            began = time.monotonic()
            add_class(known, classes[label], photographs, target)
            seconds.append(round(time.monotonic() - began, 1))
            known = target
        found[str(count)] = {"right": named(known, measured, classes), "seconds": seconds}
    return found


def kept_features(birds: Birds, work: Path) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
    """Return features, labels and names of the training images by a probe of all classes."""
    cache, samples = work / f"{birds.name}-features.npz", list(birds.images.split("train"))
    if not cache.exists():
        run = work / f"{birds.name}-all" / "run"
        if not run.exists():
            tlaam.fit(birds.images, run, report=False, progress=False, **PROBE)
        engine = load_engine(run, precision="32-true")
        engine.pooled = True
        features = [answer.pooled for answer in engine.predict(samples)]
        np.savez(cache, features=np.stack([each for each in features if each is not None]))
    return np.load(cache)["features"], np.array([s.label for s in samples]), [s.name for s in samples]


def bits_and_priors(birds: Birds, work: Path) -> dict[str, Any]:
    """Return shares named right by folds: of features in 32 and 8 bits, and of new classes of few photographs."""
    features, labels, names = kept_features(birds, work)
    nothing = np.zeros((0, *features.shape[1:]), dtype=np.float32)
    eight = PooledFeatures.of(features, nothing, np.zeros(0, dtype=np.int64)).features()
    sides = stratified_folds(labels.tolist(), names, 3, seed=7)
    classes = len(birds.images.classes)
    right: dict[str, list[bool]] = {"float32": [], "8 bits": []}
    few: dict[str, list[float]] = {}
    for side in range(3):
        learnt, out = sides != side, sides == side
        for name, values in (("float32", features), ("8 bits", eight)):
            answers = _answers(values[learnt], labels[learnt], names, learnt, classes, features[out])
            right[name] += (answers.argmax(1) == labels[out]).tolist()
        for group in birds.groups:
            for count in COUNTS[:2]:
                kept = learnt.copy()
                for label in group:
                    kept[np.flatnonzero(learnt & (labels == label))[count:]] = False
                scores = _answers(eight[kept], labels[kept], names, kept, classes, features[out])
                new = np.isin(labels[out], group)
                for said, offsets in (("as learnt", 0.0), ("as likely as others", log_priors(labels[kept], classes))):
                    hits = (scores - offsets).argmax(1) == labels[out]
                    for which, rows in (("new", new), ("old", ~new)):
                        few.setdefault(f"{count} photographs, {said}: {which}", []).append(float(hits[rows].mean()))
    return {
        "kept": {name: round(float(np.mean(values)), 4) for name, values in right.items()},
        "images": len(labels),
        "few": {name: round(float(np.mean(values)), 4) for name, values in few.items()},
    }


def _answers(
    values: NDArray[np.float32], labels: NDArray[np.int64], names: list[str], rows: NDArray[np.bool_], classes: int,
    asked: NDArray[np.float32],
) -> NDArray[np.float64]:  # fmt: skip
    folds = stratified_folds(labels.tolist(), [name for name, kept in zip(names, rows, strict=True) if kept], 5)
    joint = solve_classifiers(values, labels, classes, folds).joint
    assert joint is not None
    return joint.logits(asked.reshape(len(asked), -1))


def summary(found: dict[str, Any], sets: list[Birds]) -> dict[str, Any]:
    """Return top-1 of new and old classes, pooled, by photographs, beside the probe that had all classes."""
    rows: dict[str, Any] = {}
    for count in map(str, COUNTS):
        shares = {"new": [0, 0, 0], "old": [0, 0, 0]}  # right, right of the probe of all classes, images
        for birds in sets:
            of_class = Counter(birds.images.classes[s.label] for s in birds.images.split("test"))
            of_all = found.get(f"{birds.name}-all")
            for group in birds.groups:
                one = found.get(f"{birds.name}-{group[0]}")
                if one is None or of_all is None:
                    continue
                for name, images in of_class.items():
                    new = birds.images.classes.index(name) in group
                    tally = shares["new" if new else "old"]
                    tally[0] += one[count]["right"][name]
                    tally[1] += of_all["right"][name]
                    tally[2] += images
        rows[count] = {
            which: {"taught": round(a / n, 4), "learnt": round(b / n, 4), "answers": n}
            for which, (a, b, n) in shares.items()
            if n
        }
    return rows


def main() -> None:
    """Measure what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/teaching"), help="a folder to keep models in")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/teaching.json"))
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found = json.loads(given.out.read_text(encoding="utf-8"))["found"] if given.out.exists() else {}
    sets = list(data_sets(given.data))

    def write() -> None:
        write_json(given.out, {
            "command": shlex.join(["python", *sys.argv]), "environment": environment(),
            "summary": summary(found, sets), "found": found,
        })  # fmt: skip

    for birds in sets:
        if f"{birds.name}-features" not in found:
            found[f"{birds.name}-features"] = bits_and_priors(birds, given.work)
            write()
    for birds in sets:
        if f"{birds.name}-all" not in found:
            file = exported(birds.images, given.work / f"{birds.name}-all")
            found[f"{birds.name}-all"] = {
                "right": named(file, list(birds.images.split("test")), birds.images.classes)
            }  # fmt: skip
            write()
        for group in birds.groups:
            if f"{birds.name}-{group[0]}" not in found:
                found[f"{birds.name}-{group[0]}"] = taught(birds, group, given.work)
                print(birds.name, group, found[f"{birds.name}-{group[0]}"], flush=True)
                write()
    print(json.dumps(summary(found, sets), indent=1))


if __name__ == "__main__":
    main()
