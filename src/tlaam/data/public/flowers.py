"""The official layout of Oxford's 102 flowers (Nilsback and Zisserman 2008)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tlaam.data.public.matlab import read_mat, whole_value
from tlaam.data.public.official import Place, home_of, official_images, require_new
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.errors import DataError
from tlaam.utils.reading import read_text

_TITLE = "the 102 flowers"
FOLDER = "flowers-102"
_LABELS, _SPLITS, _NAMES = "imagelabels.mat", "setid.mat", "cat_to_name.json"
_VARIABLES: dict[Split, str] = {"train": "trnid", "val": "valid", "test": "tstid"}


def is_flowers(root: Path) -> bool:
    """Whether `root`, or the folder ``flowers-102`` in it, has the lists of the official layout."""
    return home_of(root, FOLDER, _LABELS, _SPLITS) is not None


def read_flowers(root: str | Path, *, strict: bool = True) -> LabelledImages:
    """Read the lists of the 102 flowers; images are neither opened nor looked for.

    The splits are the official ones, of which the test split is by far the largest. The archives do not name the
    classes: they are called ``001`` to ``102``, unless a file ``cat_to_name.json`` (``{"1": "pink primrose", ...}``),
    which many copies have, names them. There are no boxes. Subsets may leave out numbers in ``setid.mat``.

    Args:
        root: the folder with ``imagelabels.mat``, ``setid.mat`` and ``jpg/``, or the one that holds it as
            ``flowers-102``.
        strict: refuse classes that cannot be learned (`require_usable_classes`).

    Raises:
        DataError: a file is missing, damaged or lacks a variable, or a number is repeated or belongs to no image; the
            message names file and row.
    """
    home = home_of(Path(root), FOLDER, _LABELS, _SPLITS) or Path(root)
    labels = [
        whole_value(label, Place(home / _LABELS, row, "row"))
        for row, label in enumerate(read_mat(home / _LABELS, _TITLE, "labels"), start=1)
    ]
    class_ids = sorted(set(labels))
    label_of = {class_id: label for label, class_id in enumerate(class_ids)}
    samples = []
    seen: dict[str, Place] = {}
    for split, variable in _VARIABLES.items():
        for row, value in enumerate(read_mat(home / _SPLITS, _TITLE, variable), start=1):
            place = Place(home / _SPLITS, row, f"{variable} row")
            number = whole_value(value, place)
            if not 1 <= number <= len(labels):
                raise place.fault(f"there is no image {number}; '{_LABELS}' has labels of {len(labels)}")
            name = f"jpg/image_{number:05d}.jpg"
            require_new(seen, name, place)
            samples.append(Sample(str(home / name), name, label_of[labels[number - 1]], split))
    names = _names(home / _NAMES)
    classes = [names.get(str(class_id), f"{class_id:03d}") for class_id in class_ids]
    return official_images(home, "flowers", classes, samples, strict=strict)


def _names(path: Path) -> Mapping[str, str]:
    try:
        names = json.loads(read_text(path))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"Cannot read '{path}': {error}. Correct or remove it.") from error
    if not isinstance(names, dict) or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"'{path}' is no JSON object of names by number. Correct or remove it.")
    return names
