"""The lists that CUB-200-2011 and NABirds have in common."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Container
from pathlib import Path

from tlaam.data.public.official import Key, Place, box_of, id_of, official_images, read_lines, read_list, whole_number
from tlaam.data.sample import Box, LabelledImages, Point, Sample, Split
from tlaam.errors import DataError

LISTS = ("images.txt", "image_class_labels.txt")
"""Either of these marks the layout."""

_SPLITS: dict[str, Split] = {"1": "train", "0": "test"}


def read_birds(home: Path, title: str, kind: str, parse_id: Callable[[str], Key], *, strict: bool) -> LabelledImages:
    """Read the lists in `home`; images are neither opened nor looked for.

    Subsets may leave out images and classes; ids need not be contiguous. Entries of other lists for images that
    ``images.txt`` leaves out are ignored, and so are classes without any image. Classes are ordered by id. If several
    labelled classes have the same name, the id is appended to it. Boxes (``bounding_boxes.txt``, optional as a file)
    are converted from x, y, width, height to xyxy pixels. Keypoints are the visible parts in ``parts/part_locs.txt``
    (optional).

    Args:
        title: title of the layout, for errors.
        kind: `LabelledImages.kind`.
        parse_id: converts the text of an image's id; raises ValueError for anything else.
        strict: refuse impossible boxes and classes that cannot be learned (`require_usable_classes`). Otherwise a box
            is kept as written, or as four NaN if it is not four numbers.

    Raises:
        DataError: a list is missing, or a line of it is malformed, repeated or missing; the message names file and
            line.
    """
    files = read_list(home / "images.txt", title, parse_id)
    labels = read_list(home / "image_class_labels.txt", title, parse_id)
    in_train = read_list(home / "train_test_split.txt", title, parse_id)
    box_list = home / "bounding_boxes.txt"
    boxes = read_list(box_list, title, parse_id) if box_list.exists() else {}
    names = read_list(home / "classes.txt", title, whole_number)
    part_list = home / "parts" / "part_locs.txt"
    keypoints = _visible_parts(part_list, title, parse_id, files) if part_list.exists() else {}

    class_of: dict[Key, int] = {}
    for image_id, (line, _) in files.items():
        label_line, label = _entry(labels, image_id, home / "image_class_labels.txt", line)
        class_id = id_of(label, whole_number, home / "image_class_labels.txt", label_line)
        class_of[image_id] = class_id
        _entry(names, class_id, home / "classes.txt", label_line, of="class", source="image_class_labels.txt")
    class_ids = sorted(names)
    label_of = {class_id: label for label, class_id in enumerate(class_ids)}

    samples = []
    for image_id, (line, file) in files.items():
        split_line, flag = _entry(in_train, image_id, home / "train_test_split.txt", line)
        if flag not in _SPLITS:
            place = Place(home / "train_test_split.txt", split_line)
            raise place.fault(f"'{flag}' is neither 1 (train) nor 0 (test)")
        box = None
        if image_id in boxes:
            box_line, numbers = boxes[image_id]
            box = box_of(numbers.split(), "x y width height", _xyxy, Place(box_list, box_line), strict=strict)
        name = f"images/{file}"
        parts = tuple(keypoints[image_id]) if image_id in keypoints else None
        samples.append(Sample(str(home / name), name, label_of[class_of[image_id]], _SPLITS[flag], box, parts))
    # Counted over all labels, not only those of this subset: a class has the same name in every subset.
    labelled = {label.lstrip("0") for _, label in labels.values()}
    uses = Counter(name for class_id, (_, name) in names.items() if str(class_id) in labelled)
    classes = [
        f"{names[class_id][1]} ({class_id})" if uses[names[class_id][1]] > 1 else names[class_id][1]
        for class_id in class_ids
    ]
    return official_images(home, kind, classes, samples, strict=strict)


def _visible_parts(
    path: Path, title: str, parse_id: Callable[[str], Key], images: Container[Key]
) -> dict[Key, list[Point]]:
    """Return the visible parts of `images`, from the lines ``<image> <part> <x> <y> <visible>`` of a file."""
    found: dict[Key, list[Point]] = {}
    for line, text in read_lines(path, title):
        fields = text.split()
        image_id = id_of(fields[0], parse_id, path, line)
        if image_id not in images:
            continue
        try:
            _, x, y, visible = map(float, fields[1:])
        except ValueError:
            x = y = visible = math.nan
        if not (math.isfinite(x) and math.isfinite(y) and visible in (0, 1)):
            raise Place(path, line).fault(f"'{text}' is not of the form '<image> <part> <x> <y> <visible: 0 or 1>'")
        points = found.setdefault(image_id, [])
        if visible:
            points.append((x, y))
    return found


def _entry(
    entries: dict[Key, tuple[int, str]],
    key: Key,
    path: Path,
    line: int,
    *,
    of: str = "image",
    source: str = "images.txt",
) -> tuple[int, str]:
    """Look up an id; if it is missing, the error names the list that lacks it and the line that refers to it."""
    if key not in entries:
        raise DataError(f"'{path}' has no line for {of} {key} of {source} line {line}. Add it, or leave out both.")
    return entries[key]


def _xyxy(x: float, y: float, width: float, height: float) -> Box:
    return x, y, x + width, y + height
