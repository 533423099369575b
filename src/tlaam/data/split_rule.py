"""How a data set's splits are cut, beyond what its images say; a run records it so as to repeat the cut."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlaam.errors import ConfigError, DataError
from tlaam.utils.atomic import write_json
from tlaam.utils.checksums import checksum, is_intact, with_checksum
from tlaam.utils.reading import read_text

_FOLD = re.compile(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*")


@dataclass(frozen=True, slots=True)
class SplitRule:
    """Which images stay on the same side of every cut, and which fold is held out.

    Attributes:
        group: regular expression that is searched in images' names; images for which it finds the same are one group
            (`tlaam.data.groups`). Empty: no such groups.
        fold: the fold of the training images that is the test split, and the number of folds: ``(2, 5)`` is the second
            of five. The data set's own test images are then left out. None: no fold.
        copies: sets of images with identical pixels, as `name_checksum` of their names; None if not searched for yet.
        near: likewise, sets of images with nearly the same picture (`tlaam.data.near_copies`).
    """

    group: str = ""
    fold: tuple[int, int] | None = None
    copies: tuple[tuple[str, ...], ...] | None = None
    near: tuple[tuple[str, ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, without those that are empty.

        Examples:
            >>> SplitRule("[^/]+", fold=(2, 5)).to_dict()
            {'group': '[^/]+', 'fold': [2, 5]}
        """
        values: dict[str, Any] = {"group": self.group} if self.group else {}
        if self.fold is not None:
            values["fold"] = list(self.fold)
        if self.copies:
            values["copies"] = [list(equal) for equal in self.copies]
        if self.near:
            values["near"] = [list(alike) for alike in self.near]
        return values

    @classmethod
    def from_dict(cls, values: Any) -> SplitRule:
        """Read what `to_dict` returned; copies count as searched for, since that was done when it was written.

        Raises:
            ValueError: it is something else.
        """
        try:
            group, fold, copies = values.get("group", ""), values.get("fold"), values.get("copies", ())
            sets = tuple(map(tuple, copies)), tuple(map(tuple, values.get("near", ())))
            found = cls(group, None if fold is None else _fold(*fold), *sets)
            names = (name for of_kind in sets for alike in of_kind for name in alike)
            plain = isinstance(group, str) and all(isinstance(name, str) for name in names)
        except (TypeError, AttributeError, ConfigError) as error:
            raise ValueError("it is no rule of splits") from error
        if not plain:
            raise ValueError("it is no rule of splits")
        return found


def parsed_fold(text: str) -> tuple[int, int]:
    """Return the fold that ``2/5`` names: the second of five.

    Raises:
        ConfigError: the text names no fold.

    Examples:
        >>> parsed_fold("2/5")
        (2, 5)
    """
    found = _FOLD.fullmatch(text)
    if found is None:
        raise ConfigError(
            f"a fold is given as NUMBER/COUNT, for example 2/5 for the second of five; received '{text}'."
        )
    return _fold(int(found[1]), int(found[2]))


def _fold(number: int, count: int) -> tuple[int, int]:
    if not (isinstance(number, int) and isinstance(count, int)):
        raise TypeError("a fold is two whole numbers")
    if count < 2 or not 1 <= number <= count:
        raise ConfigError(f"there is no fold {number} of {count}; at least two are needed, counted from 1.")
    return number, count


def write_copies(path: Path, rule: SplitRule) -> None:
    """Write the copies and near copies of a rule to a file, so that others need not search for them."""
    found = {"copies": rule.copies or (), "near": rule.near}
    write_json(path, with_checksum({kind: [list(alike) for alike in sets] for kind, sets in found.items()}))


def read_copies(path: Path) -> SplitRule:
    """Return a rule with only the copies and near copies that `write_copies` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        values = json.loads(read_text(path))
        if not isinstance(values, dict) or "copies" not in values or not is_intact(values):
            raise ValueError("it was not written so")
        found = SplitRule.from_dict(values)
        return SplitRule(copies=found.copies, near=found.near)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is no list of equal images: {error}.") from error


def name_checksum(name: str) -> str:
    """Return a checksum that stands for an image's name where the name must not be disclosed."""
    return checksum(name.encode("utf-8", "surrogateescape"))
