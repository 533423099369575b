"""Recognise what a path holds and read it: the single entry point through which every command gets its images."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import NamedTuple, Protocol

from tlaam.data.annotations import class_csv, coco, cvat, label_studio, yolo
from tlaam.data.annotations.crops import CROPS
from tlaam.data.class_depth import DEEPEST, option
from tlaam.data.folder import has_split_folders, is_class_folders, read_folder, unsupported_files, unsupported_types
from tlaam.data.left_out import conversion
from tlaam.data.manifest import FOLDER_NAMES, columns_of, manifest_in, read_manifest
from tlaam.data.parquet import is_parquet, read_parquet
from tlaam.data.public import aircraft, cars, cub, dogs, flowers, nabirds, pets
from tlaam.data.sample import LabelledImages
from tlaam.data.tar import is_tar, read_tar
from tlaam.data.walk import holds_images, is_image_name, visible_folders
from tlaam.errors import ConfigError, DataError, InputError, did_you_mean


class Reader(Protocol):
    """Reads a layout; with ``strict=False`` it keeps the faults that `tlaam.data.check` lists (see `open_dataset`)."""

    def __call__(self, root: Path, /, *, strict: bool) -> LabelledImages: ...


class _BoxReader(Reader, Protocol):
    """Reads a layout with boxes of objects; with ``crops=True`` each box becomes an image of its own."""

    def __call__(self, root: Path, /, *, strict: bool, crops: bool = False) -> LabelledImages: ...


class Layout(NamedTuple):
    """A layout on disk.

    Attributes:
        title: its name.
        recognises: whether a path has this layout.
        read: reads it.
        folder: name of the folder that its archive unpacks to; the folder around it may be given instead.
        options: what may follow the path after a colon, each with the reader that it selects.
        chosen: beginnings of options that end in a text of the user's data, each with a function that selects the
            reader.
    """

    title: str
    recognises: Callable[[Path], bool]
    read: Reader
    folder: str = ""
    options: tuple[tuple[str, Reader], ...] = ()
    chosen: tuple[tuple[str, Callable[[str], Reader]], ...] = ()


def _is_manifest(path: Path) -> bool:
    return manifest_in(path) is not None


def _read_manifest_of(path: Path, /, *, strict: bool) -> LabelledImages:
    table = manifest_in(path) or path
    images = read_manifest(table, strict=strict)
    if table == path or table.name in FOLDER_NAMES:
        return images
    listed = {PurePath(sample.name).parts[0] for sample in images.samples}
    others = [folder.name for folder in visible_folders(path) if folder.name not in listed and holds_images(folder)]
    left_out = f" Left out: {', '.join(map(repr, others))}, of which it lists no image." if others else ""
    name = path.resolve().name or images.name
    return replace(images, name=name, notes=(*images.notes, f"The labels are those of '{table.name}'.{left_out}"))


def _annotations(title: str, recognises: Callable[[Path], bool], read: _BoxReader) -> Layout:
    """Return a layout whose boxes may be read as images."""
    return Layout(title, recognises, read, options=((CROPS, partial(read, crops=True)),))


# The first layout that recognises a path reads it, so the most specific come first: most of them hold class folders.
LAYOUTS: tuple[Layout, ...] = (
    Layout("NABirds' official layout", nabirds.is_nabirds, nabirds.read_nabirds, nabirds.FOLDER),
    Layout("CUB-200-2011's official layout", cub.is_cub, cub.read_cub, cub.FOLDER),
    Layout(
        "FGVC-Aircraft's official layout",
        aircraft.is_aircraft,
        aircraft.read_aircraft,
        aircraft.FOLDER,
        tuple((f"level={level}", partial(aircraft.read_aircraft, level=level)) for level in aircraft.CLASS_LISTS),
    ),
    Layout("Stanford Cars' official layout", cars.is_cars, cars.read_cars, cars.FOLDER),
    Layout("Stanford Dogs' official layout", dogs.is_dogs, dogs.read_dogs, dogs.FOLDER),
    Layout("the Oxford-IIIT Pet data set's official layout", pets.is_pets, pets.read_pets, pets.FOLDER),
    Layout("the 102 flowers' official layout", flowers.is_flowers, flowers.read_flowers, flowers.FOLDER),
    Layout("a CSV manifest with the columns image,label", _is_manifest, _read_manifest_of),
    _annotations("COCO JSON (annotations.json, annotations/instances_train.json)", coco.is_coco, coco.read_coco),
    _annotations("a JSON export of Label Studio", label_studio.is_label_studio, label_studio.read_label_studio),
    _annotations("CVAT's annotations.xml", cvat.is_cvat, cvat.read_cvat),
    Layout("tables _classes.csv below train/, valid/, test/", class_csv.is_class_csv, class_csv.read_class_csv),
    _annotations("YOLO's folders of images/ and labels/", yolo.is_yolo, yolo.read_yolo),
    Layout(
        "one folder of images for each class (also below train/, val/, test/)",
        is_class_folders,
        read_folder,
        options=tuple((option(depth), partial(read_folder, depth=depth)) for depth in range(1, DEEPEST + 1)),
    ),
    Layout(
        "Parquet with images (one file, or a folder of them)",
        is_parquet,
        read_parquet,
        chosen=(("label=", lambda name: partial(read_parquet, label=name)),),
    ),
    Layout(
        "a tar archive of images (or a folder of them)",
        is_tar,
        read_tar,
        options=tuple((option(depth), partial(read_tar, depth=depth)) for depth in range(1, DEEPEST + 1)),
    ),
)


def open_dataset(source: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read a source of labelled images; its layout is recognised from its content.

    Args:
        source: path of a folder or CSV file in one of `LAYOUTS`, optionally followed by an option of its layout
            (``fgvc-aircraft-2013b:level=family``), or ``synthetic``, ``synthetic:classes=6,size=320``
            (`tlaam.data.synthetic`). A file or folder of exactly this name takes precedence.
        strict: refuse what cannot be learned from. Otherwise empty classes, a single class, impossible boxes and images
            listed twice with different content are kept, so that `tlaam.data.check` can list them all.

    Raises:
        DataError: the path does not exist or fits no layout (the message says what was found), or its content is faulty
            (the message names the first fault).
        ConfigError: an option is unknown or impossible.

    Examples:
        >>> images = tlaam.open_dataset("photos")
        >>> images.classes, len(images.samples)
        (('crow', 'jay', 'wren'), 18)
    """
    if not isinstance(source, (str, Path)):
        raise InputError(
            f"a path is needed here, not something of type {type(source).__name__}; lists and data sets in memory are "
            "taken by tlaam.fit, Classifier.evaluate and Classifier.report."
        )
    try:
        path, option = Path(source).expanduser(), ""
    except RuntimeError as error:
        raise DataError(
            f"Cannot open '{source}': there is no such user. Write ./ before it if it is a folder."
        ) from error
    try:
        if not path.exists():
            if str(source).partition(":")[0].strip() == "synthetic":
                # Imported on demand: users with their own images do not need the drawing code.
                from tlaam.data.synthetic import SyntheticOptions, synthetic_images

                return synthetic_images(SyntheticOptions.parse(str(source)))
            path, option = _without_option(path)
        if not path.exists():
            raise DataError(
                f"There is no file or folder '{path}'.{_closest_path(path)} Give a path that exists, or 'synthetic'."
            )
        _refuse_several_data_sets(path)
        for layout in LAYOUTS:
            if layout.recognises(path):
                if layout.read is read_folder:
                    _refuse_folder_of_data_sets(path)
                return _reader(layout, path, option)(path, strict=strict)
        expected = "; ".join(["synthetic", *(layout.title for layout in LAYOUTS)])
        raise DataError(f"'{path}' is {_described(path)}; expected one of: {expected}.")
    except OSError as error:
        raise DataError(
            f"Cannot read '{error.filename or path}': {error.strerror or error}. Check the path and its rights."
        ) from error


