"""Images in archives with their labels beside them, as packed by WebDataset: ``0001.jpg`` and ``0001.cls``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tlaam.data.columns import AmbiguousColumnsError, taken_for
from tlaam.data.labels import LabelFault, label_of
from tlaam.data.packed_folders import Packed, PackedImage
from tlaam.data.shards import Shard
from tlaam.data.tar_index import TarIndex
from tlaam.errors import DataError
from tlaam.utils.text import shortened

_LABELS = ("cls", "json", "txt")
_LONGEST = 1 << 16  # bytes of a label file
_CAPTIONS = 20  # up to this many different texts are class names, however few images there are


def has_labels_beside(indexes: Sequence[TarIndex], images: Sequence[Sequence[int]]) -> bool:
    """Whether images have labels beside them: a ``.cls``, or a ``.json`` or ``.txt`` if all are in one folder."""
    for index, rows in zip(indexes, images, strict=True):
        if len(index.names) == len(rows):
            continue
        stems = {_stem(index.names[row]) for row in rows}
        beside = {ending for name in index.names if (ending := _ending(name)) in _LABELS and _stem(name) in stems}
        if "cls" in beside or (beside and len({stem.rpartition("/")[0] for stem in stems}) == 1):
            return True
    return False


def beside_labels(
    root: Path, shards: Sequence[Shard], indexes: Sequence[TarIndex], images: Sequence[Sequence[int]]
) -> Packed:
    """Return the images of archives with the labels in their label files, in the archives' order.

    A ``.cls`` takes precedence over a ``.json``, in which the label is looked for under the names of a manifest's
    column, and that over a ``.txt``. Numbers are the names of their classes.

    Args:
        root: root of the data set, for messages.
        shards: the archives.
        indexes: indexes of the archives.
        images: for each archive, the rows of its images.

    Raises:
        DataError: an image has no label, two images share one, or a label file holds none.
    """
    ending = next(kind for kind in _LABELS if any(_ending(name) == kind for index in indexes for name in index.names))
    found, is_one = [], root.is_file()
    for number, (shard, index, rows) in enumerate(zip(shards, indexes, images, strict=True)):
        labels = {_stem(name): row for row, name in enumerate(index.names) if _ending(name) == ending}
        taken: dict[str, str] = {}
        with shard.path.open("rb", buffering=1 << 16) as stream:
            for row in rows:
                name = index.names[row]
                stem = _stem(name)
                if (other := taken.setdefault(stem, name)) != name:
                    raise DataError(
                        f"'{shard.path}' holds '{other}' and '{name}' for one label. Keep one image of each."
                    )
                if stem not in labels:
                    raise DataError(f"'{shard.path}' holds no '{stem}.{ending}' with the label of '{name}'. Add it.")
                size = int(index.sizes[labels[stem]])
                stream.seek(int(index.offsets[labels[stem]]))
                label = _label(shard.path, f"{stem}.{ending}", stream.read(min(size, _LONGEST + 1)), ending)
                full = name if is_one else f"{shard.name}/{name}"
                found.append(PackedImage(shard.split or "train", label, full, number, row))
    different = len({image.label for image in found})
    if ending == "txt" and different > max(_CAPTIONS, len(found) // 2):
        raise DataError(
            f"The .txt files in '{root}' hold {different:,} texts for {len(found):,} images: captions rather than "
            "class names. Add a .cls with the class to each image."
        )
    return Packed(found, [f"Labels are those of the .{ending} files beside the images."])


def _label(path: Path, name: str, content: bytes, ending: str) -> str:
    if content.isdigit() and len(content) < 20:
        return str(int(content))
    try:
        if len(content) > _LONGEST:
            raise LabelFault(f"has more than {_LONGEST:,} bytes", "A label is short.")
        text = content.decode("utf-8").strip()
        if ending == "json":
            text = _of_json(text)
        if not text or "\n" in text:
            raise LabelFault("holds no label" if not text else "holds several lines", "Write the class's name in it.")
        return label_of(text)
    except UnicodeDecodeError as error:
        raise DataError(f"'{name}' in '{path}' is not UTF-8 text. Write the class's name in it.") from error
    except LabelFault as error:
        raise DataError(f"'{name}' in '{path}' {shortened(str(error.args[0]))}. {error.args[1]}") from error


def _of_json(text: str) -> str:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise LabelFault("is no JSON", 'Write {"label": ...} in it.') from None
    if not isinstance(values, dict):
        return text if isinstance(values, (str, list)) else str(values)
    keys = {str(key).lower(): value for key, value in values.items()}
    try:
        key = next((key for key in ("label", "cls") if key in keys), None) or taken_for("label", list(keys))
    except AmbiguousColumnsError as error:
        several = " and ".join(map(repr, error.args[1:]))
        raise LabelFault(f"has {several}, each of which may be the label", "Call one of them 'label'.") from None
    value = None if key is None else keys[key]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise LabelFault("has no 'label' that is a name or a number", 'Write {"label": ...} in it.')
    return str(value).strip()


def _stem(name: str) -> str:
    """Return a path up to the first dot of the file name."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


__all__ = ["beside_labels", "has_labels_beside"]
