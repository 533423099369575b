"""Class folders: ``<class>/*.jpg``, or the same below ``train/``, ``val/`` and ``test/``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from tlaam.data.images import HEIF_SUFFIXES, IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES, is_disguised, reads_heif
from tlaam.data.rules import SPLIT_NAMES, require_usable_classes
from tlaam.data.sample import SPLITS, LabelledImages, Sample, Split
from tlaam.errors import DataError, did_you_mean
from tlaam.utils.extras import install_hint


def is_class_folders(root: Path) -> bool:
    """Whether `root` is a folder with at least one image inside one of its (visible) folders."""
    return root.is_dir() and any(_holds_images(folder) for folder in visible_folders(root))


def read_folder(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read class folders, either flat or with one level of split folders above.

    The name of a folder is its class; images are found at any depth below it. Other names of the splits
    are those of `SPLIT_NAMES`. Classes are the union over the splits, sorted by name. Without split folders all images
    are training images (`tlaam.data.split` cuts the other splits). Hidden entries and files that are no images are
    ignored, pictures of a type that is not read are counted (`LabelledImages.left_out`); a link that leads back into
    its own folder is followed once.

    Args:
        strict: refuse empty class folders and classes that cannot be learned (`require_usable_classes`).

    Raises:
        DataError: `root` is no folder or holds no class folders, or split folders and class folders are mixed; where
            `strict`, also a class folder holds no image, there is only one class, or a class has no training images.
    """
    root = Path(root)
    folders = class_folders(root)
    classes = tuple(sorted({folder.name for _, folder in folders}))
    labels = {name: label for label, name in enumerate(classes)}
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    for split, folder in folders:
        found = sorted(image_files(folder, left_out))
        if strict and not found:
            raise DataError(_no_image_in(folder))
        prefix = folder.relative_to(root).as_posix()
        samples += [Sample(str(folder / file), f"{prefix}/{file}", labels[folder.name], split) for file in found]
    if strict and len(folders) == 1 and (inner := _class_folders_inside(folders[0][1])):
        raise DataError(
            f"'{root}' has only one class, '{classes[0]}', but there are folders of images inside it. "
            f"If these are the classes, give the path '{inner}'."
        )
    name, others = root.resolve().name or str(root), tuple(sorted(left_out.items()))
    images = LabelledImages(name, root, "folder", classes, tuple(samples), left_out=others)
    return require_usable_classes(images) if strict else images


def class_folders(root: Path) -> list[tuple[Split, Path]]:
    """Return the class folders of a data set, each with its split, in the order in which they are read.

    Raises:
        DataError: as `read_folder` with ``strict=False``.
    """
    if not root.is_dir():
        raise DataError(f"'{root}' is not a folder; class folders are expected in it, one for each class.")
    found: list[tuple[Split, Path]]
    if split_folders := _split_folders(root):
        found = [(split, folder) for split in SPLITS for folder in visible_folders(split_folders.get(split))]
    else:
        found = [("train", folder) for folder in visible_folders(root)]
    if not found:
        raise DataError(f"'{root}' holds no class folders; expected one folder of images for each class.")
    return found


def visible_folders(root: Path | None) -> list[Path]:
    """Return the folders directly inside `root` that are not hidden, sorted by name; none for None."""
    if root is None:
        return []
    with os.scandir(root) as entries:
        return sorted(root / entry.name for entry in entries if not _is_hidden(entry.name) and _is_folder(entry))


def has_split_folders(root: Path) -> bool:
    """Whether one of the folders in `root` is called ``train`` or ``training`` (in any case)."""
    return any(SPLIT_NAMES.get(folder.name.lower()) == "train" for folder in visible_folders(root))


