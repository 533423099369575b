"""Rules that every source of labelled images must satisfy, whatever its layout."""

from __future__ import annotations

import math
import re

from tlaam.data.names import folded_name, require_text
from tlaam.data.sample import Box, LabelledImages, Split
from tlaam.errors import DataError
from tlaam.utils.text import shortened

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Accepted spellings of splits in folder names and manifests (lower case)."""

_SET = re.compile(r"[ _-]?(set|data|dataset|images|imgs|split)$")

NO_NUMBERS: Box = (math.nan,) * 4
"""Stands for a box that is not four numbers, if a reader is to keep it for `tlaam.data.check`."""


def split_of(name: str) -> Split | None:
    """Return the split that a name stands for, in any letter case, also as ``training_set`` or ``val-images``.

    Examples:
        >>> split_of("Training_Set")
        'train'
    """
    plain = name.strip().lower()
    return SPLIT_NAMES.get(plain) or SPLIT_NAMES.get(_SET.sub("", plain))


def require_usable_classes(images: LabelledImages) -> LabelledImages:
    """Return `images` if they can be learned from: at least two classes, each with at least one training image.

    A source without any training image passes, since it can still be used for evaluation.

    Raises:
        DataError: a class has no training image, there is only one class, or a class name is not text. The message
            names the class.
    """
    for name in images.classes:
        require_text(name, images.root)
    trained = {sample.label for sample in images.samples if sample.split == "train"}
    if not trained:
        return images
    if len(images.classes) < 2:
        raise DataError(
            f"'{images.root}' has only one class, '{shortened(images.classes[0])}'; a classifier needs at least two. "
            "Add images of another class, or give the path that holds all of them."
        )
    for label, name in enumerate(images.classes):
        if label not in trained:
            splits = sorted({sample.split for sample in images.samples if sample.label == label})
            twin = next((images.classes[other] for other in trained if _alike(images.classes[other], name)), None)
            remedy = (
                "Add training images of it, or remove it from the other splits."
                if twin is None
                else (f"It differs from class '{twin}' only in letter case or space: give both one spelling.")
            )
            raise DataError(
                f"Class '{name}' of '{images.root}' has no training image; it appears only in {' and '.join(splits)}. "
                f"{remedy}"
            )
    return images


def _alike(name: str, other: str) -> bool:
    return folded_name(name).split() == folded_name(other).split()
