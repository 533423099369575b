"""Data sets given as Python objects: a list of images and labels, or a map-style data set that yields them.

Data loader processes and resumed runs need files. Images in memory are therefore written into the cache once, under a
name derived from their content: the same images are the same data set.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from tlaam.data.deep import is_deep_grey
from tlaam.data.hub_dataset import HubDataset, is_hub_dataset, refuse_stream
from tlaam.data.in_memory import ACCEPTED, rgb_image
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Split
from tlaam.data.signature import LENGTH, signature
from tlaam.errors import DataError, InputError
from tlaam.utils.atomic import write_atomically, write_text
from tlaam.utils.cache import cache_folder

DataSource = str | Path | LabelledImages | Sequence[Any]
"""Types that a data set can be given as; besides sequences, any object with a length and integer indexing."""

_ENDINGS = {"JPEG": "jpg", "PNG": "png", "TIFF": "tif", "GIF": "gif", "BMP": "bmp", "WEBP": "webp"}


def dataset_of(source: Any, *, strict: bool = True) -> LabelledImages:
    """Return a data set, in whatever form it is given.

    Images in memory are written as PNG files (grey images of more than 8 bits as TIFF) into the cache
    (``$TLAAM_CACHE``, or ``tlaam`` in the user's cache folder) and stay there. A data set that draws its images anew on
    each access is written anew each time. Images of Hugging Face's `datasets` are written as stored, without decoding,
    or read from their files.

    Args:
        source: an opened data set; a path, as for `tlaam.data.open.open_dataset`; a list of ``(image, label)``; a
            map-style data set that yields such pairs, or mappings with ``image`` and ``label``, such as a
            `torch.utils.data.Dataset`; a `datasets.Dataset`; or a `datasets.DatasetDict` of splits.
            `tlaam.data.in_memory.ACCEPTED` names the types of an image. A label is a name or a number; a number is
            replaced by its class name if the data set has ``classes`` or a label feature with names.
        strict: see `open_dataset`.

    Raises:
        DataError: `source` is something else, an item is not such a pair, or an image cannot be used; the message
            names the item.
    """
    if isinstance(source, LabelledImages):
        return source
    if isinstance(source, (str, Path)):
        return open_dataset(source, strict=strict)
    refuse_stream(source)
    if is_hub_dataset(source):
        items = HubDataset(source)
        images = open_dataset(_written(items), strict=strict)
        return replace(images, notes=(*images.notes, *items.notes))
    if isinstance(source, Mapping) or not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise InputError(
            f"a data set cannot be of type {type(source).__name__}; give a path, a list of (image, label), or a "
            "map-style data set that yields them."
        )
    pairs = list(_items(source))
    contents = [image if isinstance(image, (str, Path)) else _encoded(image, n) for n, (image, _) in enumerate(pairs)]
    labelled = [(content, label, None) for content, (_, label) in zip(contents, pairs, strict=True)]
    return open_dataset(_written(labelled), strict=strict)


def _items(source: Any) -> Iterator[tuple[Any, str]]:
    """Yield images and class names."""
    names = _class_names(source)
    for number in range(len(source)):
        item = source[number]
        if isinstance(item, Mapping):
            pair: Any = (item.get("image", item.get("img")), item.get("label", item.get("labels")))
        else:
            pair = item
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or pair[0] is None or pair[1] is None:
            raise DataError(f"item {number} of the data set is no pair (image, label), and no mapping with both.")
        yield pair[0], _label(pair[1], names, number)


def _class_names(source: Any) -> Sequence[str] | None:
    """Return a data set's class names by number, if it has them as torchvision's or Hugging Face's data sets do."""
    inner = getattr(source, "dataset", None) or next(iter(getattr(source, "datasets", None) or ()), None)
    if inner is not None and getattr(source, "classes", None) is None:  # a subset of one, or several joined
        return _class_names(inner)
    features = getattr(source, "features", None)
    feature = features.get("label", features.get("labels")) if isinstance(features, Mapping) else None
    names = getattr(feature, "names", None) or getattr(source, "classes", None)
    return list(map(str, names)) if isinstance(names, (list, tuple)) else None


def _label(given: Any, names: Sequence[str] | None, number: int) -> str:
    if isinstance(given, str):
        return given
    value = given.item() if hasattr(given, "item") and getattr(given, "ndim", 0) == 0 else given
    if isinstance(value, bool) or not isinstance(value, int):
        raise DataError(f"the label of item {number} is {given!r:.60}; it must be a name, or a class number.")
    if names is None:
        return str(value)
    if not 0 <= value < len(names):
        raise DataError(f"the label of item {number} is {value}, but the data set names {len(names)} classes.")
    return names[value]


def _written(items: Iterable[tuple[bytes | str | Path, str, Split | None]]) -> Path:
    """Write a data set's manifest, and those of its images that are in memory, into the cache; return the manifest.

    Args:
        items: image bytes or paths, with labels and, where known, splits. They are iterated twice, so that no more than
            one image is held in memory at a time.
    """
    count, digest = 0, hashlib.sha256()
    for content, label, split in items:
        digest.update(content if isinstance(content, bytes) else os.fsencode(Path(content).absolute()))
        digest.update(f"{label}{'' if split is None else split}".encode())
        count += 1
    if not count:
        raise DataError("the data set is empty; give pairs (image, label).")
    folder = cache_folder("collections") / digest.hexdigest()[:16]
    manifest = folder / "collection.csv"
    if not manifest.exists():
        (folder / "images").mkdir(parents=True, exist_ok=True)
        rows = []
        for number, (content, label, split) in enumerate(items):
            if isinstance(content, bytes):
                name = f"images/{number:06d}.{_ENDINGS.get(signature(content[:LENGTH]) or '', 'image')}"
                write_atomically(folder / name, content)
            else:
                name = str(Path(content).absolute())
            rows.append((name, label) if split is None else (name, label, split))
        stream = io.StringIO(newline="")
        header = ("image", "label", "split")[: len(rows[0])]
        csv.writer(stream, lineterminator="\n").writerows([header, *rows])
        write_text(manifest, stream.getvalue())  # written last, so that its presence marks a complete data set
    return manifest


def _encoded(image: Any, number: int) -> bytes:
    stream = io.BytesIO()
    try:
        if isinstance(image, Image.Image) and is_deep_grey(image):  # black and white levels are set per data set
            ImageOps.exif_transpose(image).save(stream, "TIFF")
            return stream.getvalue()
        rgb_image(image).save(stream, "PNG", compress_level=1)
    except DataError as error:
        raise DataError(f"item {number} of the data set: {error}") from error
    return stream.getvalue()


__all__ = ["ACCEPTED", "DataSource", "dataset_of"]
