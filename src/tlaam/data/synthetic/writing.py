"""The data set as files, written completely or not at all, and only once."""

from __future__ import annotations

import csv
import json
import secrets
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from tlaam.data.sample import SPLITS, LabelledImages, Mask, Sample, Split
from tlaam.data.synthetic.options import SyntheticOptions
from tlaam.data.synthetic.recipes import class_names
from tlaam.data.synthetic.rendering import render
from tlaam.errors import DataError
from tlaam.utils.cache import cache_folder
from tlaam.utils.checksums import checksum
from tlaam.utils.progress import progress_bar

DRAWING_VERSION = 2
"""Increased whenever the same options give other pixels or files, so that no cache serves an older drawing."""

_COORDINATES = ("x_min", "y_min", "x_max", "y_max")


def write_synthetic(options: SyntheticOptions, folder: Path) -> Path:
    """Write the data set into `folder` and return it; a folder that already holds all of it is left unchanged.

    The files are ``images/<split>/<class>/NNNN.jpg``, ``masks/<split>/<class>/NNNN.png`` (255 where the creature is,
    else 0), ``manifest.csv`` (image,label,split,x_min,y_min,x_max,y_max),
    ``parts.csv`` (image,part,x_min,y_min,x_max,y_max; xyxy pixels, maxima exclusive) and ``options.json``.
    Everything is first written beside `folder` and renamed at the end.

    Raises:
        DataError: `folder` holds something else or only a part, or cannot be written.
    """
    folder = Path(folder)
    if is_complete(options, folder):
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(
            f"{folder} exists, but is not the whole of '{options}' as this version draws it; "
            "choose another folder, or remove this one."
        )
    unfinished = folder.parent / f".{folder.name}.{secrets.token_hex(6)}.unfinished"
    try:
        unfinished.mkdir(parents=True)
        _write(options, unfinished)
        _put_in_place(options, unfinished, folder)
    except OSError as error:
        raise DataError(f"Cannot write to {folder}: {error}; free space or choose another folder.") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def is_complete(options: SyntheticOptions, folder: Path) -> bool:
    """Return whether `folder` holds the data set of these options, as drawn by this version, with every image."""
    try:
        if json.loads((folder / "options.json").read_text(encoding="utf-8")) != _identity(options):
            return False
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
            images = [row["image"] for row in csv.DictReader(stream)]
        wanted = options.classes * sum(options.per_class(split) for split in SPLITS)
        files = [folder / image for image in images]
        files += [_mask_of(folder, image) for image in images]
        return len(images) == wanted and all(file.stat().st_size > 0 for file in files)
    except (OSError, ValueError, KeyError):
        return False


def synthetic_images(options: SyntheticOptions, cache: Path | None = None) -> LabelledImages:
    """Return the data set with its boxes and masks, drawing it first if the cache does not hold it yet.

    Args:
        options: what to draw.
        cache: folder in which each data set gets a folder of its own; by default ``$TLAAM_CACHE/synthetic`` or
            ``tlaam/synthetic`` in the user's cache folder.

    Raises:
        DataError: the cache cannot be written.
    """
    store = Path(cache) if cache is not None else cache_folder("synthetic")
    folder = store / checksum(json.dumps(_identity(options), sort_keys=True).encode())[:16]
    if folder.is_dir() and not is_complete(options, folder):
        # The name is a hash of ours, so what is here is a damaged copy that can be drawn again.
        shutil.rmtree(folder, ignore_errors=True)
    write_synthetic(options, folder)
    classes = class_names(options)
    label_of = {name: label for label, name in enumerate(classes)}
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        samples = tuple(_sample(folder, row, label_of) for row in csv.DictReader(stream))
    return LabelledImages(name="synthetic", root=folder, kind="synthetic", classes=classes, samples=samples)


def _sample(folder: Path, row: dict[str, str], label_of: dict[str, int]) -> Sample:
    x0, y0, x1, y1 = (float(row[name]) for name in _COORDINATES)
    split: Split = next(known for known in SPLITS if known == row["split"])
    name, box = row["image"], (x0, y0, x1, y1)
    mask = Mask(_mask_of(folder, name), object=range(255, 256), background=range(1))
    return Sample(str(folder / name), name, label_of[row["label"]], split, box, mask=mask)


def _mask_of(folder: Path, image: str) -> Path:
    return folder / "masks" / Path(image).relative_to("images").with_suffix(".png")


def _identity(options: SyntheticOptions) -> dict[str, Any]:
    return {"drawing_version": DRAWING_VERSION, **asdict(options)}


def _write(options: SyntheticOptions, folder: Path) -> None:
    classes = class_names(options)
    rows: list[tuple[str, ...]] = [("image", "label", "split", *_COORDINATES)]
    part_rows: list[tuple[str, ...]] = [("image", "part", *_COORDINATES)]
    planned = [(split, index) for split in SPLITS for index in range(options.classes * options.per_class(split))]
    with progress_bar("drawing") as show:
        for done, (split, index) in enumerate(planned, start=1):
            drawn = render(options, split, index)
            name = f"images/{split}/{classes[drawn.label]}/{index // options.classes:04d}.jpg"
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            drawn.image.save(path, quality=95, subsampling=0)
            mask_path = _mask_of(folder, name)
            mask_path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.mask).save(mask_path)
            rows.append((name, classes[drawn.label], split, *(f"{edge:g}" for edge in drawn.box)))
            part_rows += [(name, part, *(f"{edge:g}" for edge in box)) for part, box in drawn.parts.items()]
            show(done, len(planned))
    for table, content in (("manifest.csv", rows), ("parts.csv", part_rows)):
        with (folder / table).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows(content)
    (folder / "options.json").write_text(json.dumps(_identity(options), indent=2) + "\n", encoding="utf-8")


def _put_in_place(options: SyntheticOptions, unfinished: Path, folder: Path) -> None:
    try:
        if folder.is_dir():
            folder.rmdir()  # only an empty folder gets here
        unfinished.rename(folder)
    except OSError:
        # Another process may have drawn the same in the meantime: the same options give the same bytes.
        if not is_complete(options, folder):
            raise
