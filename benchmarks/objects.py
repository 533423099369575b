"""Measure several objects: found, missed and invented ones, pictures of nothing, and given boxes.

    python benchmarks/objects.py cub RUN CUB_200_2011 [--split test] [--composites 60] [--out FILE.json]
    python benchmarks/objects.py folds FEEDER5 FOLDER
    python benchmarks/objects.py feeder FEEDER5 FOLDER RUN0 [RUN1] [--out FILE.json]

`cub`: RUN was trained on the training images of the data set. Composites are made of the split's birds and of what its
photographs show outside their boxes (benchmarks/composites.py); pictures of nothing are those grounds alone. Thresholds
were chosen on composites of training images by a model that had not seen them, not on these.

`folds` writes FOLDER/fold0.json and fold1.json, COCO with the birds of half the groups each, of which `tlaam train
FOLDER/fold0.json:crops=1 --epochs 0` and the same with fold1 make RUN0 and RUN1. `feeder` lets each answer for the
frames of the other half, with --every N for each Nth of them. Results are written as they come, so that what is
broken off is not lost.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from composites import Picture, birdless, composite, scenery
from PIL import Image

import tlaam
from tlaam import Classifier
from tlaam.data.open import open_dataset
from tlaam.data.sample import Box, Sample
from tlaam.inference.prediction import NOTHING, Prediction, Predictions
from tlaam.runs.environment import environment
from tlaam.utils.atomic import write_json

SEED = 2026


def main() -> None:
    """Measure what was asked for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    cub = commands.add_parser("cub")
    cub.add_argument("run", type=Path)
    cub.add_argument("data")
    cub.add_argument("--split", default="test")
    cub.add_argument("--composites", type=int, default=60)
    cub.add_argument("--only-single", action="store_true", help="measure single birds anew; the rest of --out stays")
    folds = commands.add_parser("folds")
    feeder = commands.add_parser("feeder")
    for command in (folds, feeder):
        command.add_argument("data", type=Path)
        command.add_argument("folder", type=Path)
    feeder.add_argument("runs", nargs="+", type=Path)
    feeder.add_argument("--every", type=int, default=1)
    for command in (cub, feeder):
        command.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.command == "folds":
        write_folds(given.data, given.folder)
        return
    found: dict[str, Any] = {"command": _command(given), "machine": environment()}
    if given.command == "cub" and given.only_single and given.out is not None:
        found = json.loads(given.out.read_text())

    def keep(name: str, values: dict[str, Any]) -> None:
        found[name] = values
        print(json.dumps({name: values}), flush=True)
        if given.out is not None:
            write_json(given.out, found)

    if given.command == "cub":
        samples = [each for each in open_dataset(given.data, strict=False).samples if each.split == given.split]
        if given.only_single:
            measure_single(_loaded(given.run), [each for each in samples if each.box is not None], keep)
        else:
            measure_cub(_loaded(given.run), samples, given.composites, keep)
    else:
        measure_feeder(given.data, [_loaded(run) for run in given.runs], keep, given.every)


def measure_cub(model: Classifier, samples: Sequence[Sample], count: int, keep: Callable[..., None]) -> None:
    """Measure composites, pictures of nothing, single birds and true boxes."""
    rng = np.random.default_rng(SEED)
    boxed = [sample for sample in samples if sample.box is not None]
    pictures = [
        composite(rng, _some(rng, boxed, int(rng.integers(2, 5))), boxed, drawn=number % 2 == 1)
        for number in range(count)
    ]
    for ground in ("photograph", "drawn"):
        several = [picture for picture in pictures if picture.ground == ground]
        answers = model.predict([picture.image for picture in several], objects="all")
        told = model.predict([picture.image for picture in several], boxes=[picture.boxes for picture in several])
        keep(f"composites_{ground}", of_composites(several, answers, told, model.classes))
    grounds: dict[str, Callable[[], Image.Image]] = {
        "photograph": lambda: birdless(rng, boxed),
        "drawn": lambda: scenery(rng),
    }
    for ground, make in grounds.items():
        nothing = model.predict([make() for _ in range(count)], objects="all")
        keep(
            f"nothing_{ground}",
            {"pictures": count, "nothing_found": _share(each.verdict == NOTHING for each in nothing)},
        )
    alone = measure_single(model, boxed, keep)
    told = model.predict(boxed, boxes=[[sample.box] for sample in boxed])
    names = [model.classes[sample.label] for sample in boxed]
    keep("true_boxes", {
        "top1_true_boxes": _top1(told, boxed, model.classes),
        "top1_found_boxes": _top1(alone, boxed, model.classes),
        "by_branch": {branch: _share(each.top(1, branch)[0][0] == name for each, name in zip(told, names, strict=True))
                      for branch in told[0].probabilities},
    })  # fmt: skip


