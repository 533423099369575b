"""Tables as programs write them: CSV with various delimiters, in UTF-8 or UTF-16."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from tlaam.data.names import clean_name
from tlaam.errors import DataError
from tlaam.utils.reading import bounded_lines, require_regular
from tlaam.utils.text import shortened

_DELIMITERS = ",;\t|"
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


class Table(NamedTuple):
    """An open table whose header has been read.

    Attributes:
        header: column names in lower case.
        delimiter: the character between cells.
        rows: the other non-empty lines, each with its number.
        written: column names in the file's own letter case.
    """

    header: list[str]
    delimiter: str
    rows: Iterator[tuple[int, list[str]]]
    written: list[str]


def encoding_of(path: Path) -> str:
    """Return the encoding of a table.

    Raises:
        OSError: it is not a regular file, or cannot be read.
    """
    require_regular(path)
    with path.open("rb") as stream:
        start = stream.read(4)
    # Spreadsheets that save "Unicode text" write UTF-16, mostly with this mark.
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    zeros = [byte == 0 for byte in start]
    if zeros == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if zeros == [True, False, True, False] else "utf-8-sig"


def read_table(path: Path, stream: TextIO, familiarity: Callable[[list[str]], int]) -> Table:
    """Read the header of a table, after empty lines and the line ``sep=;`` that Excel writes.

    Args:
        path: path of the file, for messages.
        stream: the file, opened with `encoding_of` and without translation of line ends.
        familiarity: returns how many columns of a header are known.

    Raises:
        DataError: the header is not a line of a table; or, while rows are read, their quotes are wrong.
        UnfitFileError: a line is too long.
    """
    lines = bounded_lines(stream, path)
    skipped, line, delimiters = 0, next(lines, ""), _DELIMITERS
    while (found := _SEP.fullmatch(line)) or (line and not line.strip()):
        delimiters = found[1] if found else delimiters
        line, skipped = next(lines, ""), skipped + 1
    try:

        def known(delimiter: str) -> tuple[int, int]:
            header = _header(line, delimiter)
            return familiarity(header), len(header)

        delimiter = max(delimiters, key=known)
        header = _header(line, delimiter)
    except csv.Error as error:
        raise fault(path, skipped + 1, str(error), "Name the columns in line 1.") from error
    written = _cleaned(line, delimiter)
    return Table(header, delimiter, _rows(path, lines, delimiter, skipped + 1), written)


def _header(line: str, delimiter: str) -> list[str]:
    return [name.lower() for name in _cleaned(line, delimiter)]


def _cleaned(line: str, delimiter: str) -> list[str]:
    return [clean_name(name).strip() for name in next(csv.reader([line], delimiter=delimiter), [])]


def _rows(path: Path, lines: Iterator[str], delimiter: str, before: int) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for row in reader:
            if any(row):
                yield reader.line_num + before, row
    except csv.Error as error:
        raise fault(path, reader.line_num + before, str(error), "Correct the quotes of the line.") from error


def listed(header: Sequence[str]) -> str:
    """Return the names of columns for a message, shortened if they are too long."""
    return shortened(", ".join(f"'{name}'" for name in header) or "nothing")


def fault(path: Path, line: int, fault: str, remedy: str) -> DataError:
    """Return an error that names a line of a table."""
    return DataError(f"'{path}' line {line}: {shortened(fault, 1000)}. {remedy}")


__all__ = ["Table", "encoding_of", "fault", "listed", "read_table"]
