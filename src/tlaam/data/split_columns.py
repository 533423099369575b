"""Which columns of a table name the splits if none is called ``split``, and what their cells mean.

Among the user's own columns, one that names splits must not be overlooked: its test images would be trained on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tlaam.data.rules import split_of
from tlaam.data.sample import SPLITS, Split

MANY = 40
"""Number of distinct values above which a column is not examined further."""

_STRONG = re.compile(
    r".*split.*|(data|image|img)?_?(sub)?set(_?(name|type))?|partition|phase|usage|folds?|k_?folds?|cv(_?fold)?"
)
_WEAK = frozenset(("dataset", "data_type", "stage", "mode", "part", "role", "purpose", "kind", "type"))
_FLAG = re.compile(
    r"(?P<is>(is|for|in|use_for|used_for)_)?(?P<split>train|training|val|valid|validation|dev|test|testing|holdout)"
    r"(_?(set|split|image|img|images|flag|data|sample))?"
)
_TRUE, _FALSE = frozenset(("true", "t", "yes", "y", "1", "1.0")), frozenset(("false", "f", "no", "n", "0", "0.0", ""))
_CODE = re.compile(r"-?\d+(\.0)?")
_REMEDY = "Name the splits in a column 'split' (train, val, test), or give this column another name."


class ColumnFault(Exception):
    """A column that seems to name splits cannot be interpreted; the arguments are the fault and the remedy."""


class SplitColumns(NamedTuple):
    """How the split of a row is found.

    Attributes:
        read: maps the cells of `columns` to the split; raises ColumnFault if they contradict each other.
        columns: names of the columns.
    """

    read: Callable[[Sequence[str]], Split]
    columns: tuple[str, ...]


def split_columns(
    seen: Mapping[str, frozenset[str]], true_shares: Mapping[str, float], *, has_label: bool = True
) -> SplitColumns | None:
    """Find the columns that name splits; None if there are none.

    Args:
        seen: for each column that is not one of the manifest's own, its values in lower case, or none if above `MANY`.
        true_shares: for each column, the share of rows that hold one of the words for yes.
        has_label: whether the label has a column; otherwise a column ``train`` of 0 and 1 is a class.

    Raises:
        ColumnFault: columns seem to name splits, but their meaning is unclear.
    """
    by_words = [name for name, values in seen.items() if _has_words(name, values)]
    flags = {
        name: split
        for name, values in seen.items()
        if (has_label or _is_prefixed(name)) and (split := _flag(name, values, true_shares[name]))
    }
    if len(by_words) + bool(flags) > 1:
        names = ", ".join(f"'{name}'" for name in [*by_words, *flags])
        raise ColumnFault(f"the columns {names} all seem to name splits", _REMEDY)
    if by_words:
        return SplitColumns(lambda cells: split_of(cells[0]) or "train", tuple(by_words))
    if flags:
        _require_one_each(flags)
        return SplitColumns(_reader(tuple(flags.values())), tuple(flags))
    return None


def _plain(name: str) -> str:
    return re.sub(r"[\s.-]+", "_", name)


def _has_words(name: str, values: frozenset[str]) -> bool:
    """Whether a column names splits in words."""
    words = {value for value in values if split_of(value)}
    splits = {split_of(value) for value in words}
    strong = _STRONG.fullmatch(_plain(name)) is not None
    others = sorted(values - words - {""})
    if words and not others and (strong or _plain(name) in _WEAK or ("train" in splits and len(splits) > 1)):
        return True
    known = strong or (_plain(name) in _WEAK and len(splits) > 1)
    if known and words and others:
        raise ColumnFault(f"column '{name}' seems to name splits, but holds '{others[0]}'", _REMEDY)
    if strong and len(others) > 1 and (all(map(_CODE.fullmatch, others)) or set(others) <= _TRUE | _FALSE):
        raise ColumnFault(
            f"column '{name}' holds {others[0]} to {others[-1]}; which of them is which split is not said",
            _REMEDY,
        )
    return False


def _flag(name: str, values: frozenset[str], true_share: float) -> Split | None:
    """Return the split whose images a column marks with yes and no; None if it does not mark a split."""
    found = _FLAG.fullmatch(_plain(name))
    if found is None or not values:
        return None
    is_flag = values <= _TRUE | _FALSE and values - {""}
    if not is_flag:
        if found["is"] and not values <= {""}:
            odd = sorted(values - _TRUE - _FALSE)[0]
            raise ColumnFault(f"column '{name}' holds '{odd}', but must hold True or False", _REMEDY)
        return None
    split: Split = "test" if found["split"] == "holdout" else split_of(found["split"]) or "test"
    if found["split"] == "valid" and (not found["is"] or true_share > 0.5) and values & _TRUE:
        raise ColumnFault(
            f"column '{name}' may mark images for validation, or those that are valid",
            "Name the splits in a column 'split' (train, val, test), or call it 'usable' if it says nothing of splits.",
        )
    return split


def _is_prefixed(name: str) -> bool:
    found = _FLAG.fullmatch(_plain(name))
    return found is not None and bool(found["is"])


def _require_one_each(flags: Mapping[str, Split]) -> None:
    for split in SPLITS:
        names = [name for name, marked in flags.items() if marked == split]
        if len(names) > 1:
            raise ColumnFault(f"the columns '{names[0]}' and '{names[1]}' both mark the {split} split", _REMEDY)


def _reader(marked: tuple[Split, ...]) -> Callable[[Sequence[str]], Split]:
    """Return a reader of yes/no rows: of three columns, one must be yes; with fewer, other rows get the split left."""
    left = [split for split in SPLITS if split not in marked]
    rest: Split | None = "train" if "train" in left else (left[-1] if left else None)

    def read(cells: Sequence[str]) -> Split:
        said = [split for split, cell in zip(marked, cells, strict=True) if cell.strip().lower() in _TRUE]
        if len(said) > 1:
            raise ColumnFault(f"it is marked for {' and for '.join(said)}", "Mark one split a line.")
        if not said and rest is None:
            raise ColumnFault("it is marked for no split", "Mark one split a line.")
        return said[0] if said else rest or "train"

    return read


__all__ = ["MANY", "ColumnFault", "SplitColumns", "split_columns"]