def measure_single(model: Classifier, boxed: Sequence[Sample], keep: Callable[..., None]) -> Predictions:
    """Measure whether single birds are found, and answered for as without options; return the answers without."""
    alone, several = model.predict(boxed), model.predict(boxed, objects="all")
    one = [(first, second) for first, second in zip(alone, several, strict=True) if len(second.objects or ()) == 1]
    keep("single", {
        "images": len(boxed),
        "lost": _share(each.verdict == NOTHING for each in several),
        "one_object": len(one) / len(boxed),
        "same_answer_of_one": _share(_same(first, second) for first, second in one),
        "top1_without_options": _top1(alone, boxed, model.classes),
        "top1_first_object": _top1(several, boxed, model.classes),
    })  # fmt: skip
    return alone


def of_composites(
    pictures: Sequence[Picture], answers: Sequence[Prediction], told: Sequence[Prediction], classes: Sequence[str]
) -> dict[str, Any]:
    """Return how many birds were found, and how they were named: those found, and all by their true boxes."""
    birds = sum(len(picture.boxes) for picture in pictures)
    counts = {least: Counter[str]() for least in (0.3, 0.5)}
    for picture, answer in zip(pictures, answers, strict=True):
        found = answer.objects or ()
        for least, count in counts.items():
            pairs = matched([_box(each) for each in found], picture.boxes, least)
            count["hit"] += len(pairs)
            count["false"] += len(found) - len(pairs)
            count["named"] += sum(found[i].label == classes[picture.labels[j]] for i, j in pairs)
    by_box = [
        found.label == classes[label]
        for picture, answer in zip(pictures, told, strict=True)
        for found, label in zip(answer.objects or (), picture.labels, strict=True)
    ]
    return {
        "pictures": len(pictures),
        "birds": birds,
        **{f"recall_{least}": count["hit"] / birds for least, count in counts.items()},
        **{f"false_a_picture_{least}": count["false"] / len(pictures) for least, count in counts.items()},
        "top1_of_found": counts[0.5]["named"] / max(1, counts[0.5]["hit"]),
        "top1_given_boxes": float(np.mean(by_box)),
    }


def measure_feeder(data: Path, models: Sequence[Classifier], keep: Callable[..., None], every: int = 1) -> None:
    """Measure the webcam's frames, each by the model that has seen none of its group."""
    frames = read_frames(data)
    named, whole, largest = [], [], []
    counts = {least: Counter[str]() for least in (0.3, 0.5)}
    answered = 0
    for fold, model in enumerate(models):
        of_fold = [frame for frame in frames.values() if frame["fold"] != fold][::every]
        paths = [str(data / frame["image"]) for frame in of_fold]
        boxes = [frame["boxes"] for frame in of_fold]
        for frame, answer in zip(of_fold, model.predict(paths, boxes=boxes), strict=True):
            named += [each.label == label for each, label in zip(answer.objects or (), frame["labels"], strict=True)]
        for frame, answer in zip(of_fold, model.predict(paths), strict=True):
            whole += [answer.label == label for label in frame["labels"]]
            areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in frame["boxes"]]
            largest.append(answer.label == frame["labels"][int(np.argmax(areas))])
        answered += len(of_fold)
        keep(f"names_to_fold_{fold}", {
            "frames": answered, "birds": len(named), "top1_given_boxes": float(np.mean(named)),
            "top1_whole_frame_of_each_bird": float(np.mean(whole)),
            "top1_whole_frame_of_the_largest_bird": float(np.mean(largest)),
        })  # fmt: skip
    seen = birds = 0
    for fold, model in enumerate(models):
        of_fold = [frame for frame in frames.values() if frame["fold"] != fold][::every]
        answers = model.predict([str(data / frame["image"]) for frame in of_fold], objects="all")
        for frame, answer in zip(of_fold, answers, strict=True):
            found = answer.objects or ()
            for least, count in counts.items():
                pairs = matched([_box(each) for each in found], frame["boxes"], least)
                count["hit"] += len(pairs)
                count["false"] += len(found) - len(pairs)
            birds += len(frame["boxes"])
        seen += len(of_fold)
        keep(f"found_to_fold_{fold}", {
            "frames": seen, "birds": birds,
            **{f"recall_{least}": count["hit"] / birds for least, count in counts.items()},
            **{f"false_a_frame_{least}": count["false"] / seen for least, count in counts.items()},
        })  # fmt: skip


