"""COCO JSON: lists of images, categories and annotations, with or without boxes of objects.

Label tools and Roboflow write it, and so do iNaturalist's competitions (one category per image) and camera traps (COCO
Camera Traps: labels of whole images, sequences). These variants differ only in what they leave out.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tlaam.data.annotations.annotated import labelled_images
from tlaam.data.annotations.documents import Place, entries_of, head_of, id_of, name_of, read_json, shown
from tlaam.data.annotations.image_files import annotation_folders, home_of, located, usual_folders
from tlaam.data.annotations.records import Annotated, Object, Source, checked_box, number_of
from tlaam.data.rules import NO_NUMBERS, split_of
from tlaam.data.sample import Box, LabelledImages, Split
from tlaam.data.split_names import split_in
from tlaam.data.walk import files_directly_in, visible_folders
from tlaam.errors import DataError
from tlaam.utils.collector import collector_paused

ROBOFLOW = "_annotations.coco.json"
"""Roboflow's name for the file in each of the folders ``train``, ``valid`` and ``test``."""
_LISTS = re.compile(r'"(images|annotations|categories)"\s*:\s*\[')
_MOST = 50  # if a folder holds more JSON files, they belong to images, one each


class _Listed(NamedTuple):
    """An image in a file, and what the file says about it."""

    file: str
    split: Split | None
    place: Place
    objects: tuple[Object, ...]
    group: str | None


def is_coco(path: Path) -> bool:
    """Whether a path is a COCO file, or a folder that holds one in a usual place."""
    if path.is_file():
        return path.suffix.lower() == ".json" and head_of(path).startswith("{")
    return path.is_dir() and bool(_files_in(path))


@collector_paused()
def read_coco(root: str | Path, *, strict: bool = True, crops: bool = False) -> LabelledImages:
    """Read one COCO file, or those of a folder, whose file or folder names state their splits.

    Files of a folder lie in it or in its ``annotations``; if some are called ``instances_…``, only these are read.
    Images are looked for in folders with the usual names (`tlaam.data.annotations.image_files`), and are not opened. An
    image's label is the category of its objects. ``bbox`` is x, y, width and height in pixels, and is the image's box
    if the image has one object. Masks are not read, and boxes around crowds are not measured. Images with the same
    ``seq_id`` are one group. Categories are distinguished by their ``name``; those without images are not classes.

    Args:
        root: the file or folder.
        strict: refuse impossible boxes, images that are listed twice with different content, paths that may mean
            several files, and classes that cannot be learned.
        crops: read each box as an image of its own.

    Raises:
        DataError: a file is damaged, there are several for one split, ids contradict each other, or images have
            several categories; also whatever `strict` refuses. The message names the file and the entry.
    """
    root = Path(root)
    files = [(_split_of_file(root), root)] if root.is_file() else _with_splits(root, _files_in(root))
    home = home_of(root) if root.is_file() else root
    annotated: list[Annotated] = []
    said: list[str] = []
    for split, file in files:
        listed, notes = _read_file(file, split, strict=strict)
        folders = usual_folders(home, *_folders_of(file, split))
        folders = list(dict.fromkeys([file.parent, *folders] if file.name == ROBOFLOW else [*folders, file.parent]))
        paths, spelt = located(home, [(each.file, each.place) for each in listed], folders, strict=strict)
        annotated += [
            Annotated(path, each.split, each.place, (), each.objects, each.group)
            for path, each in zip(paths, listed, strict=True)
        ]
        said += [*notes, *spelt]
    names = ", ".join(f"'{file.relative_to(home).as_posix()}'" for _, file in files)
    source = Source(root, home, "coco", f"COCO JSON, {names}", crops, strict, None, said)
    return labelled_images(source, annotated)


def _files_in(root: Path) -> list[Path]:
    """Return the COCO files in a folder, and those below it in the usual places."""
    found = [folder / ROBOFLOW for folder in visible_folders(root) if split_of(folder.name)]
    found = [file for file in found if file.is_file()]
    for folder in annotation_folders(root):
        names = [name for name in files_directly_in(folder) if name.lower().endswith(".json")]
        if len(names) <= _MOST:
            found += [folder / name for name in names if _has_lists(folder / name)]
    instances = [file for file in found if file.name.startswith("instances_")]
    return instances or found


def _has_lists(file: Path) -> bool:
    head = head_of(file)
    return head.startswith("{") and _LISTS.search(head) is not None


def _with_splits(root: Path, files: Sequence[Path]) -> list[tuple[Split | None, Path]]:
    """Return files with their splits, checking that each has its own.

    Raises:
        DataError: there are several for one split, or one of several has no split.
    """
    if len(files) == 1:
        return [(_split_of_file(files[0]), files[0])]
    found: dict[Split | None, Path] = {}
    for file in files:
        split = _split_of_file(file)
        other = found.setdefault(split, file)
        if other is not file or split is None:
            names = ", ".join(f"'{each.relative_to(root).as_posix()}'" for each in files[:4])
            raise DataError(
                f"'{root}' holds {len(files)} COCO files, {names}, and their names do not tell one split each. Give "
                "the path of one, or call them train.json, val.json and test.json."
            )
    return list(found.items())


def _split_of_file(file: Path) -> Split | None:
    return split_in(file.stem) or (split_of(file.absolute().parent.name) if file.name == ROBOFLOW else None)


