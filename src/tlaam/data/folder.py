"""Class folders: ``<class>/*.jpg``, or the same below ``train/``, ``val/`` and ``test/``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tlaam.data.arrangement import arranged
from tlaam.data.class_depth import above_depth, at_depth, option, require_certain
from tlaam.data.images import IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES
from tlaam.data.left_out import conversion, left_out_note
from tlaam.data.names import clean_name, spelt_in_several_ways
from tlaam.data.rules import require_usable_classes, split_of
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.data.walk import (
    files_directly_in,
    holds_images,
    image_files,
    images_directly_in,
    is_image_file,
    visible_files,
    visible_folders,
)
from tlaam.errors import DataError


def is_class_folders(root: Path) -> bool:
    """Whether `root` is a folder with at least one image inside one of its (visible) folders."""
    return root.is_dir() and any(holds_images(folder) for folder in visible_folders(root))


def read_folder(root: str | Path, *, strict: bool = True, depth: int | None = None) -> LabelledImages:
    """Read class folders, either flat or below one level of split folders.

    The name of a folder is its class (`tlaam.data.names.clean_name`); images at any depth below it belong to it. Splits
    may be spelt as in `SPLIT_NAMES`. Classes are the union over the splits, sorted by name. Without split folders, all
    images are training images (`tlaam.data.split` cuts the other splits). Hidden entries are ignored. Folders that are
    neither splits nor classes (`tlaam.data.arrangement`), images beside class folders and files that are not images are
    left out, and `LabelledImages.notes` says so. A link that leads back into its own folder is followed once.

    Args:
        strict: refuse empty class folders and classes that cannot be learned (`require_usable_classes`).
        depth: depth of the class folders below the data set or its splits. None: directly below, unless these seem to
            be folders of classes (`tlaam.data.class_depth`).

    Raises:
        DataError: `root` is not a folder or holds no class folders, it is unclear which of its folders are classes, or
            split folders and class folders are mixed. If `strict`, also: a class folder holds no image, there is only
            one class, or a class has no training images.
    """
    root = Path(root)
    folders = class_folders(root, depth)
    names = [clean_name(folder.name) for _, folder in folders]
    classes = tuple(sorted(set(names)))
    labels = {name: label for label, name in enumerate(classes)}
    samples: list[Sample] = []
    others: list[str] = []
    for (split, folder), name in zip(folders, names, strict=True):
        files = sorted(visible_files(folder))
        found = [file for file in files if is_image_file(folder, file)]
        if strict and not found:
            raise DataError(_no_image_in(folder))
        prefix = folder.relative_to(root).as_posix()
        samples += [Sample(str(folder / file), f"{prefix}/{file}", labels[name], split) for file in found]
        others += [file.rpartition("/")[2] for file in sorted({*files} - {*found})] if len(found) < len(files) else []
    if strict and len(folders) == 1 and (inner := _class_folders_inside(folders[0][1])):
        raise DataError(
            f"'{root}' has only one class, '{classes[0]}', but there are folders of images inside it. "
            f"If these are the classes, give the path '{inner}'."
        )
    notes = [*_notes(root, depth or 1), left_out_note(others, root)]
    for name, spellings in spelt_in_several_ways({folder.name for _, folder in folders}).items():
        notes.append(f"Class '{name}' has its images in folders of {len(spellings)} spellings: {', '.join(spellings)}.")
    images = LabelledImages(
        root.resolve().name or str(root), root, "folder", classes, tuple(samples),
        "" if depth is None else option(depth), notes=tuple(filter(None, notes)),
    )  # fmt: skip
    return require_usable_classes(images) if strict else images


def class_folders(root: Path, depth: int | None = None) -> list[tuple[Split, Path]]:
    """Return the class folders of a data set, each with its split, in the order in which they are read.

    Raises:
        DataError: see `read_folder` with ``strict=False``.
    """
    if not root.is_dir():
        raise DataError(f"'{root}' is not a folder; class folders are expected in it, one for each class.")
    found = arranged(root).classes
    if depth is None:
        require_certain(root, found)
    found = at_depth(found, depth or 1)
    if not found:
        raise DataError(f"'{root}' holds no class folders; expected one folder of images for each class.")
    return found


def depth_of(images: LabelledImages) -> int | None:
    """Return the depth at which the classes of a data set were requested, or None if none was."""
    return int(images.option.removeprefix("depth=")) if images.option.startswith("depth=") else None


def has_split_folders(root: Path) -> bool:
    """Whether one of the folders in `root` has a name of the training split (in any letter case)."""
    return any(split_of(folder.name) == "train" for folder in visible_folders(root))


def unsupported_files(top: Path) -> dict[str, int]:
    """Count the pictures of an unsupported type, such as HEIC photos, at any depth below `top`.

    Returns:
        The number of files for each ending of `UNSUPPORTED_SUFFIXES` (lower case) that occurs, sorted by ending.

    Raises:
        OSError: a folder cannot be listed.
    """
    unread = (file for file in visible_files(top) if not is_image_file(top, file))
    endings = Counter(os.path.splitext(file)[1].lower() for file in unread)  # noqa: PTH122 (hot loop)
    return {ending: number for ending, number in sorted(endings.items()) if ending in UNSUPPORTED_SUFFIXES}


def unsupported_types(counts: Mapping[str, int]) -> str:
    """Describe what `unsupported_files` found, as in ``12 files of type .heic``; an empty string for nothing."""
    return " and ".join(
        f"{number} file{'' if number == 1 else 's'} of type {suffix}" for suffix, number in counts.items()
    )


def _notes(root: Path, depth: int) -> Iterator[str]:
    """Yield a line for everything beside the class folders that is left out."""
    arrangement = arranged(root)
    for folder, reason in arrangement.left_out:
        count = sum(1 for _ in image_files(folder))
        images = f"{count:,} image{'' if count == 1 else 's'}"
        yield f"Left out: folder '{folder.relative_to(root).as_posix()}' with {images}: {reason}."
    tops = [root, *sorted({folder.parent for _, folder in arrangement.classes} - {root})]
    for folder in [*tops, *above_depth(arrangement.classes, depth)]:
        if count := sum(is_image_file(folder, name) for name in files_directly_in(folder)):
            images = "1 image that lies" if count == 1 else f"{count:,} images that lie"
            yield f"Left out: {images} in '{folder}' itself, in no class folder."


def _no_image_in(folder: Path) -> str:
    if counts := unsupported_files(folder):
        remedy = conversion(counts)
        return (
            f"Class folder '{folder}' holds no image that can be read, only {unsupported_types(counts)}. "
            f"{remedy[0].upper()}{remedy[1:]}."
        )
    return (
        f"Class folder '{folder}' holds no image. Add images ({', '.join(sorted(IMAGE_SUFFIXES))}) "
        "or remove the folder."
    )


def _class_folders_inside(folder: Path) -> Path | None:
    """Descend through single folders and return the one that holds several folders of images, or None."""
    while not images_directly_in(folder):
        inside = [inner for inner in visible_folders(folder) if holds_images(inner)]
        if len(inside) != 1:
            return folder if inside else None
        folder = inside[0]
    return None