def is_labelled(source: str | Path) -> bool:
    """Return whether a source seems to be a data set for `open_dataset`, rather than images alone.

    Images alone are a file, a pattern, a folder without class folders, or a CSV file with one column.

    Raises:
        DataError: a CSV file cannot be read.
    """
    try:
        path = Path(source).expanduser()
    except RuntimeError:  # no such user, which opening the source reports
        return True
    if not path.exists():
        path, option = _without_option(path)
        return bool(option) or str(source).partition(":")[0].strip() == "synthetic"
    if path.is_file():
        return manifest_in(path) is not None and len(columns_of(path)) > 1
    return any(layout.recognises(path) for layout in LAYOUTS)


def _without_option(path: Path) -> tuple[Path, str]:
    """Split ``<path>:<name>=<value>``; the option is empty if there is none."""
    found = re.fullmatch(r"(.+):(\w+=[^/\\]*)", str(path))
    return (Path(found[1]), found[2]) if found else (path, "")


def _reader(layout: Layout, path: Path, option: str) -> Reader:
    if not option:
        return layout.read
    for start, choose in layout.chosen:
        if option.startswith(start):
            return choose(option.removeprefix(start))
    readers: dict[str, Reader | None] = {**dict(layout.options), **{f"{start}NAME": None for start, _ in layout.chosen}}
    if option not in readers:
        allowed = f"allowed are {', '.join(readers)}" if readers else f"{layout.title} has none"
        raise ConfigError(f"'{path}': unknown option '{option}'; {allowed}.{did_you_mean(option, readers)}")
    return dict(layout.options)[option]


