"""Table rows, one per object: a file has one row or more, and a file without an object also has one."""

from __future__ import annotations

from collections.abc import Iterator

from tlaam.field.answer import Answer, FoundObject

Cell = str | int | float | None

COLUMNS = (
    "file", "time", "camera", "latitude", "longitude", "object", "label", "rank", "probability", "verdict",
    "similarity", "x0", "y0", "x1", "y1", "second", "second_probability", "width", "height", "error",
)  # fmt: skip
"""``object`` numbers the objects of a file from 1; it is empty if there is none. ``x0`` to ``y1`` are its box in pixels
of the photograph, ``second`` is the next most probable name."""
TAXA = ("taxon", "taxon_probability", "lineage", "outside", "outside_probability")
"""Columns after ``rank`` if answers are given by taxonomic rank or among certain classes: the object's taxon at that
rank, its probability, and the taxa from there upwards, such as ``genus: Corvus; family: Corvidae``; the most probable
class if it does not live where the photograph was taken."""


def columns_of(*, ranked: bool) -> tuple[str, ...]:
    """Return the columns of a table, with `TAXA` or without."""
    place = COLUMNS.index("rank") + 1
    return (*COLUMNS[:place], *TAXA, *COLUMNS[place:]) if ranked else COLUMNS


def rows_of(answer: Answer, *, ranked: bool = False) -> Iterator[tuple[Cell, ...]]:
    """Yield the rows of one file with the columns of `columns_of`; None for empty cells."""
    columns, shot = columns_of(ranked=ranked), answer.shot
    width, height = answer.size or (None, None)
    of_file: dict[str, Cell] = {
        "file": answer.file, "time": shot.time, "camera": shot.camera, "latitude": shot.latitude,
        "longitude": shot.longitude, "width": width, "height": height, "error": answer.error or None,
    }  # fmt: skip
    if not answer.objects:
        of_file["verdict"] = answer.verdict or None
        yield tuple(of_file.get(name) for name in columns)
    for number, found in enumerate(answer.objects, start=1):
        cells = {**of_file, "object": number, **_cells(found)}
        cells["verdict"] = answer.verdict_of(found) or None
        yield tuple(cells.get(name) for name in columns)


def _cells(found: FoundObject) -> dict[str, Cell]:
    second: tuple[Cell, Cell] = found.names[1] if len(found.names) > 1 else (None, None)
    outside: tuple[Cell, Cell] = found.outside or (None, None)
    lineage = "; ".join(f"{rank}: {taxon}" for rank, taxon in found.lineage)
    return {
        "label": found.label, "rank": found.rank or None, "taxon": found.taxon or None,
        "taxon_probability": found.taxon_probability, "lineage": lineage or None,
        "outside": outside[0], "outside_probability": outside[1],
        "probability": found.probability, "similarity": found.similarity,
        "second": second[0], "second_probability": second[1],
        **dict(zip(("x0", "y0", "x1", "y1"), found.box or (None,) * 4, strict=True)),
    }  # fmt: skip
