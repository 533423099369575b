"""The official layout of the Oxford-IIIT Pet data set (Parkhi et al. 2012)."""

from __future__ import annotations

from pathlib import Path

from tlaam.data.public.official import (
    Place,
    home_of,
    id_of,
    mask_at,
    official_images,
    read_lines,
    require_new,
    require_same_name,
    whole_number,
)
from tlaam.data.sample import LabelledImages, Mask, Sample, Split

_TITLE = "the Oxford-IIIT Pet data set"
FOLDER = "oxford-iiit-pet"
_LISTS: dict[Split, str] = {"train": "annotations/trainval.txt", "test": "annotations/test.txt"}


def is_pets(root: Path) -> bool:
    """Whether `root`, or the folder ``oxford-iiit-pet`` in it, has the lists of the official layout."""
    return home_of(root, FOLDER, *_LISTS.values()) is not None


def read_pets(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the lists of the Oxford-IIIT Pet data set; images are neither opened nor looked for.

    ``trainval.txt`` is the training split. A class is named after its images (``american_bulldog_100`` belongs to
    ``american_bulldog``), in the order of the ids. There are no boxes: the data set's own boxes are of the *head*, and
    the whole animal is only marked pixel by pixel, in ``annotations/trimaps`` (optional). Subsets may leave out lines.

    Args:
        root: the folder with ``annotations/`` and ``images/``, or the one that holds it as ``oxford-iiit-pet``.
        strict: refuse classes that cannot be learned (`require_usable_classes`).

    Raises:
        DataError: a list is missing, or a line of it is malformed, repeated or contradicts another; the message names
            file and line.
    """
    home = home_of(Path(root), FOLDER, *_LISTS.values()) or Path(root)
    breeds: dict[int, str] = {}
    listed: list[tuple[str, int, Split]] = []
    seen: dict[str, Place] = {}
    for split, file in _LISTS.items():
        for line, text in read_lines(home / file, _TITLE):
            place = Place(home / file, line)
            fields = text.split()
            if len(fields) != 4:
                raise place.fault(f"'{text}' is not of the form '<image> <class id> <species> <breed id>'")
            image, class_id = fields[0], id_of(fields[1], whole_number, home / file, line)
            require_new(seen, image, place)
            require_same_name(breeds, class_id, image.rpartition("_")[0], place)
            listed.append((f"images/{image}.jpg", class_id, split))
    class_ids = sorted(breeds)
    label_of = {class_id: label for label, class_id in enumerate(class_ids)}
    samples = [
        Sample(str(home / name), name, label_of[class_id], split, mask=_trimap(home, name))
        for name, class_id, split in listed
    ]
    return official_images(home, "pets", [breeds[class_id] for class_id in class_ids], samples, strict=strict)


def _trimap(home: Path, name: str) -> Mask | None:
    """Return the mask of an image: 1 is the animal, 2 is not, and 3, the edge between them, is undecided."""
    return mask_at(home / "annotations" / "trimaps" / f"{Path(name).stem}.png", range(1, 2), range(2, 3))
