"""A taxonomy: the taxon of each class at each rank, such as species, genus and family."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import DataError, did_you_mean
from tlaam.utils.text import printable, shortened

LABEL = "label"
"""The column of class names. It is also the deepest rank if no column distinguishes all classes."""
MAX_RANKS = 32
"""Largest number of ranks that is accepted."""

LINNAEAN = (
    "subspecies", "species", "subgenus", "genus", "subtribe", "tribe", "subfamily", "family", "superfamily", "suborder",
    "order", "superorder", "subclass", "class", "subphylum", "phylum", "kingdom",
)  # fmt: skip
"""Ranks with a known order, the deepest first."""

Row = tuple[str, ...]


@dataclass(frozen=True)
class Taxonomy:
    """The taxa of a model's classes.

    Attributes:
        classes: class names, in index order.
        ranks: names of the R ranks, the deepest first; all classes differ at the deepest rank.
        taxa: the taxon of each class at each rank, ``(C, R)``; empty if it is not known.
    """

    classes: tuple[str, ...] = field(repr=False)
    ranks: tuple[str, ...]
    taxa: tuple[Row, ...] = field(repr=False)

    @classmethod
    def of_labels(cls, classes: Sequence[str]) -> Taxonomy:
        """Return a taxonomy whose only rank is the class label."""
        return cls(tuple(classes), (LABEL,), tuple((name,) for name in classes))

    @classmethod
    def of_rows(cls, classes: Sequence[str], ranks: Sequence[str], rows: Mapping[str, Row]) -> Taxonomy:
        """Return the taxonomy of a model's classes from the rows of a table, which may contain other classes.

        Args:
            classes: class names of the model.
            ranks: names of the columns, in the order that `ordered_ranks` found.
            rows: by label, the taxon in each column, or an empty string.

        Raises:
            DataError: a class has no row, or the taxa are not a tree.
        """
        if missing := [name for name in classes if name not in rows]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise DataError(
                f"the taxonomy has no row for class '{_shown(missing[0])}'{more}."
                f"{did_you_mean(missing[0], rows)} Give each of the model's {len(classes)} classes one."
            )
        taxa = _filled(ranks, [rows[name] for name in classes])
        deepest = [row[0] for row in taxa]
        if not all(deepest) or len(set(deepest)) < len(deepest):
            ranks, taxa = (LABEL, *ranks), [(name, *row) for name, row in zip(classes, taxa, strict=True)]
        return cls(tuple(classes), tuple(ranks), tuple(taxa))

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Taxon number of each class at each rank, ``(R, C)``.

        The numbers form one tree: classes that share a taxon share all coarser ones. Classes with an unknown taxon are
        distinguished as at the next deeper rank.
        """
        numbers, found = [], list(range(len(self.classes)))
        for rank in range(len(self.ranks)):
            keys: dict[tuple[bool, object], int] = {}
            found = [
                keys.setdefault((bool(row[rank]), row[rank] or deeper), len(keys))
                for row, deeper in zip(self.taxa, found, strict=True)
            ]
            numbers.append(found)
        return np.array(numbers, dtype=np.int64).reshape(len(self.ranks), len(self.classes))

    @cached_property
    def is_named(self) -> NDArray[np.bool_]:
        """Whether each class's taxon is known at each rank, ``(R, C)``."""
        return np.array([[bool(name) for name in row] for row in self.taxa]).reshape(len(self.classes), -1).T

    def lineage(self, rank: int, member: int) -> dict[str, str]:
        """Return the taxa of a class by rank, from a rank upwards; unknown taxa are left out."""
        return {name: taxon for name, taxon in list(zip(self.ranks, self.taxa[member], strict=True))[rank:] if taxon}

    def members(self, name: str) -> set[int]:
        """Return the class indices of a taxon of any rank; for the name of a class, only that class."""
        if name in self.classes:
            return {self.classes.index(name)}
        return {number for number, row in enumerate(self.taxa) if name in row}

    def to_text(self) -> str:
        """Return the taxonomy as text for a file's metadata."""
        return json.dumps({"ranks": self.ranks, "taxa": self.taxa})

    @classmethod
    def from_text(cls, text: str, classes: Sequence[str]) -> Taxonomy:
        """Read the output of `to_text`, for a model with these classes.

        Raises:
            ValueError: it is invalid.
        """
        facts = json.loads(text)
        ranks: Any = facts.get("ranks") if isinstance(facts, dict) else None
        taxa: Any = facts.get("taxa") if isinstance(facts, dict) else None
        if not _texts(ranks) or not 0 < len(ranks) <= MAX_RANKS or len(set(ranks)) < len(ranks):
            raise ValueError("its ranks are no names")
        if not isinstance(taxa, list) or len(taxa) != len(classes):
            raise ValueError(f"it does not describe {len(classes)} classes")
        if not all(_texts(row) and len(row) == len(ranks) for row in taxa):
            raise ValueError("a class has not as many taxa as there are ranks")
        rows = [tuple(row) for row in taxa]
        if not all(row[0] for row in rows) or len({row[0] for row in rows}) < len(rows):
            raise ValueError("its deepest rank does not tell all classes apart")
        try:
            if _filled(ranks, rows) != rows:
                raise ValueError("it is no tree")
        except DataError as error:
            raise ValueError(str(error)) from error
        return cls(tuple(classes), tuple(ranks), tuple(rows))


def ordered_ranks(columns: Sequence[str], rows: Mapping[str, Row]) -> list[int]:
    """Return the positions of the columns, from the deepest rank to the coarsest.

    Known ranks are sorted in their usual order. Other ranks are in the order of the columns or its reverse, depending
    on their numbers of taxa.

    Raises:
        DataError: the numbers of taxa do not determine the order.
    """
    known = [column.casefold() for column in columns]
    if all(name in LINNAEAN for name in known):
        return sorted(range(len(columns)), key=lambda place: LINNAEAN.index(known[place]))
    counts = [len({row[place] for row in rows.values() if row[place]}) for place in range(len(columns))]
    places = list(range(len(columns)))
    falling = all(a >= b for a, b in pairwise(counts))
    rising = all(a <= b for a, b in pairwise(counts))
    if len(columns) < 2 or (falling and not rising):
        return places
    if rising and not falling:
        return places[::-1]
    found = ", ".join(f"{_shown(column)} {count}" for column, count in zip(columns, counts, strict=True))
    raise DataError(
        f"the taxonomy's columns are not in the order of their ranks, by how many taxa they have ({found}); put them "
        "from the deepest to the coarsest, and leave out columns that are no rank."
    )


def _filled(ranks: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Return rows in which everything known about a taxon is filled in for all its classes.

    Raises:
        DataError: a taxon belongs to two taxa of a coarser rank.
    """
    filled = [list(row) for row in rows]
    for rank in range(len(ranks) - 1):
        for coarser in range(rank + 1, len(ranks)):
            above: dict[str, str] = {}
            for row in filled:
                taxon, found = row[rank], row[coarser]
                if taxon and found and above.setdefault(taxon, found) != found:
                    raise DataError(
                        f"the taxonomy has {_shown(ranks[rank])} '{_shown(taxon)}' under two taxa of rank "
                        f"{_shown(ranks[coarser])}, '{_shown(above[taxon])}' and '{_shown(found)}'; mend one of them."
                    )
            for row in filled:
                row[coarser] = row[coarser] or above.get(row[rank], "")
    return [tuple(row) for row in filled]


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _shown(text: str) -> str:
    return printable(shortened(text, 60))


__all__ = ["LABEL", "LINNAEAN", "Taxonomy", "ordered_ranks"]
