"""Which folders of a data set are splits, which are classes, and which are neither."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tlaam.data.rules import SPLIT_NAMES, split_of
from tlaam.data.sample import SPLITS, Split
from tlaam.data.walk import holds_images, images_directly_in, stems, visible_folders
from tlaam.errors import DataError, did_you_mean

_NUMBERED = re.compile(r"(train|val|valid|test)[ _-]?\d+")
_UNLABELLED = frozenset(("unlabelled", "unlabeled", "unannotated", "unlabelled_images", "unlabeled_images"))
_NAMELESS = frozenset(("images", "image", "imgs", "img", "unknown", "all", "test", "data", "0", *_UNLABELLED))
_PICTURES = frozenset(("images", "image", "imgs", "img", "jpegimages", "photos", "pictures", "rgb", "raw", "input"))
_DERIVED = frozenset(
    (
        *("masks", "mask", "labels", "annotations", "segmentations", "segmentation", "segmentationclass", "gt"),
        *("groundtruth", "ground_truth", "trimaps", "depth", "edges", "thumbnails", "thumbs", "overlays", "heatmaps"),
        *("mattes", "alpha", "predictions", "bboxes", "boxes", "contours"),
    )
)
_DERIVED_ENDING = re.compile(r"[ _-](mask|masks|seg|segmentation|gt|label|depth|thumb|overlay|matte)\d*$")


class LeftOut(NamedTuple):
    """A folder that is not read, and why."""

    folder: Path
    reason: str


class Arrangement(NamedTuple):
    """The folders of a data set.

    Attributes:
        classes: class folders, each with its split, in the order in which they are read.
        left_out: folders that are not read.
        of_splits: whether the class folders lie below split folders.
    """

    classes: list[tuple[Split, Path]]
    left_out: list[LeftOut]
    of_splits: bool


def arranged(root: Path) -> Arrangement:
    """Sort the folders in `root` into splits, classes and others, by name and by whether they hold images or folders.

    Raises:
        DataError: it is unclear which folders are splits and which are classes, or some are neither; the message says
            how to resolve it.
    """
    splits, left_out = _split_folders(root)
    found: list[tuple[Split, Path]] = []
    for split, top in [(split, splits[split]) for split in SPLITS if split in splits] or [("train", root)]:
        classes, others = _without_derived(
            top, [f for f in visible_folders(top) if f not in {o.folder for o in left_out}]
        )
        found += [(split, folder) for folder in classes]
        left_out = [*left_out, *others]
    return Arrangement(found, left_out, bool(splits))


def _split_folders(root: Path) -> tuple[dict[Split, Path], list[LeftOut]]:
    """Return the split folders in `root` (none if its folders are classes), and the folders to leave out."""
    left_out = [LeftOut(folder, "unlabelled") for folder in visible_folders(root) if folder.name.lower() in _UNLABELLED]
    named: dict[Split, Path] = {}
    others: list[Path] = []
    for folder in visible_folders(root):
        split = split_of(folder.name)
        if folder.name.lower() in _UNLABELLED:
            continue
        if split is None:
            others.append(folder)
        elif split in named:
            raise DataError(f"'{named[split]}' and '{folder}' both name the {split} split. Keep one of them.")
        else:
            named[split] = folder
    others = [folder for folder in others if holds_images(folder)]
    loose = {split: folder for split, folder in named.items() if images_directly_in(folder)}
    if not named:
        _refuse_splits_alone(root, others)
        return {}, left_out
    train = named.get("train")
    if train is not None and "train" not in loose and not _dates_alone(train):
        return _beside_training(named, loose, others, left_out)
    if others and _may_be_classes(named, others):
        return {}, left_out
    if loose and not [folder for folder in others if not _NUMBERED.fullmatch(folder.name.lower())]:
        raise _loose(root, next(iter(loose.values())))
    if others:
        raise _stray(named, others[0]) if not loose else _class_or_split(root, next(iter(loose.values())), others)
    return named, left_out


def _beside_training(
    named: dict[Split, Path], loose: dict[Split, Path], others: Sequence[Path], left_out: list[LeftOut]
) -> tuple[dict[Split, Path], list[LeftOut]]:
    """Return the splits of a data set with classes below ``train``, and the unlabelled folders beside them."""
    kept = dict(named)
    test = named.get("test")
    if test is not None and (reason := _without_labels(test, named["train"])):
        kept.pop("test")
        left_out = [*left_out, LeftOut(test, reason)]
    for split, folder in loose.items():
        if split in kept:
            raise _loose(folder.parent, folder)
    for folder in others:
        if any(holds_images(inner) for inner in visible_folders(folder)):
            raise _stray(named, folder)
        left_out = [*left_out, LeftOut(folder, "it is neither a split nor below one")]
    return kept, left_out


def _without_labels(test: Path, train: Path) -> str:
    """Return why the images of a test folder have no labels, or an empty string if they have."""
    inner = [folder for folder in visible_folders(test) if holds_images(folder)]
    if images_directly_in(test):
        return "" if inner else "its images lie in no class folder, so they have no labels"
    known = {folder.name.lower() for folder in visible_folders(train)}
    if len(inner) == 1 and inner[0].name.lower() in _NAMELESS - known and not visible_folders(inner[0]):
        return f"its images lie in '{inner[0].name}', which is no class"
    return ""


def _may_be_classes(named: dict[Split, Path], others: Sequence[Path]) -> bool:
    """Whether a possible split name may be a class: trains beside buses, valid tickets beside invalid ones."""
    if len(named) > 1 or any(_NUMBERED.fullmatch(folder.name.lower()) for folder in others):
        return False
    return next(iter(named.values())).name.lower() in ("train", "training", "valid", "testing")


def _dates_alone(folder: Path) -> bool:
    """Whether the folders inside are named by dates, as below a class, so that they are not classes."""
    inner = [each.name for each in visible_folders(folder) if holds_images(each)]
    return bool(inner) and all(re.fullmatch(r"(19|20)\d\d([ _.-]?\d\d){0,2}", name) for name in inner)


def _refuse_splits_alone(root: Path, folders: Sequence[Path]) -> None:
    """Raise if a folder such as ``test1`` lies beside classes: it may be an unlabelled test set."""
    numbered = [folder for folder in folders if _NUMBERED.fullmatch(folder.name.lower())]
    if numbered and len(numbered) < len(folders):
        raise _class_or_split(root, numbered[0], [folder for folder in folders if folder not in numbered])


def _loose(root: Path, folder: Path) -> DataError:
    names = sorted(_names_in(folder))
    starts = {found[0]: name for name in names if (found := re.match(r"[A-Za-z][A-Za-z _-]*(?=[._-]?\d)", name))}
    told = 2 <= len(starts) <= max(2, len(names) // 2)
    hint = f" File names such as '{min(starts.values())}' may tell the class." if told else ""
    tables = sorted(
        entry.name
        for entry in root.iterdir()
        if entry.suffix.lower() in (".csv", ".tsv") and "submission" not in entry.name.lower()  # placeholders
    )
    table = f" Or give the table '{root / tables[0]}', if it has the labels." if tables else ""
    return DataError(
        f"Split folder '{folder}' holds images outside class folders. Sort them into one folder for each class.{hint}"
        f"{table}"
    )


def _names_in(folder: Path) -> Iterator[str]:
    return (entry.name for entry in folder.iterdir() if entry.is_file())


def _class_or_split(root: Path, folder: Path, others: Sequence[Path]) -> DataError:
    beside = ", ".join(f"'{other.name}'" for other in others[:3])
    return DataError(
        f"Folder '{folder}' beside {beside} may be a class or a split. Move it out of '{root}' if its images have no "
        "labels, or rename it if it is a class."
    )


def _stray(named: dict[Split, Path], folder: Path) -> DataError:
    hint = did_you_mean(folder.name.lower(), SPLIT_NAMES)
    return DataError(
        f"Folder '{folder}' holds images beside the split folder '{next(iter(named.values())).name}', "
        f"but is not called train, val or test.{hint} Rename it or move it elsewhere."
    )


def _without_derived(top: Path, folders: list[Path]) -> tuple[list[Path], list[LeftOut]]:
    """Separate class folders from folders of masks and the like, derived from the images in other folders.

    Raises:
        DataError: the only classes would be folders of images and folders of files derived from them.
    """
    derived = [folder for folder in folders if folder.name.lower() in _DERIVED]
    rest = [folder for folder in folders if folder not in derived]
    if not derived or not rest:
        return folders, []
    pictures = [folder for folder in rest if folder.name.lower() in _PICTURES]
    if len(pictures) == len(rest):
        inside = [pictures[0]] if any(map(holds_images, visible_folders(pictures[0]))) else []
        classes = (
            f"Give the path '{inside[0]}'."
            if inside
            else "Sort the images into one folder for each class, or list them in a manifest (image,label)."
        )
        names = " and ".join(f"'{folder.name}'" for folder in [*pictures, *derived][:3])
        raise DataError(
            f"The folders {names} of '{top}' are not classes, but images and what belongs to them. {classes}"
        )
    known = {stem for folder in rest for stem in stems(folder)}
    kept, left_out = list(folders), []
    for folder in derived:
        found = {_DERIVED_ENDING.sub("", stem) for stem in stems(folder)}
        if found and found <= known:
            kept.remove(folder)
            left_out.append(
                LeftOut(folder, "its files are called as the images in other folders, so they belong to them")
            )
    return kept, left_out


__all__ = ["Arrangement", "LeftOut", "arranged"]
