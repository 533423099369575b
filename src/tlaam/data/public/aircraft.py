"""The official layout of FGVC-Aircraft 2013b (Maji et al. 2013)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tlaam.data.public.official import (
    Place,
    box_of,
    home_of,
    inclusive_from_0,
    official_images,
    read_lines,
    read_list,
    require_new,
)
from tlaam.data.sample import SPLITS, LabelledImages, Sample

Level = Literal["variant", "family", "manufacturer"]

CLASS_LISTS: dict[Level, str] = {
    "variant": "variants.txt",
    "family": "families.txt",
    "manufacturer": "manufacturers.txt",
}
"""The file in ``data/`` that names the classes of each level."""

BANNER = 20
"""Height in pixels of the copyright line at the bottom of every image, which the authors ask to remove."""

_TITLE = "FGVC-Aircraft"
FOLDER = "fgvc-aircraft-2013b"
_MARKS = ("data/variants.txt", "data/images_variant_train.txt", "data/images_box.txt")


def is_aircraft(root: Path) -> bool:
    """Whether `root`, or the folder ``fgvc-aircraft-2013b`` in it, has the lists of the official layout."""
    return home_of(root, FOLDER, *_MARKS) is not None


def read_aircraft(root: str | Path, *, level: Level = "variant", strict: bool = True) -> LabelledImages:
    """Read the lists of FGVC-Aircraft; images are neither opened nor looked for.

    The splits are the official ones. Boxes (``images_box.txt``, optional) are given by their first and last column and
    row. The official description counts these from 1. However, 130 boxes begin at 0, and the many that end at the
    images' usual widths end at 1023 and 1199, not at 1024 and 1200, so they are read as counted from 0. Subsets may
    leave out lines.

    Args:
        root: the folder with ``data/``, or the one that holds it as ``fgvc-aircraft-2013b``.
        level: what the classes are: 100 variants, 70 families or 30 manufacturers.
        strict: refuse impossible boxes and classes that cannot be learned (`require_usable_classes`). Otherwise a box
            is kept as written, or as four NaN if it is not four numbers.

    Raises:
        DataError: a list is missing, or a line of it is malformed, repeated or of an unknown class; the message names
            file and line.
    """
    home = home_of(Path(root), FOLDER, *_MARKS) or Path(root)
    data = home / "data"
    classes = [text for _, text in read_lines(data / CLASS_LISTS[level], _TITLE)]
    label_of = {name: label for label, name in enumerate(classes)}
    box_list = data / "images_box.txt"
    boxes = read_list(box_list, _TITLE, str) if box_list.exists() else {}

    samples = []
    seen: dict[str, Place] = {}
    for split in SPLITS:
        path = data / f"images_{level}_{split}.txt"
        for image, (line, label) in read_list(path, _TITLE, str).items():
            place = Place(path, line)
            require_new(seen, image, place)
            if label not in label_of:
                raise place.fault(f"'{label}' is none of the classes in '{CLASS_LISTS[level]}'")
            box = None
            if image in boxes:
                box_line, numbers = boxes[image]
                box_place = Place(box_list, box_line)
                box = box_of(numbers.split(), "xmin ymin xmax ymax", inclusive_from_0, box_place, strict=strict)
            name = f"data/images/{image}.jpg"
            samples.append(Sample(str(home / name), name, label_of[label], split, box, banner=BANNER))
    folder = home.resolve().name
    return official_images(
        home,
        "aircraft",
        classes,
        samples,
        strict=strict,
        name=folder if level == "variant" else f"{folder}-{level}",
        option="" if level == "variant" else f"level={level}",
    )
