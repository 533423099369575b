"""A CSV file that grows with the answers; after an interruption, writing resumes behind the last whole answer."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tlaam.errors import RunError
from tlaam.field.answer import Answer
from tlaam.field.rows import Cell, columns_of, rows_of
from tlaam.utils.text import safe_cell, valid_text


class CsvTable:
    """An open table that takes the answers of one job in order, always starting from the first one.

    Rows that the file already holds are compared with the new ones and not written again.
    """

    def __init__(self, path: Path, *, ranked: bool = False) -> None:
        self._path, self._ranked = path, ranked
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        self._stream = os.fdopen(descriptor, "r+b")
        self._appending = False
        self._put(_encoded([columns_of(ranked=ranked)]))

    def add(self, answer: Answer) -> None:
        """Write the rows of one file. If the process is killed, the next attempt completes them.

        Raises:
            RunError: the file holds different content at this place.
            OSError: the file cannot be written.
        """
        self._put(_encoded(rows_of(answer, ranked=self._ranked)))

    def finish(self) -> None:
        """Flush everything that was added to disk.

        Raises:
            RunError: the file holds more than was added.
        """
        if not self._appending and self._stream.read(1):
            raise self._changed()
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _put(self, rows: bytes) -> None:
        if not self._appending:
            start = self._stream.tell()
            found = self._stream.read(len(rows))
            if found == rows:
                return
            if not rows.startswith(found):
                raise self._changed()
            self._stream.seek(start)
            self._appending = True
        self._stream.write(rows)
        self._stream.flush()

    def _changed(self) -> RunError:
        return RunError(f"{self._path} holds other rows than those of these answers; give another file, or remove it.")


@contextmanager
def csv_table(path: Path, *, ranked: bool = False) -> Iterator[CsvTable]:
    """Open the table at `path`, new or partly written.

    Args:
        path: the file.
        ranked: whether answers are given by taxonomic rank.

    Raises:
        RunError: the file holds something else.
        OSError: the file cannot be opened.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    table = CsvTable(path, ranked=ranked)
    try:
        yield table
        table.finish()
    finally:
        table.close()


def _encoded(rows: Iterable[Sequence[Cell]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().encode("utf-8")


def _cell(value: Cell) -> Cell:
    return safe_cell(valid_text(value)) if isinstance(value, str) else value
