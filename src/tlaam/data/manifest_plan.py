"""What the columns of a manifest hold, determined before any row is read."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from tlaam.data.columns import BOX, COLUMNS, REQUIRED, AmbiguousColumnsError, one_hot, surveyed, taken_for, unread_boxes
from tlaam.data.split_columns import ColumnFault, SplitColumns, split_columns
from tlaam.data.table import Table, fault, listed
from tlaam.errors import DataError, did_you_mean

_SEVERAL = ("labels", "tags", "categories", "genres", "attributes")
"""Names of columns that hold several labels per image."""


@dataclass
class Plan:
    """Where the parts of an entry stand in a row.

    Attributes:
        width: number of columns that the header names.
        image: position of the path.
        label: position of the label; None if classes are columns of their own.
        classes: these columns, and their positions.
        split: position of the column ``split``.
        marks: how other columns name splits, and their positions.
        group: position of the group.
        box: positions of the four numbers; empty if there are none.
        comma: whether numbers may have a decimal comma.
        notes: what was read as what.
    """

    width: int
    image: int
    label: int | None
    classes: list[tuple[str, int]] = field(default_factory=list)
    split: int | None = None
    marks: tuple[SplitColumns, list[int]] | None = None
    group: int | None = None
    box: list[int] = field(default_factory=list)
    comma: bool = False
    notes: list[str] = field(default_factory=list)


def plan_of(path: Path, table: Table) -> Plan:
    """Determine what the columns hold; columns with other names than ours are surveyed to the end of the table.

    Raises:
        DataError: a column is missing, misspelt or named twice, or may be one of several things.
    """
    header = table.header
    watched = _Watched(path, table)
    if "labels" in header and "label" not in header:  # a slip, unless the cells do hold several labels
        deque(watched.rows(), maxlen=0)
        _raise(watched.fault)
    _check_header(path, header)
    notes: list[str] = []
    names: dict[str, str] = {name: name for name in COLUMNS if name in header}
    for wanted in REQUIRED:
        if wanted not in names and (other := other_name(path, wanted, header)):
            names[wanted] = other
            notes.append(f"Column '{other}' is read as '{wanted}'.")
    taken = set(names.values())
    others = {name: place for place, name in enumerate(header) if name and name not in taken}
    nameless = {f"number {place + 1}": place for place, name in enumerate(header) if not name}
    seen = surveyed(watched.rows(), {**others, **nameless}) if others or nameless else {}
    marks = None
    if "split" not in names:
        try:
            values, shares = {n: s.values for n, s in seen.items()}, {n: s.true_share for n, s in seen.items()}
            marks = split_columns(values, shares, has_label="label" in names)
        except ColumnFault as error:
            raise fault(path, 1, error.args[0], error.args[1]) from error
    if marks is not None:
        named = " and ".join(f"'{name}'" for name in marks.columns)
        notes.append(
            f"Column{'s' if len(marks.columns) > 1 else ''} {named} {_do(marks.columns)} taken for the splits."
        )
    seen = {name: column for name, column in seen.items() if name in others}
    classes = [] if "label" in names else one_hot(seen, marks.columns if marks else ())
    if classes:
        classes_written = listed([table.written[others[name]] for name in classes])
        notes.append(f"The columns {classes_written} are read as classes, of which each line marks one.")
    elif "label" not in names:
        _raise(watched.fault)
        _refuse_fractions(path, [name for name, column in seen.items() if column.is_fraction])
    _require_columns(path, header, names, bool(classes))
    if not set(BOX) & set(header) and (unread := unread_boxes(others)):
        notes.append(f"The columns {listed(unread)} look like boxes, but only x_min, y_min, x_max, y_max are read.")
    place = {name: header.index(other) for name, other in names.items()}
    return Plan(
        width=len(header),
        image=place["image"],
        label=place.get("label"),
        classes=[(table.written[others[name]], others[name]) for name in classes],
        split=place.get("split"),
        marks=None if marks is None else (marks, [{**others, **nameless}[name] for name in marks.columns]),
        group=place.get("group"),
        box=[place[name] for name in BOX] if BOX[0] in place else [],
        comma=table.delimiter != ",",
        notes=notes,
    )


class _Watched:
    """The rows of a table during the survey, watched for several labels in a cell of a column such as ``labels``.

    Attributes:
        fault: the first such cell, as an error; None if there is none.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self.fault: DataError | None = None
        self._path, self._table = path, table
        self._name = next((name for name in _SEVERAL if name in table.header), None)

    def rows(self) -> Iterator[list[str]]:
        place = -1 if self._name is None else self._table.header.index(self._name)
        for line, row in self._table.rows:
            if self.fault is None and 0 <= place < len(row):
                parts = [part for part in re.split(r"[|;,\s]+", row[place].strip("[]{} ")) if part]
                if len(parts) > 1:
                    several = f"column '{self._name}' holds {len(parts)} labels, {', '.join(map(repr, parts[:3]))}"
                    self.fault = fault(self._path, line, several, "Give each image one label, in a column 'label'.")
            yield row


def other_name(path: Path, wanted: str, header: Sequence[str]) -> str | None:
    """Return the column that stands for ``image`` or ``label`` under another name, or None if there is none.

    Raises:
        DataError: several columns do.
    """
    try:
        return taken_for(wanted, header)
    except AmbiguousColumnsError as error:
        missing, *names = error.args
        several = f"column '{missing}' is missing, and {' and '.join(repr(name) for name in names)} may be it"
        raise fault(path, 1, several, f"Call one of them '{missing}'.") from error


def _check_header(path: Path, header: list[str]) -> None:
    repeated = next((name for name in COLUMNS if header.count(name) > 1), None)
    if repeated:
        raise fault(path, 1, f"column '{repeated}' is named twice", "Keep one of them.")
    missing = [name for name in COLUMNS if name not in header]
    # Other columns are the user's own, but a name close to one of ours is a slip; ignoring it would lose its content.
    for name in (name for name in header if name and name not in COLUMNS):
        if get_close_matches(name, missing, n=1, cutoff=0.8):
            hint = did_you_mean(name, missing).strip()
            raise fault(path, 1, f"unknown column '{name}'", f"{hint} Rename it.")


def _require_columns(path: Path, header: list[str], names: Container[str], has_classes: bool) -> None:
    boxed = bool(set(BOX) & set(header))
    needed = [
        name
        for name in COLUMNS
        if name not in names
        and ((name in REQUIRED and not (name == "label" and has_classes)) or (name in BOX and boxed))
    ]
    if needed:
        extra = [name for name in header if name and name not in COLUMNS]
        hint = next(filter(None, (did_you_mean(name, needed) for name in extra)), "")
        missing = f"column '{needed[0]}' is missing; found {listed(header)}"
        raise fault(path, 1, missing, f"Name the columns in line 1.{hint}")


def _raise(error: DataError | None) -> None:
    if error is not None:
        raise error


def _refuse_fractions(path: Path, names: Sequence[str]) -> None:
    if len(names) > 1:
        several = f"the columns {listed(names)} hold fractions, as of probabilities, and none is 'label'"
        raise fault(path, 1, several, "Name the class of each image in a column 'label'.")


def _do(names: Sequence[str]) -> str:
    return "are" if len(names) > 1 else "is"


__all__ = ["Plan", "other_name", "plan_of"]