def _refuse_several_data_sets(path: Path) -> None:
    """Raise if several data sets lie side by side: the first one might not be the one that is meant."""
    found = [layout.folder for layout in LAYOUTS if layout.folder and layout.recognises(path / layout.folder)]
    if len(found) > 1:
        raise DataError(f"'{path}' holds several data sets: {', '.join(found)}. Give the path of one of them.")


def _refuse_folder_of_data_sets(path: Path) -> None:
    """Raise if folders are whole data sets: training would take them for classes without complaint."""
    level = [] if has_split_folders(path) else visible_folders(path)
    for depth in range(_DEPTH):
        found = {home: title for folder in level for home, title in _own_data_set(folder, official_only=depth > 0)}
        if found:
            named = [f"'{home.relative_to(path).as_posix()}'{title}" for home, title in found.items()]
            one = "a data set" if len(found) == 1 else "data sets"
            which = f"the path '{next(iter(found))}'" if len(found) == 1 else "the path of one of them"
            raise DataError(f"'{path}' holds {one} of its own, {', '.join(named)}. Give {which}.")
        level = [inner for folder in level for inner in visible_folders(folder)]


def _own_data_set(folder: Path, *, official_only: bool) -> Iterator[tuple[Path, str]]:
    """Yield the data set that a folder is, or holds under its official name, with the title of an official layout."""
    for layout in LAYOUTS:
        if layout.folder and layout.recognises(folder):
            inner = folder / layout.folder
            yield inner if inner.is_dir() else folder, f" ({layout.title})"
            return
    if not official_only and (_is_manifest(folder) or has_split_folders(folder)):
        yield folder, ""


_DEPTH = 3
"""Levels of folders below a path that are searched for official layouts before its folders are taken as classes."""


def _closest_path(path: Path) -> str:
    """Return a hint at a sibling with a similar name, or at the first folder of the path that does not exist."""
    parent = path.parent
    if parent.is_dir():
        siblings = {str(entry): entry.name for entry in parent.iterdir()}
        return did_you_mean(str(path), [*siblings, "synthetic"]) or did_you_mean(path.name, siblings.values())
    missing = next(folder for folder in (parent, *parent.parents) if folder.parent.is_dir())
    return f" Already the folder '{missing}' does not exist."


def _described(path: Path) -> str:
    """Describe what a path holds, as far as it helps to see why no layout fits."""
    if not path.is_dir():
        return f"a file that is no CSV manifest and no file of annotations (its name ends in '{path.suffix}')"
    files = sorted(entry.name for entry in path.iterdir() if not entry.is_dir())
    images = sum(map(is_image_name, files))
    tables = [name for name in files if name.lower().endswith((".csv", ".tsv"))]
    folders = visible_folders(path)
    parts = [_counted(images, "image") if images else "no images"]
    parts.append(f"{_counted(len(folders), 'folder')} without images" if folders else "no class folders")
    if tables:
        parts.append(f"the table{'s' if len(tables) > 1 else ''} {', '.join(repr(name) for name in tables[:3])}")
    described = f"a folder with {', '.join(parts[:-1])} and {parts[-1]}"
    if counts := unsupported_files(path):
        described += f" ({unsupported_types(counts)} cannot be read; {conversion(counts)})"
    return described


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
