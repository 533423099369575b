"""Numbers at their limits: maps without form, answers that are none, one class, ten thousand, images of one colour."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from stub_model import StubModel

from stress.attempts import Outcome, plain, random_of, refusal, tlaam
from stress.colours import SIZE, write_model
from stress.mutate import Random

Floats = NDArray[np.float64]

VALUES: dict[str, Callable[[Random, tuple[int, int]], Floats]] = {
    "flat": lambda r, s: np.full(s, float(r.choice([0, 1, -3, 1e-45, 1e38]))),
    "negative": lambda r, s: -r.random(s),
    "of both signs": lambda r, s: r.normal(size=s),
    "tiny": lambda r, s: r.random(s) * 1e-40,
    "huge": lambda r, s: r.random(s) * 1e38,
    "infinite": lambda r, s: np.where(r.random(s) < 0.3, r.choice([np.inf, -np.inf], s), r.random(s)),
    "infinite alone": lambda r, s: np.full(s, np.inf),
    "not a number": lambda r, s: np.where(r.random(s) < 0.3, np.nan, r.random(s)),
    "not a number alone": lambda r, s: np.full(s, np.nan),
    "half precision": lambda r, s: (r.random(s) * 65504).astype(np.float16).astype(np.float64),
    "one peak": lambda r, s: np.eye(*s) * float(r.choice([1, 1e30])),
    "chequered": lambda r, s: np.indices(s).sum(0) % 2 * 1.0,
}


class _Stub(StubModel):
    """A model that answers what it is told to."""

    classes = ("crow", "jay", "wren")
    source_size = SIZE

    def __init__(self, answers: Any) -> None:
        self.answers = answers

    def answer(self, canvases: NDArray[np.uint8]) -> Any:
        """Answer what it was made with."""
        return self.answers


class Numbers:
    """See the module."""

    name = "numbers"
    attempts = 600
    batch = 10
    seconds = 20.0
    megabytes = 2500

    def prepare(self, folder: Path) -> Any:
        """Write a photograph, a small run, and models of one and of ten thousand classes."""
        import torch

        from tlaam.config.sections import ModelConfig
        from tlaam.inference.store import save_model
        from tlaam.models.build import build_model

        Image.new("RGB", (50, 40), (90, 120, 60)).save(folder / "photo.png")
        for classes in (("crow",), ("crow", "jay", "wren")):
            config = ModelConfig(
                backbone="test_resnet", pretrained="none", image_size=64, source_size=64, part_size=32, localizer="oaam"
            )
            torch.manual_seed(0)
            save_model(folder / f"run-{len(classes)}", build_model(config, len(classes)), config, classes)
        write_model(folder / "many.onnx", tuple(f"class {number}" for number in range(10_000)))
        write_model(folder / "one.onnx", ("crow",))
        return folder

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Try one thing after the other."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            place = folder / str(number)
            place.mkdir()
            ways = list(_WAYS)
            way = str(random.choice(ways, p=[_WAYS[name][0] for name in ways]))
            (folder / "kind").write_text(way)
            outcomes.append(_WAYS[way][1](random, prepared, place))
        return outcomes


def _boxes(random: Random, prepared: Path, place: Path) -> Outcome:
    """Cut boxes from maps: they lie within the image, are not empty, and are the same alone as in a batch."""
    import torch

    from tlaam.models.localization import heatmap_boxes

    name = str(random.choice(list(VALUES)))
    kind = f"boxes of maps, {name}"
    shape = int(random.integers(1, 15)), int(random.integers(1, 15))
    maps = np.stack([VALUES[name](random, shape), VALUES["of both signs"](random, shape) ** 2])
    dtype = torch.float16 if random.random() < 0.3 else torch.float32
    height, width = int(random.integers(1, 500)), int(random.integers(1, 500))
    options = {
        "threshold": float(random.choice([0, 0.2, 0.5, 1, 2])), "rule": str(random.choice(["mean", "max", "value"])),
        "upsample": int(random.choice([1, 2, 4])),
    }  # fmt: skip
    tensor = torch.from_numpy(maps).to(dtype)
    both, crash = refusal(lambda: heatmap_boxes(tensor, (height, width), **options), kind)
    if crash is not None:
        return crash
    for x0, y0, x1, y1 in both.tolist():
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            return Outcome(kind, "wrong", f"box {[x0, y0, x1, y1]} in {width} x {height}, {options} {shape}")
    if dtype is torch.float32 and not torch.equal(heatmap_boxes(tensor[1:], (height, width), **options)[0], both[1]):
        return Outcome(kind, "wrong", "a neighbour's map changes the box")
    return Outcome(kind, "right")


def _pictures(random: Random, prepared: Path, place: Path) -> Outcome:
    """Draw maps over images."""
    from tlaam.visualization.panels import overlay_heatmap

    name = str(random.choice(list(VALUES)))
    kind = f"pictures of maps, {name}"
    size = int(random.integers(1, 300)), int(random.integers(1, 300))
    heatmap = VALUES[name](random, (int(random.integers(1, 15)), int(random.integers(1, 15))))
    with np.errstate(all="raise", under="ignore"):
        drawn, crash = refusal(lambda: overlay_heatmap(Image.new("RGB", size), heatmap), kind)
    return crash or Outcome(kind, "right" if drawn.size == size and drawn.mode == "RGB" else "wrong")


def _measures(random: Random, prepared: Path, place: Path) -> Outcome:
    """Measure maps: every measure is a share."""
    import torch

    from tlaam.evaluation.heatmaps import heatmap_report

    name = str(random.choice(list(VALUES)))
    kind = f"measures of maps, {name}"
    maps = [VALUES[name](random, (7, 9)) for _ in range(2)]
    boxes = torch.tensor([[2.0, 3.0, 20.0, 30.0], [0.0, 0.0, 50.0, 40.0]])
    sizes = torch.tensor([[50, 40], [50, 40]])
    report, crash = refusal(lambda: heatmap_report(maps, boxes, sizes), kind)
    if crash is not None:
        return crash
    measures = report.summary()
    sound = all(0 <= value <= 1 for value in measures.values())
    return Outcome(kind, "right" if sound else "wrong", "" if sound else str(measures))


def _answers(random: Random, prepared: Path, place: Path) -> Outcome:
    """Let a model answer what is no answer for one of two images: its row has to say so, the other be right."""
    from tlaam.inference.backend import Answers
    from tlaam.inference.engine import load_engine

    name = str(random.choice(["not a number", "not a number alone", "infinite", "infinite alone"]))
    field = str(random.choice(["probabilities", "object_boxes", "part_boxes", "heatmaps"]))
    kind = f"answers, {field} {name}"
    good = np.array([0.2, 0.5, 0.3])
    values = {
        "probabilities": np.stack([good, good]), "object_boxes": np.array([[1.0, 2, 9, 9]] * 2),
        "part_boxes": np.array([[[1.0, 2, 9, 9]]] * 2), "heatmaps": np.ones((2, 3, 3)),
    }  # fmt: skip
    shape = values[field][0].shape
    values[field][0] = VALUES[name](random, (1, math.prod(shape))).reshape(shape)
    spoilt = not np.isfinite(values[field][0]).all()
    fused = values.pop("probabilities")
    stub = _Stub(Answers({"raw": fused, "fused": fused}, **values))
    photo = prepared / "photo.png"
    rows, crash = refusal(lambda: [r.to_dict() for r in load_engine(stub).predict([photo, photo])], kind, photo)
    if crash is not None:
        return crash
    try:
        first, second = (json.loads(json.dumps(row, allow_nan=False)) for row in rows)
    except ValueError as error:
        return Outcome(kind, "wrong", f"no JSON: {error}")
    if second["error"] is not None or second["predictions"][0] != {"label": "jay", "probability": 0.5}:
        return Outcome(kind, "wrong", f"the image beside it: {second}")
    if field != "heatmaps" and spoilt != (first["error"] is not None):
        return Outcome(kind, "wrong", f"{first}")
    if first["error"] is not None:
        return Outcome(kind, "refused" if str(photo) in first["error"] else "unnamed", first["error"])
    return Outcome(kind, "right")


def _one_colour(random: Random, prepared: Path, place: Path) -> Outcome:
    """Predict images of one colour with a whole network: answers are finite, boxes inside, pictures drawn."""
    kind = "images of one colour"
    size = int(random.integers(1, 200)), int(random.integers(1, 200))
    colour = tuple(int(value) for value in random.choice([0, 255, 128], 3))
    photo = place / "flat.png"
    Image.new("RGB", size, colour).save(photo)
    run = prepared / str(random.choice(["run-1", "run-3"]))
    said, crash = refusal(lambda: tlaam("predict", run, photo, "--json", "-", "--overlays", place / "seen"), kind)
    if crash is not None:
        return crash
    if said.code != 0:
        return Outcome(kind, "wrong", said.err[:300])
    row = json.loads(said.out, parse_constant=_none)
    x0, y0, x1, y1 = row["object_box"]
    inside = -0.01 <= x0 < x1 <= size[0] + 0.01 and -0.01 <= y0 < y1 <= size[1] + 0.01
    shares = sum(entry["probability"] for entry in row["predictions"])
    if not inside or abs(shares - 1) > 1e-4 or row["overlay"] is None:
        return Outcome(kind, "wrong", f"{size} {row}")
    return Outcome(kind, "right")


def _none(text: str) -> float:
    raise ValueError(f"{text} in JSON")


def _measured(random: Random, prepared: Path, place: Path) -> Outcome:
    """Evaluate on one class, one image of each class, classes unseen in training, and with a model of one class."""
    labels = ["crow", "jay", "wren"]
    way = str(
        random.choice(["one image a class", "one class", "unseen class", "model of one class", "no box has an area"])
    )
    kind = f"evaluation, {way}"
    used = {"one class": ["jay"], "unseen class": ["crow", "owl"], "model of one class": ["crow"]}.get(way, labels)
    box = "5,5,5,5" if way == "no box has an area" else "5,5,30,30"
    lines = ["image,label,split,x_min,y_min,x_max,y_max"]
    for number, label in enumerate(used):
        pixels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
        lines.append(f"{number}.png,{label},test,{box}")
    manifest = place / "photos.csv"
    manifest.write_text("\n".join(lines) + "\n")
    run = prepared / ("run-1" if way == "model of one class" else "run-3")
    said, crash = refusal(lambda: tlaam("evaluate", run, manifest, "--json", "-"), kind)
    if crash is not None:
        return crash
    if said.code != 0:
        right = way in ("unseen class", "model of one class", "no box has an area")
        named = len(said.err.splitlines()) == 1 and any(
            name in plain(said.err) for name in ("photos", "0.png", "run-1")
        )
        return Outcome(kind, "refused" if right and named else "wrong" if not right else "unnamed", said.err[:300])
    report = json.loads(said.out, parse_constant=_none)
    right = report["images"] == len(used) and 0 <= report["classification"]["fused"]["top1"] <= 1
    return Outcome(
        kind, "right" if right and way not in ("unseen class", "no box has an area") else "wrong", said.out[:300]
    )


def _many_classes(random: Random, prepared: Path, place: Path) -> Outcome:
    """Open and check ten thousand classes, and predict with as many or with one."""
    name = str(random.choice(["many.onnx", "one.onnx"]))
    kind = f"classes, {name.partition('.')[0]}"
    said, crash = refusal(lambda: tlaam("predict", prepared / name, prepared / "photo.png", "--json", "-"), kind)
    if crash is not None:
        return crash
    best = json.loads(said.out, parse_constant=_none)["predictions"][0]["label"] if said.code == 0 else said.err
    if best != ("class 1" if name == "many.onnx" else "crow"):
        return Outcome(kind, "wrong", str(best)[:300])
    manifest = place / "manifest.csv"
    photo = prepared / "photo.png"
    rows = [f"{photo},class {number},{'train' if number % 2 else ''}" for number in range(10_000)]
    manifest.write_text("image,label,split\n" + "\n".join(rows) + "\n")
    _, outcome = refusal(lambda: tlaam("check", place / "manifest.csv"), kind, manifest)
    return outcome or Outcome(kind, "right")


_WAYS: dict[str, tuple[float, Callable[[Random, Path, Path], Outcome]]] = {
    "boxes": (0.3, _boxes),
    "pictures": (0.15, _pictures),
    "measures": (0.15, _measures),
    "answers": (0.25, _answers),
    "one colour": (0.08, _one_colour),
    "measured": (0.06, _measured),
    "classes": (0.01, _many_classes),
}
