"""Input tables for answers: a taxonomy, a list of what lives somewhere, and how common each class is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tlaam.data.labels import is_missing
from tlaam.data.names import clean_name
from tlaam.data.table import Table, encoding_of, fault, listed, read_table
from tlaam.errors import DataError
from tlaam.taxonomy.tree import LABEL, MAX_RANKS, Row, Taxonomy, ordered_ranks
from tlaam.utils.reading import LARGEST_TEXT, bounded_lines, require_regular
from tlaam.utils.text import printable, shortened

WEIGHT = "weight"


def read_taxonomy(path: Path | str, classes: Sequence[str]) -> Taxonomy:
    """Read ``taxonomy.csv`` for a model: a column ``label``, and one column per rank, the deepest first or last.

    Rows of other classes are ignored but must be consistent, because the file may describe more than this model. Empty
    cells are unknown taxa.

    Raises:
        DataError: the file cannot be read, lacks a class, has a label twice with different taxa, or is not a tree; the
            message says which.
    """
    path = Path(path)
    with _opened(path) as table:
        place = _column(path, table, LABEL)
        columns = [other for other in range(len(table.header)) if other != place]
        ranks = [table.written[column] for column in columns]
        if not ranks:
            raise DataError(f"'{path}' has no column beside '{LABEL}'; add one for each rank, such as genus, family.")
        if len(ranks) > MAX_RANKS or not all(ranks) or len({rank.casefold() for rank in ranks}) < len(ranks):
            raise DataError(
                f"'{path}' has the columns {listed(table.header)}; give each rank one name, {MAX_RANKS} at most."
            )
        rows: dict[str, Row] = {}
        for line, row in table.rows:
            if len(row) != len(table.header):
                remedy = f"Each line needs {len(table.header)} cells; quote those that hold '{table.delimiter}'."
                raise fault(path, line, f"{len(row)} cells", remedy)
            label = clean_name(row[place]).strip()
            cells = [clean_name(row[column]).strip() for column in columns]
            taxa = tuple("" if is_missing(cell) else cell for cell in cells)
            if not label:
                raise fault(path, line, f"no {LABEL}", "Fill it in, or remove the line.")
            if rows.setdefault(label, taxa) != taxa:
                raise fault(path, line, f"label '{printable(label)}' for the second time, with other taxa", "Keep one.")
    by_clean = {clean_name(name): name for name in classes}
    rows = {by_clean.get(label, label): taxa for label, taxa in rows.items()}
    try:
        order = ordered_ranks(ranks, rows)
        ordered = {label: tuple(taxa[column] for column in order) for label, taxa in rows.items()}
        return Taxonomy.of_rows(classes, [ranks[column] for column in order], ordered)
    except DataError as error:
        raise DataError(f"'{path}': {error}") from error


def read_names(path: Path | str) -> list[str]:
    """Read a list of names, one per line; empty lines and lines that begin with ``#`` are ignored.

    Raises:
        DataError: the file cannot be read, or contains no names.
    """
    path = Path(path)
    with _text_of(path) as lines:
        names = [clean_name(line).strip() for line in lines]
    if not (names := [name for name in names if name and not name.startswith("#")]):
        raise DataError(f"'{path}' names nothing; give one class a line.")
    return names


def read_weights(path: Path | str) -> dict[str, float]:
    """Read ``prior.csv``: a column ``label`` and a column ``weight``.

    Raises:
        DataError: the file cannot be read, a weight is not a number, or a label has two weights.
    """
    path = Path(path)
    weights: dict[str, float] = {}
    with _opened(path) as table:
        label_column, weight_column = (_column(path, table, name) for name in (LABEL, WEIGHT))
        for line, row in table.rows:
            cells = [*row, *[""] * len(table.header)]
            label, text = clean_name(cells[label_column]).strip(), cells[weight_column].strip()
            try:
                weight = float(text)
            except ValueError:
                weight = math.nan
            if not (math.isfinite(weight) and weight >= 0):
                remedy = "Give how common it is beside the others, 0 for one that is not there."
                raise fault(path, line, f"the weight of '{printable(label)}' is '{printable(text)}'", remedy)
            if weights.setdefault(label, weight) != weight:
                raise fault(path, line, f"label '{printable(label)}' for the second time", "Keep one weight.")
    return weights


def _column(path: Path, table: Table, name: str) -> int:
    if table.header.count(name) != 1:
        found = "twice" if name in table.header else f"not among its columns, {listed(table.header)}"
        raise DataError(f"'{path}' needs one column '{name}'; it is {found}. Name the columns in line 1.")
    return table.header.index(name)


@contextmanager
def _opened(path: Path) -> Iterator[Table]:
    with _faults_named(path):
        require_regular(path, LARGEST_TEXT)
        with path.open(newline="", encoding=encoding_of(path)) as stream:
            yield read_table(path, stream, lambda header: (LABEL in header) + (WEIGHT in header))


@contextmanager
def _text_of(path: Path) -> Iterator[Iterator[str]]:
    with _faults_named(path):
        require_regular(path, LARGEST_TEXT)
        with path.open(encoding=encoding_of(path)) as stream:
            yield bounded_lines(stream, path)


@contextmanager
def _faults_named(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        raise DataError(f"'{path}' is no text in UTF-8; save it as such.") from error
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {shortened(str(error.strerror or error))}.") from error


__all__ = ["read_names", "read_taxonomy", "read_weights"]
