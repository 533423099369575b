"""Recognitions for Timelapse and other programs that read MegaDetector's results, in that format's version 1.3.

https://lila.science/megadetector-output-format describes it: boxes are shares of width and height, names are numbered.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tlaam.field.answer import Answer, Box
from tlaam.utils.atomic import grown_atomically
from tlaam.utils.text import valid_text

VERSION = "1.3"
ANIMAL, STRANGER = "1", "4"
CATEGORIES = {ANIMAL: "animal", "2": "person", "3": "vehicle", STRANGER: "stranger"}
"""What a detection is of: 1 to 3 as MegaDetector counts, 4 what does not look like anything the model learnt from."""

_THEN = "give the same command again."
_WHOLE = [0.0, 0.0, 1.0, 1.0]


def write_timelapse(
    path: Path,
    answers: Iterable[Answer],
    *,
    base: Path,
    model: str,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Write the file, whole or not at all, an answer at a time.

    Args:
        path: the file; Timelapse looks for it in the folder of the photographs.
        answers: what it is to hold.
        base: the folder that the photographs' paths are relative to; one outside it keeps its whole path.
        model: name of the model.
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
            stream.write(("," if number else "") + "\n" + json.dumps(_image(answer, base, numbers)))
            progress()
        names = {number: name for name, number in numbers.items()}
        stream.write('\n], "classification_categories": ' + json.dumps(names) + "}\n")


def _image(answer: Answer, base: Path, numbers: dict[str, str]) -> dict[str, Any]:
    file = valid_text(relative(answer.file, base))
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
    """Return a path from a folder, with forward slashes; the whole path of a file outside it."""
    path = Path(file).absolute()
    return (path.relative_to(base) if path.is_relative_to(base) else path).as_posix()


def _number(name: str, numbers: dict[str, str]) -> str:
    """Return the number of a name, which a new name gets now; a name may not be blank there."""
    return numbers.setdefault(valid_text(name) if name.strip() else "(blank)", str(len(numbers)))


def shares(box: Box | None, size: tuple[int, int] | None) -> list[float]:
    """Return a box as x, y, width and height in shares of the photograph; the whole photograph where there is none."""
    if box is None or size is None:
        return [*_WHOLE]
    width, height = size
    x0, x1 = (min(max(value / width, 0.0), 1.0) for value in (box[0], box[2]))
    y0, y1 = (min(max(value / height, 0.0), 1.0) for value in (box[1], box[3]))
    return [round(value, 6) for value in (x0, y0, x1 - x0, y1 - y0)]
