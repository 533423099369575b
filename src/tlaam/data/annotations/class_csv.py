"""Tables ``_classes.csv`` of 0 and 1 in the folders ``train``, ``valid`` and ``test``, as Roboflow exports them."""

from __future__ import annotations

from pathlib import Path

from tlaam.data.annotations.annotated import labelled_images
from tlaam.data.annotations.documents import Place
from tlaam.data.annotations.records import Annotated, Source
from tlaam.data.locate import ImageFinder
from tlaam.data.manifest import opened_table
from tlaam.data.manifest_plan import plan_of
from tlaam.data.manifest_rows import entries
from tlaam.data.rules import split_of
from tlaam.data.sample import LabelledImages
from tlaam.data.walk import visible_folders

FILE = "_classes.csv"


def is_class_csv(path: Path) -> bool:
    """Whether a path is a folder with splits that have a table of classes."""
    return path.is_dir() and bool(_folders(path))


def read_class_csv(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the tables of all splits: each row names an image beside the table and marks one class.

    Raises:
        DataError: see `tlaam.data.manifest.read_manifest`.
    """
    root = Path(root)
    annotated: list[Annotated] = []
    notes: dict[str, None] = {}
    for folder in _folders(root):
        path = folder / FILE
        with opened_table(path) as table:
            plan = plan_of(path, table)
        finder = ImageFinder(folder.absolute(), moves=False)
        with opened_table(path) as table:
            for entry in entries(path, table.rows, plan, finder, strict=strict):
                place = Place(path, "line", entry.line)
                name = entry.image if Path(entry.image).is_absolute() else f"{folder.name}/{entry.image}"
                annotated.append(Annotated(name, split_of(folder.name), place, (entry.label,)))
        notes |= dict.fromkeys([*plan.notes, *finder.notes()])
    title = f"tables '{FILE}' of {', '.join(folder.name for folder in _folders(root))}"
    return labelled_images(Source(root, root, "class-csv", title, False, strict, False, list(notes)), annotated)


def _folders(root: Path) -> list[Path]:
    return [folder for folder in visible_folders(root) if split_of(folder.name) and (folder / FILE).is_file()]


__all__ = ["FILE", "is_class_csv", "read_class_csv"]
