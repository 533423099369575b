"""Small data sets in the forms that label tools write, made for tests: four photographs of two birds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from tlaam.data.open import open_dataset
from tlaam.data.sample import Box, LabelledImages

PHOTOS = ("crow1.jpg", "crow2.jpg", "jay1.jpg", "jay2.jpg")


def photographs(root: Path, names: Iterable[str] = PHOTOS, size: tuple[int, int] = (40, 30)) -> Path:
    """Write photographs, each of a colour of its own, and return their folder."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (60 * number % 256, 90, 10)).save(path, "JPEG")
    return root


def coco(objects: Iterable[tuple[str, int, list[float] | None]], files: Iterable[str] = PHOTOS) -> dict[str, Any]:
    """Return a COCO document: of each object the file, the category (1 crow, 2 jay) and the box."""
    numbers = {file: number for number, file in enumerate(files, start=10)}
    annotations = []
    for number, (file, category, box) in enumerate(objects, start=100):
        annotation = {"id": number, "image_id": numbers[file], "category_id": category}
        annotations.append(annotation if box is None else {**annotation, "bbox": box, "iscrowd": 0})
    return {
        "info": {},
        "images": [{"id": number, "file_name": file, "width": 40, "height": 30} for file, number in numbers.items()],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "crow"}, {"id": 2, "name": "jay"}, {"id": 3, "name": "wren"}],
    }


ONE_EACH: tuple[tuple[str, int, list[float] | None], ...] = (
    ("crow1.jpg", 1, [2, 3, 10, 12]),
    ("crow2.jpg", 1, [4, 5, 6.5, 7]),
    ("jay1.jpg", 2, [1, 1, 20, 20]),
    ("jay2.jpg", 2, [0, 0, 40, 30]),
)
"""A box in each photograph: x, y, width and height."""


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def read(path: Path | str) -> dict[str, tuple[str, str, Box | None]]:
    """Return class, split and box by the names of the samples."""
    images = open_dataset(path)
    return {s.name: (images.classes[s.label], s.split, s.box) for s in images.samples}


def said(images: LabelledImages, part: str) -> bool:
    return any(part in note for note in images.notes)
