"""Images in tar archives: in class folders, or each with its label beside it (`webdataset`)."""

from __future__ import annotations

from pathlib import Path

from tlaam.data.container import reference
from tlaam.data.images import IMAGE_SUFFIXES
from tlaam.data.packed_folders import by_class_folder
from tlaam.data.rules import require_usable_classes
from tlaam.data.sample import LabelledImages, Sample
from tlaam.data.shards import holds_shards, shards_of
from tlaam.data.tar_index import TarIndex, tar_index
from tlaam.data.webdataset import beside_labels, has_labels_beside
from tlaam.errors import DataError
from tlaam.utils.collector import collector_paused

TAR = ".tar"
_UNPACKED_BY = {
    **dict.fromkeys((".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst"), "tar -xf"),
    ".zip": "unzip",
}
_ENDINGS = (TAR, *_UNPACKED_BY)


def is_tar(path: Path) -> bool:
    """Whether a path is an archive, or a folder of archives that holds no other images."""
    return path.name.lower().endswith(_ENDINGS) if path.is_file() else holds_shards(path, _ENDINGS)


@collector_paused()
def read_tar(root: Path, /, *, strict: bool = True, depth: int | None = None) -> LabelledImages:
    """Read one tar archive, or a folder of them, without unpacking it.

    An archive holds class folders, also below ``train/``, ``val/`` and ``test/``, or images with a label beside each
    (`tlaam.data.webdataset`). A folder around all of them does not count. An archive that is named after a split, such
    as ``train-000.tar``, is that split. Images are read from their position in the archive (`tlaam.data.container`).

    Args:
        strict: refuse classes that cannot be learned (`require_usable_classes`).
        depth: depth of the class folders; see `tlaam.data.folder.read_folder`.

    Raises:
        DataError: an archive is compressed, damaged or cut off, holds no labelled images, or it is unclear which of its
            folders are classes.
    """
    shards, notes = shards_of(root, _ENDINGS)
    for shard in shards:
        _refuse_compressed(shard.path)
    indexes = [tar_index(shard.path) for shard in shards]
    images = [_images(index) for index in indexes]
    for index in indexes:
        notes += index.notes
    if not any(images):
        raise DataError(f"'{root}' holds no image. Give an archive of images in class folders, or the images' folder.")
    if has_labels_beside(indexes, images):
        found = beside_labels(root, shards, indexes, images)
    else:
        found = by_class_folder(root, shards, indexes, images, depth)
    classes = tuple(sorted({image.label for image in found.images}))
    number = {name: label for label, name in enumerate(classes)}
    files = [str(shard.path) for shard in shards]
    starts, sizes = [index.offsets for index in indexes], [index.sizes for index in indexes]
    del indexes, images  # as large as the samples made from them
    samples = tuple(
        Sample(reference(files[shard], starts[shard].item(row), sizes[shard].item(row)), name, number[label], split)
        for split, label, name, shard, row in found.images
    )
    title = root.stem if root.is_file() else root.resolve().name
    option = "" if depth is None else f"depth={depth}"
    data = LabelledImages(title, root, "tar", classes, samples, option, notes=(*notes, *found.notes))
    return require_usable_classes(data) if strict else data


def _images(index: TarIndex) -> list[int]:
    """Return the rows of an archive's images, without hidden ones."""
    return [
        row
        for row, name in enumerate(index.names)  # may be millions
        if f".{name.rpartition('.')[2]}".lower() in IMAGE_SUFFIXES
        and not (name[0] == "." or "/." in name or name.startswith("__MACOSX/") or "/__MACOSX/" in name)
    ]


def _refuse_compressed(path: Path) -> None:
    for ending, command in _UNPACKED_BY.items():
        if path.name.lower().endswith(ending):
            raise DataError(
                f"'{path}' is compressed, so its images cannot be read one by one. Unpack it ({command} '{path}') and "
                "give the folder."
            )


__all__ = ["TAR", "is_tar", "read_tar"]
