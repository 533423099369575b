"""Objects of Hugging Face's `datasets`: a `Dataset`, or a `DatasetDict` of splits, with its images as stored.

They are recognised by their attributes, so `datasets` need not be installed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlaam.data.rules import split_of
from tlaam.data.sample import Split
from tlaam.errors import DataError, InputError

_UNLABELLED = (None, -1)


@dataclass(frozen=True)
class _Part:
    """One split: its rows, columns and class names."""

    split: Split | None
    rows: Any
    image: str
    label: str
    names: list[str] | None


class HubDataset:
    """The labelled images of a Hugging Face data set.

    Args:
        source: the `Dataset` or `DatasetDict`.

    Attributes:
        notes: what is left out, one line each.

    Raises:
        DataError: its columns are ambiguous, or a split has an unknown name.
    """

    def __init__(self, source: Any) -> None:
        self.notes: list[str] = []
        self._parts: list[_Part] = []
        for name, rows in source.items() if isinstance(source, Mapping) else [(None, source)]:
            split = None if name is None else split_of(str(name))
            if name is not None and split is None:
                raise DataError(
                    f"the data set has a split '{name}', which is none of train, validation and test. Give "
                    "DatasetDict({'train': ..., 'test': ...}) of those that are meant."
                )
            part = _part(split, rows)
            if split == "test" and all(label in _UNLABELLED for label in rows[part.label]):
                self.notes.append(f"Left out: the split '{name}' with {len(rows):,} images: unlabelled.")
            else:
                self._parts.append(part)

    def __iter__(self) -> Iterator[tuple[bytes | Path, str, Split | None]]:
        """Yield each image as bytes or as the path of its file, with its class name and its split."""
        for part in self._parts:
            where = "" if part.split is None else f" of split {part.split}"
            for number, row in enumerate(part.rows):
                yield (
                    _content(row[part.image], number, where),
                    _name(row[part.label], part.names, number, where),
                    part.split,
                )


def is_hub_dataset(source: Any) -> bool:
    """Whether an object is a Hugging Face data set with a column of images."""
    if isinstance(source, Mapping):
        return bool(source) and all(map(_is_dataset, source.values()))
    return _is_dataset(source)


def refuse_stream(source: Any) -> None:
    """Refuse data sets that yield images one by one and cannot be indexed.

    Raises:
        InputError: `source` is such a data set.
    """
    several = list(source.values()) if isinstance(source, Mapping) else [source]
    if any(hasattr(one, "features") and not hasattr(one, "__len__") and hasattr(one, "__iter__") for one in several):
        raise InputError(
            f"a {type(source).__name__} is a stream, of which training cannot take images in any order; load the data "
            "set with streaming=False."
        )


def _is_dataset(source: Any) -> bool:
    features = getattr(source, "features", None)
    return (
        hasattr(source, "cast_column")
        and hasattr(source, "__len__")
        and isinstance(features, Mapping)
        and any(map(_is_image, features.values()))
    )


def _is_image(feature: Any) -> bool:
    return type(feature).__name__ == "Image" and hasattr(feature, "decode")


def _part(split: Split | None, rows: Any) -> _Part:
    features = rows.features
    images = [name for name, feature in features.items() if _is_image(feature)]
    image = "image" if "image" in images else images[0]
    if image != "image" and len(images) > 1:
        raise DataError(
            f"the data set has several columns of images, {_listed(images)}. Keep one of them (select_columns), or "
            "call one 'image' (rename_column)."
        )
    classes = [name for name, feature in features.items() if isinstance(getattr(feature, "names", None), list)]
    others = [name for name in ("label", "labels") if name in features and name not in images]
    found = others[:1] or classes
    if len(found) != 1:
        known = classes or list(features)
        raise DataError(
            f"the data set has no column 'label'; its {'labels' if classes else 'columns'} are {_listed(known)}. Call "
            "one of them 'label' (rename_column)."
        )
    stored = rows.with_format(None).select_columns([image, found[0]])
    stored = stored.cast_column(image, type(features[image])(decode=False))
    return _Part(split, stored, image, found[0], getattr(features[found[0]], "names", None))


def _content(cell: Any, number: int, where: str) -> bytes | Path:
    if isinstance(cell, Mapping):
        if cell.get("bytes"):
            return bytes(cell["bytes"])
        if cell.get("path"):
            return Path(cell["path"])
    raise DataError(f"item {number}{where} of the data set has no image.")


def _name(label: Any, names: list[str] | None, number: int, where: str) -> str:
    if isinstance(label, str) and label.strip():
        return label
    if isinstance(label, bool) or not isinstance(label, int) or (names is not None and not 0 <= label < len(names)):
        known = (
            "a name, or a class number" if names is None else f"one of the {len(names)} classes that the data set names"
        )
        raise DataError(f"the label of item {number}{where} is {label!r:.60}; it must be {known}.")
    return str(label) if names is None else names[label]


def _listed(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


__all__ = ["HubDataset", "is_hub_dataset", "refuse_stream"]