def read_frames(data: Path) -> dict[str, dict[str, Any]]:
    """Return the frames with their birds, and which half of the groups each belongs to."""
    frames: dict[str, dict[str, Any]] = {}
    with (data / "boxes.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            frame = frames.setdefault(
                row["image"], {"image": row["image"], "group": row["group"], "boxes": [], "labels": []}
            )
            frame["boxes"].append(tuple(float(row[name]) for name in ("x_min", "y_min", "x_max", "y_max")))
            frame["labels"].append(row["label"])
    sizes = Counter(frame["group"] for frame in frames.values())
    halves: defaultdict[int, int] = defaultdict(int)
    fold_of: dict[str, int] = {}
    for group, count in sorted(
        sizes.items(), key=lambda pair: (-pair[1], pair[0])
    ):  # the largest first, to the smaller
        fold_of[group] = min((0, 1), key=lambda fold: halves[fold])
        halves[fold_of[group]] += count
    return {name: {**frame, "fold": fold_of[frame["group"]]} for name, frame in frames.items()}


def write_folds(data: Path, folder: Path) -> None:
    """Write the birds of each half as COCO, a group's frames as one sequence."""
    frames = read_frames(data)
    names = sorted({label for frame in frames.values() for label in frame["labels"]})
    folder.mkdir(parents=True, exist_ok=True)
    for fold in (0, 1):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, frame in enumerate(frames.values()):
            if frame["fold"] != fold:
                continue
            path = (data / frame["image"]).absolute()
            with Image.open(path) as image:
                width, height = image.size
            images.append(
                {"id": number, "file_name": str(path), "width": width, "height": height, "seq_id": frame["group"]}
            )
            for (x0, y0, x1, y1), label in zip(frame["boxes"], frame["labels"], strict=True):
                annotations.append({
                    "id": len(annotations), "image_id": number, "category_id": names.index(label),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                })  # fmt: skip
        categories = [{"id": place, "name": name} for place, name in enumerate(names)]
        write_json(
            folder / f"fold{fold}.json", {"images": images, "annotations": annotations, "categories": categories}
        )


def matched(found: Sequence[Box], true: Sequence[Box], least: float) -> list[tuple[int, int]]:
    """Return pairs of found and true boxes whose IoU is at least so much, the best first, each box once."""
    pairs = sorted(((_iou(a, b), i, j) for i, a in enumerate(found) for j, b in enumerate(true)), reverse=True)
    kept: list[tuple[int, int]] = []
    for iou, i, j in pairs:
        if iou >= least and all(i != first and j != second for first, second in kept):
            kept.append((i, j))
    return kept


def _iou(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / (_area(first) + _area(second) - shared)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _box(found: Prediction) -> Box:
    assert found.object_box is not None
    x0, y0, x1, y1 = map(float, found.object_box)
    return x0, y0, x1, y1


def _some(rng: np.random.Generator, samples: Sequence[Sample], count: int) -> list[Sample]:
    return [samples[int(place)] for place in rng.choice(len(samples), count, replace=False)]


def _same(first: Prediction, second: Prediction) -> bool:
    """Return whether two predictions are one, but for the list of objects and for what other batches round."""
    said = (first.label, first.verdict) == (second.label, second.verdict)
    assert first.object_box is not None and second.object_box is not None
    return (
        said
        and np.allclose(first.object_box, second.object_box, rtol=0, atol=0.01)
        and all(
            np.allclose(values, second.probabilities[branch], rtol=0, atol=1e-5)
            for branch, values in first.probabilities.items()
        )
    )


def _top1(answers: Sequence[Prediction], samples: Sequence[Sample], classes: Sequence[str]) -> float:
    return _share(each.label == classes[sample.label] for each, sample in zip(answers, samples, strict=True))


def _share(values: Any) -> float:
    return float(np.mean([bool(value) for value in values]))


def _loaded(run: Path) -> Classifier:
    return tlaam.load(run, device="cpu", precision=None if run.is_file() else "32-true")


def _command(given: argparse.Namespace) -> str:
    if given.command == "cub":
        where = f"{given.run.name} {Path(given.data).name}"
        return f"python benchmarks/objects.py cub {where} --split {given.split} --composites {given.composites}"
    runs = " ".join(run.name for run in given.runs)
    return f"python benchmarks/objects.py feeder {given.data.name} FOLDER {runs} --every {given.every}"


if __name__ == "__main__":
    main()
