"""The label cells of a table: each holds one class name, or something else."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tlaam.data.names import clean_name

_MISSING = frozenset(("nan", "null", "na", "n/a", "#n/a", "<na>", "#na", "nat"))
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_SEPARATORS = ("|", ";", ",", "/", "+", "&")
_CHOICES = ("choices", "choice", "labels", "label", "taxonomy")


class LabelFault(Exception):
    """A cell does not hold exactly one class name; the arguments are the fault and the remedy."""


def label_of(cell: str) -> str:
    """Return the class name in a cell; a list of one name, and an answer exported by Label Studio, are one name.

    Raises:
        LabelFault: the cell holds no name, or several.

    Examples:
        >>> label_of('{"choices": ["crow"]}')
        'crow'
    """
    if cell[:1] in "[{" and cell[-1:] in "]}":
        cell = _from_json(cell)
    name = clean_name(cell)
    if name.lower() in _MISSING:
        raise LabelFault(
            f"holds '{name}', which stands for no label", "Fill it in or remove the line; spell a class otherwise."
        )
    return name


def holds_boxes(cell: str) -> bool:
    """Whether a label cell is an annotation with boxes, as label tools export them."""
    return cell[:1] in "[{" and "rectanglelabels" in cell


def is_missing(cell: str) -> bool:
    """Whether a cell is empty or holds what programs write for a missing value."""
    return not cell or cell.lower() in _MISSING


def same_label(label: str, other: str) -> bool:
    """Whether two labels are the same: equal, or spellings of one number."""
    if label == other:
        return True
    return bool(_NUMBER.fullmatch(label) and _NUMBER.fullmatch(other)) and float(label) == float(other)


def spellings_of_numbers(labels: Iterable[str]) -> dict[str, str]:
    """Map spellings of numbers to the one that is kept, if all labels are numbers and some are spelt in several ways.

    Examples:
        >>> spellings_of_numbers(["1", "1.0", "01", "2"])
        {'01': '1', '1.0': '1'}
    """
    names = set(labels)
    if not all(map(_NUMBER.fullmatch, names)):
        return {}
    by_value: defaultdict[float, list[str]] = defaultdict(list)
    for name in sorted(names):
        by_value[float(name)].append(name)
    kept = {value: min(spellings, key=lambda name: (len(name), name)) for value, spellings in by_value.items()}
    return {name: kept[value] for value, names in by_value.items() for name in names if name != kept[value]}


def sorted_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return labels sorted, by value if all are numbers.

    Examples:
        >>> sorted_labels(["10", "9"]), sorted_labels(["b", "a"])
        (('9', '10'), ('a', 'b'))
    """
    names = sorted(labels)
    if all(map(_NUMBER.fullmatch, names)):
        names.sort(key=float)
    return tuple(names)


def joined_labels(labels: Iterable[str]) -> tuple[str, list[str]] | None:
    """Return a label that joins several others, and its parts; None if there is none.

    Each part is a label of its own, or occurs in several joined labels. Words do not count as parts: a red kite is
    neither red nor a kite.
    """
    names = set(labels)
    for separator in _SEPARATORS:
        split = {name: [part.strip() for part in name.split(separator)] for name in sorted(names) if separator in name}
        uses: defaultdict[str, int] = defaultdict(int)
        for parts in split.values():
            for part in set(parts):
                uses[part] += 1
        for name, parts in split.items():
            if len(parts) > 1 and all(part in names or uses[part] > 1 for part in parts):
                return name, parts
    return None


def worded_labels(labels: Iterable[str]) -> str:
    """Return a label whose words are all labels of their own, so as to mention it; an empty string if there is none."""
    names = set(labels)
    return next((name for name in sorted(names) if " " in name and all(word in names for word in name.split())), "")


def _from_json(cell: str) -> str:
    """Return the one name in a cell that is a list or a mapping."""
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            value = json.loads(cell.replace("'", '"'))  # as Python writes a list
        except (ValueError, RecursionError):
            return cell  # a name in brackets
    names = _names_in(value, whole=True)
    if len(names) == 1:
        return names[0]
    if not names:
        raise LabelFault("holds a list or an annotation without a class name", "Give the name alone.")
    raise LabelFault(f"holds {len(names)} class names, {', '.join(map(repr, names[:3]))}", "Give one name a line.")


def _names_in(value: Any, *, whole: bool = False) -> list[str]:
    """Return the names in a label tool's value, each once, in order."""
    found: list[str] = []
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        found = [str(value)] if str(value).strip() else []
    elif isinstance(value, list):
        found = [name for item in value for name in _names_in(item, whole=whole)]
    elif isinstance(value, Mapping):
        inner = [item for key, item in value.items() if key.lower() in _CHOICES or key.lower().endswith("labels")]
        inner += [item for key, item in value.items() if key in ("value", "result", "annotations")]
        found = [name for item in inner for name in _names_in(item)]
    return list(dict.fromkeys(found))


__all__ = [
    "LabelFault",
    "holds_boxes",
    "is_missing",
    "joined_labels",
    "label_of",
    "same_label",
    "sorted_labels",
    "spellings_of_numbers",
    "worded_labels",
]