def _folders_of(file: Path, split: Split | None) -> list[str]:
    """Return possible names for the folder of a file's images: ``train2017`` for ``instances_train2017.json``."""
    words = [word for word in re.findall(r"[A-Za-z]+\d*", file.stem) if split_in(word)]
    return list(dict.fromkeys([*words, *([split] if split else []), *(["valid"] if split == "val" else [])]))


def _read_file(path: Path, split: Split | None, *, strict: bool) -> tuple[list[_Listed], list[str]]:
    """Return the images of one file, and what was left out."""
    content = read_json(path)
    if not isinstance(content, Mapping):
        raise Place(path).fault(
            f"it holds {shown(content)}", "An object with images, categories, annotations is needed."
        )
    names = _categories(content, path)
    entries: dict[str, tuple[Mapping[str, Any], Place]] = {}
    for number, entry in enumerate(entries_of(content, "images", path), start=1):
        place = Place(path, "image", number)
        key = id_of(entry, "id", place)
        place = Place(path, "image", key)
        if key in entries and entries[key][0] != entry:
            raise place.fault("two images have this id", "Give each an id of its own.")
        entries[key] = entry, place
    objects: defaultdict[str, list[Object]] = defaultdict(list)
    used: set[str] = set()
    strangers = 0
    for number, entry in enumerate(entries_of(content, "annotations", path, optional=True), start=1):
        place = Place(path, "annotation", _shown_id(entry, number))
        image = id_of(entry, "image_id", place)
        if image not in entries:
            strangers += 1
            continue
        category = id_of(entry, "category_id", place)
        if category not in names:
            raise place.fault(f"category {category} is not in 'categories'")
        used.add(category)
        is_crowd = number_of(entry.get("iscrowd") or 0)
        if is_crowd is None or not math.isfinite(is_crowd):
            raise place.fault(f"'iscrowd' is {shown(entry['iscrowd'])}, but must be 0 or 1")
        objects[image].append(Object(names[category], _box(entry.get("bbox"), place, strict=strict), is_crowd != 0))
    _require_one_id_each(path, names, used)
    splits = _stated_splits(entries)
    listed = [
        _Listed(_file_name(entry, place), splits.get(key, split), place, tuple(objects[key]), _sequence(entry))
        for key, (entry, place) in entries.items()
    ]
    are = "is of an image" if strangers == 1 else "are of images"
    note = f"Left out: {strangers:,} annotation{'' if strangers == 1 else 's'} of '{path.name}' that {are} not listed."
    return listed, [note] if strangers else []


def _categories(content: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Return the names of categories by their ids."""
    names: dict[str, str] = {}
    for number, entry in enumerate(entries_of(content, "categories", path), start=1):
        place = Place(path, "category", number)
        key = id_of(entry, "id", place)
        name = name_of(entry.get("name"), "'name'", Place(path, "category", key))
        if names.setdefault(key, name) != name:
            raise place.fault(f"id {key} is '{name}' here, but '{names[key]}' before")
    return names


def _require_one_id_each(path: Path, names: Mapping[str, str], used: set[str]) -> None:
    """Check that no two categories with images have the same name."""
    by_name: dict[str, str] = {}
    for key in (key for key in names if key in used):
        if (other := by_name.setdefault(names[key], key)) != key:
            fault = f"categories {other} and {key} are both called '{names[key]}'"
            raise Place(path).fault(fault, "Give each a name of its own, or one id to both.")


def _box(written: Any, place: Place, *, strict: bool) -> Box | None:
    if written is None or written == []:
        return None
    numbers = [number_of(value) for value in written] if isinstance(written, list) else []
    if len(numbers) != 4 or None in numbers:
        if strict:
            raise place.fault(f"'bbox' is {shown(written)}, but must be four numbers, x, y, width and height")
        return NO_NUMBERS
    x, y, width, height = (value for value in numbers if value is not None)
    return checked_box((x, y, x + width, y + height), place, strict=strict)


def _file_name(entry: Mapping[str, Any], place: Place) -> str:
    file = entry.get("file_name")
    if not isinstance(file, str) or not file.strip():
        raise place.fault("it has no 'file_name'" if file is None else f"'file_name' is {shown(file)}")
    return file.strip()


def _stated_splits(entries: Mapping[str, tuple[Mapping[str, Any], Place]]) -> dict[str, Split]:
    """Return the splits that the images themselves state; empty if they state none."""
    if not any("split" in entry for entry, _ in entries.values()):
        return {}
    found: dict[str, Split] = {}
    for key, (entry, place) in entries.items():
        stated = entry.get("split")
        split = split_of(stated) if isinstance(stated, str) else None
        if split is None:
            raise place.fault(f"'split' is {shown(stated)}, but must be train, val or test")
        found[key] = split
    return found


def _sequence(entry: Mapping[str, Any]) -> str | None:
    """Return the sequence of photographs that an image belongs to, as in camera traps."""
    sequence = entry.get("seq_id")
    return str(sequence) if isinstance(sequence, (str, int)) and sequence != "" else None


def _shown_id(entry: Mapping[str, Any], number: int) -> str:
    found = entry.get("id")
    return shown(found) if isinstance(found, (str, int)) else f"number {number}"


__all__ = ["ROBOFLOW", "is_coco", "read_coco"]
