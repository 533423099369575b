"""Recognition files for Timelapse and other programs that read version 1.3 of MegaDetector's output format.

https://lila.science/megadetector-output-format describes it: boxes are fractions of width and height, and names are
numbered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tlaam.field.answer import Answer, Box
from tlaam.field.thumbnails import Where
from tlaam.utils.atomic import grown_atomically
from tlaam.utils.text import valid_text

VERSION = "1.3"
ANIMAL, STRANGER = "1", "4"
CATEGORIES = {ANIMAL: "animal", "2": "person", "3": "vehicle", STRANGER: "stranger"}
"""Detection categories: 1 to 3 as in MegaDetector, 4 for what looks unlike anything in the training data."""

_THEN = "give the same command again."
_WHOLE = [0.0, 0.0, 1.0, 1.0]


def write_timelapse(
    path: Path,
    answers: Iterable[Answer],
    *,
    base: Path,
    model: str,
    where: Where = Path,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Write the file atomically, one answer at a time.

    Args:
        path: the file to write; Timelapse looks for it in the folder of the photographs.
        answers: the answers to write.
        base: the folder that the photographs' paths are relative to; a photograph outside it keeps its full path.
        model: name of the model.
        where: returns the current location of a photograph.
        progress: called after each answer.

    Raises:
        RunError: the disk is full.
        OSError: the file cannot be written.
    """
    numbers: dict[str, str] = {}
    with grown_atomically(path, _THEN) as growing, growing.open("w", encoding="ascii") as stream:
        info = {"format_version": VERSION, "detector": "tlaam", "classifier": valid_text(model)}
        head = {"info": info, "detection_categories": CATEGORIES}
        stream.write(json.dumps(head)[:-1] + ', "images": [')
        for number, answer in enumerate(answers):
            place = relative(str(where(answer.file)), base)
            stream.write(("," if number else "") + "\n" + json.dumps(_image(answer, place, numbers)))
            progress()
        names = {number: name for name, number in numbers.items()}
        stream.write('\n], "classification_categories": ' + json.dumps(names) + "}\n")


def _image(answer: Answer, place: str, numbers: dict[str, str]) -> dict[str, Any]:
    file = valid_text(place)
    if answer.error:
        return {"file": file, "detections": None, "failure": valid_text(answer.error)}
    detections = []
    for found in answer.objects:
        category = STRANGER if answer.verdict_of(found) == "stranger" else ANIMAL
        names = [[_number(name, numbers), round(probability, 6)] for name, probability in found.names]
        detections.append({
            "category": category, "conf": float(round(found.probability, 6)), "bbox": shares(found.box, answer.size),
            "classifications": names,
        })  # fmt: skip
    return {"file": file, "detections": detections}


def relative(file: str, base: Path) -> str:
    """Return a file's path relative to a folder, with forward slashes; the full path if it lies outside."""
    path = Path(file).absolute()
    return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()


def _number(name: str, numbers: dict[str, str]) -> str:
    """Return the number of a name, assigning one to a new name; the format does not allow blank names."""
    return numbers.setdefault(valid_text(name) if name.strip() else "(blank)", str(len(numbers)))


def shares(box: Box | None, size: tuple[int, int] | None) -> list[float]:
    """Return a box as x, y, width and height in fractions of the photograph; without a box, the whole photograph."""
    if box is None or size is None:
        return [*_WHOLE]
    width, height = size
    x0, x1 = (min(max(value / width, 0.0), 1.0) for value in (box[0], box[2]))
    y0, y1 = (min(max(value / height, 0.0), 1.0) for value in (box[1], box[3]))
    return [round(value, 6) for value in (x0, y0, x1 - x0, y1 - y0)]
