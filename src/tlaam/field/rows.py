"""Rows of tables: one an object, so that a file has one or more; a file without an object has one as well."""

from __future__ import annotations

from collections.abc import Iterator

from tlaam.field.answer import Answer

Cell = str | int | float | None

COLUMNS = (
    "file", "time", "camera", "latitude", "longitude", "object", "label", "rank", "probability", "verdict",
    "similarity", "x0", "y0", "x1", "y1", "second", "second_probability", "width", "height", "error",
)  # fmt: skip
"""``object`` counts the objects of a file from 1; it is empty where there is none. ``x0`` to ``y1`` are its box in
pixels of the photograph, ``second`` the next most probable name."""


def rows_of(answer: Answer) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of one file, by `COLUMNS`; None where there is nothing."""
    shot = answer.shot
    file = (answer.file, shot.time, shot.camera, shot.latitude, shot.longitude)
    width, height = answer.size or (None, None)
    end = (width, height, answer.error or None)
    if not answer.objects:
        yield (*file, *(None,) * (len(COLUMNS) - len(file) - len(end)), *end)
    for number, found in enumerate(answer.objects, start=1):
        second: tuple[Cell, Cell] = found.names[1] if len(found.names) > 1 else (None, None)
        box = found.box or (None,) * 4
        yield (
            *file, number, found.label, found.rank or None, found.probability, answer.verdict or None,
            answer.similarity, *box, *second, *end,
        )  # fmt: skip
