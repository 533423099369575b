"""Which column of a table holds what: by our names, by other common names, or by the content of the cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tlaam.data.split_columns import MANY

REQUIRED = ("image", "label")
BOX = ("x_min", "y_min", "x_max", "y_max")
COLUMNS = (*REQUIRED, "split", "group", *BOX)

# Names take precedence over numbers: in a table with both, the numbers mean something else.
_IMAGE_NAMES = (
    frozenset(
        (
            *("filename", "file_name", "file", "filepath", "file_path", "path", "image_path", "img_path"),
            *("image_name", "image_file", "image_filename", "img", "img_name", "photo", "picture"),
        )
    ),
    frozenset(("image_id", "img_id", "imageid", "id", "id_code", "uuid")),
)
_LABEL_NAMES = (
    frozenset(
        (
            *("class", "class_name", "classname", "label_name", "category", "category_name"),
            *("species", "breed", "variety", "target", "target_name", "choice"),
        )
    ),
    frozenset(("class_id", "classid", "category_id", "label_id", "class_index", "label_index", "y")),
)
_BOXES = (
    frozenset(("bbox",)),
    frozenset(("box",)),
    frozenset(("bounding_box",)),
    frozenset(("x1", "y1", "x2", "y2")),
    frozenset(("left", "top", "right", "bottom")),
    frozenset(("x", "y", "w", "h")),
    frozenset(("x", "y", "width", "height")),
    frozenset(("x_center", "y_center")),
    frozenset(("bbox_x", "bbox_y")),
    frozenset(("bbox_x1", "bbox_y1")),
)
_BINARY = frozenset(("0", "1", "0.0", "1.0", "true", "false"))
_YES = frozenset(("1", "1.0", "true"))


class AmbiguousColumnsError(Exception):
    """Several columns may be the missing one; the arguments are the missing column's name and the candidates' names."""


class Seen(NamedTuple):
    """What a first pass over the rows shows of one column.

    Attributes:
        values: its distinct values in lower case; empty if there are more than `MANY`.
        true_share: share of the rows that say yes.
        is_fraction: whether its first values lie between 0 and 1, and not all at the ends.
    """

    values: frozenset[str]
    true_share: float
    is_fraction: bool = False


def taken_for(wanted: str, header: Sequence[str]) -> str | None:
    """Return the column that holds ``image`` or ``label`` under another common name, or None if there is none.

    Raises:
        AmbiguousColumnsError: several columns may be it.
    """
    for names in _IMAGE_NAMES if wanted == "image" else _LABEL_NAMES:
        found = [name for name in header if name.replace(" ", "_") in names]
        if len(found) > 1:
            raise AmbiguousColumnsError(wanted, *found)
        if found:
            return found[0]
    return None


def unread_boxes(header: Iterable[str]) -> list[str]:
    """Return the columns that look like boxes of another form, which is not read."""
    names = set(header)
    return sorted({name for form in _BOXES if form <= names for name in form})


def surveyed(rows: Iterable[Sequence[str]], places: Mapping[str, int]) -> dict[str, Seen]:
    """Survey columns before they are read.

    Args:
        rows: all rows of the table, without the header.
        places: position of each column to survey.
    """
    values: dict[str, set[str]] = {name: set() for name in places}
    yes = dict.fromkeys(places, 0)
    many: set[str] = set()
    count = 0
    for row in rows:
        count += 1
        for name, place in places.items():
            if name in many:
                continue
            value = row[place].strip().lower() if place < len(row) else ""
            values[name].add(value)
            yes[name] += value in _YES or value in ("yes", "y", "t")
            if len(values[name]) > MANY:
                many.add(name)
    return {
        name: Seen(frozenset() if name in many else frozenset(found), yes[name] / max(count, 1), _are_fractions(found))
        for name, found in values.items()
    }


def _are_fractions(values: Iterable[str]) -> bool:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return False
    return all(0 <= number <= 1 for number in numbers) and any(0 < number < 1 for number in numbers)


def one_hot(seen: Mapping[str, Seen], not_these: Iterable[str]) -> list[str]:
    """Return the columns that hold only 0 and 1, if there are several: each may be a class."""
    left_out = set(not_these)
    found = [
        name
        for name, column in seen.items()
        if name and name not in left_out and column.values and column.values <= _BINARY
    ]
    return found if len(found) > 1 else []


def marked(cells: Iterable[str]) -> Iterator[int]:
    """Yield the positions of the cells that say yes."""
    return (place for place, cell in enumerate(cells) if cell.strip().lower() in _YES)


__all__ = [
    "BOX",
    "COLUMNS",
    "REQUIRED",
    "AmbiguousColumnsError",
    "Seen",
    "marked",
    "one_hot",
    "surveyed",
    "taken_for",
    "unread_boxes",
]