def is_image_name(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return not _is_hidden(name) and os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (hot loop)


def image_files(top: Path, left_out: Counter[str] | None = None) -> Iterator[str]:
    """Yield the images at any depth below `top` as relative paths with forward slashes, in no particular order.

    Hidden files and folders and ``__MACOSX`` are left out. Broken links and pipes with the name of an image count as
    images, so that they are reported and not overlooked. A picture whose ending stands for a type that is not read is
    an image where its content is one (`tlaam.data.images.is_disguised`), as a JPEG file called ``.HEIC``.

    Args:
        top: the folder.
        left_out: counts pictures of a type that is not read, by their ending (lower case).

    Raises:
        OSError: a folder cannot be listed.
    """
    for file in _files(top):
        suffix = os.path.splitext(file)[1].lower()  # noqa: PTH122 (hot loop)
        if suffix in IMAGE_SUFFIXES or (suffix in UNSUPPORTED_SUFFIXES and is_disguised(top / file)):
            yield file
        elif suffix in UNSUPPORTED_SUFFIXES and left_out is not None:
            left_out[suffix] += 1


def unsupported_files(top: Path) -> dict[str, int]:
    """Count the pictures at any depth below `top` whose type is not read, such as HEIC photos.

    Returns:
        The number of files for each ending of `UNSUPPORTED_SUFFIXES` (lower case) that occurs, sorted by ending.

    Raises:
        OSError: a folder cannot be listed.
    """
    left_out: Counter[str] = Counter()
    for _ in image_files(top, left_out):
        pass
    return dict(sorted(left_out.items()))


def unsupported_types(counts: Mapping[str, int]) -> str:
    """Say what `unsupported_files` found, as in ``12 files of type .heic``; an empty string for nothing."""
    return " and ".join(
        f"{number} file{'' if number == 1 else 's'} of type {suffix}" for suffix, number in counts.items()
    )


def conversion(counts: Mapping[str, int]) -> str:
    """Say what to do about pictures of types that are not read, as in ``convert them to JPEG or PNG``."""
    remedy = f"convert {'it' if sum(counts.values()) == 1 else 'them'} to JPEG or PNG"
    if HEIF_SUFFIXES.isdisjoint(counts) or reads_heif():
        return remedy
    return f"{remedy}, or install what reads HEIC ({install_hint('heif')})"


def left_out_line(images: LabelledImages) -> str:
    """Say what `LabelledImages.left_out` counts in one line; an empty string for nothing."""
    return not_read_line(dict(images.left_out))


def not_read_line(counts: Mapping[str, int]) -> str:
    """Say how many pictures were left out and why, in one line; an empty string for none."""
    if not counts:
        return ""
    verb = "is" if sum(counts.values()) == 1 else "are"
    return f"Left out {unsupported_types(counts)}, which {verb} not read: {conversion(counts)}."


def _files(top: Path) -> Iterator[str]:
    """Yield all visible files at any depth below `top`, as `image_files` does."""
    visited: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        prefix = pending.pop()
        folder = top / prefix
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            continue  # a link that leads back
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_hidden(entry.name):
                    continue
                if _is_folder(entry):
                    pending.append(f"{prefix}{entry.name}/")
                else:
                    yield prefix + entry.name


def _split_folders(root: Path) -> dict[Split, Path]:
    """Return the split folders in `root`; empty where its folders are classes."""
    named: dict[Split, Path] = {}
    others: list[Path] = []
    for folder in visible_folders(root):
        split = SPLIT_NAMES.get(folder.name.lower())
        if split is None:
            others.append(folder)
        elif split in named:
            raise DataError(f"'{named[split]}' and '{folder}' both name the {split} split. Keep one of them.")
        else:
            named[split] = folder
    loose = [folder for folder in named.values() if _images_directly_in(folder)]
    if loose and others:
        return {}  # a class may well be called "train" or "test": these folders hold images like their neighbours
    if loose:
        raise DataError(
            f"Split folder '{loose[0]}' holds images outside class folders. Sort them into one folder for each class."
        )
    strays = [folder for folder in others if _holds_images(folder)] if named else []
    if strays:
        hint = did_you_mean(strays[0].name.lower(), SPLIT_NAMES)
        raise DataError(
            f"Folder '{strays[0]}' holds images beside the split folder '{next(iter(named.values())).name}', "
            f"but is not called train, val or test.{hint} Rename it or move it elsewhere."
        )
    return named


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
    """Return `folder`, or the only folder inside it and so on, if it holds several folders of images; else None."""
    while not _images_directly_in(folder):
        inside = [inner for inner in visible_folders(folder) if _holds_images(inner)]
        if len(inside) != 1:
            return folder if inside else None
        folder = inside[0]
    return None


def _holds_images(folder: Path) -> bool:
    return next(image_files(folder), None) is not None


def _images_directly_in(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(_is_image(entry) and not _is_folder(entry) for entry in entries)


def _is_image(entry: os.DirEntry[str]) -> bool:
    suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 (hot loop)
    hidden = _is_hidden(entry.name)
    return not hidden and (suffix in IMAGE_SUFFIXES or (suffix in UNSUPPORTED_SUFFIXES and is_disguised(entry.path)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
