"""An Excel workbook of answers, with a thumbnail in each row."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tlaam.errors import ConfigError, MissingPackageError
from tlaam.field.answer import Answer
from tlaam.field.rows import Cell, columns_of, rows_of
from tlaam.field.thumbnails import Where, thumbnail
from tlaam.utils.atomic import grown_atomically
from tlaam.utils.extras import install_hint
from tlaam.utils.text import valid_text

_ROWS = 1_048_576  # maximum number of rows per sheet
_LONGEST = 32_767  # maximum number of characters per cell
_SIDE = 96  # maximum side of a thumbnail in pixels
_WIDTHS = {
    "file": 44, "time": 26, "camera": 20, "label": 24, "taxon": 24, "lineage": 40, "outside": 24, "second": 20,
    "error": 50,
}  # fmt: skip


def require_xlsxwriter() -> Any:
    """Return the package that writes workbooks.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import xlsxwriter
    except ImportError as error:
        raise MissingPackageError(f"--xlsx needs XlsxWriter: {install_hint('field')}; --csv goes without.") from error
    return xlsxwriter


def write_xlsx(
    path: Path,
    answers: Iterable[Answer],
    *,
    ranked: bool = False,
    where: Where = Path,
    progress: Callable[[], None] = lambda: None,
) -> None:
    """Write a workbook atomically: one row per object with the columns of `columns_of`, after its photograph.

    All text is written as plain text, never as a formula or link. Rows are written as they come, so only the thumbnails
    are held in memory.

    Args:
        path: the file to write.
        answers: the answers to write.
        ranked: whether answers are given by taxonomic rank.
        where: returns the current location of a photograph.
        progress: called after each answer.

    Raises:
        MissingPackageError: XlsxWriter is not installed.
        ConfigError: there are more rows than fit on a sheet.
        RunError: the disk is full.
        OSError: the file cannot be written.
    """
    xlsxwriter = require_xlsxwriter()
    plain = dict.fromkeys(("strings_to_formulas", "strings_to_urls", "strings_to_numbers"), False)
    with grown_atomically(path, "give the same command again.") as growing:
        book = xlsxwriter.Workbook(str(growing), {"constant_memory": True, **plain})
        try:
            _fill(book, answers, ranked, where, progress)
        finally:
            _close(book, xlsxwriter)


def _fill(book: Any, answers: Iterable[Answer], ranked: bool, where: Where, progress: Callable[[], None]) -> None:
    columns = columns_of(ranked=ranked)
    sheet, bold = book.add_worksheet("answers"), book.add_format({"bold": True})
    middle = book.add_format({"valign": "vcenter"})
    share = book.add_format({"num_format": "0.0%", "valign": "vcenter"})
    sheet.set_column(0, 0, _SIDE / 7 + 1)
    for column, name in enumerate(columns, start=1):
        sheet.set_column(column, column, _WIDTHS.get(name, 12))
    sheet.freeze_panes(1, 2)
    for column, name in enumerate(("picture", *columns)):
        sheet.write_string(0, column, name, bold)
    shares = {column for column, name in enumerate(columns) if name.endswith("probability")}
    row = 0
    for answer in answers:
        picture = None if answer.error else thumbnail(where(answer.file), _SIDE)
        for cells in rows_of(answer, ranked=ranked):
            row += 1
            if row >= _ROWS:
                raise ConfigError(f"a workbook has room for {_ROWS - 1:,} rows; write a table by --csv instead.")
            sheet.set_row_pixels(row, _SIDE + 4 if picture else 20)
            for column, value in enumerate(cells):
                _write(sheet, row, column + 1, value, share if column in shares else middle)
            if picture:
                content, _, height = picture
                place = {"image_data": io.BytesIO(content), "x_offset": 2, "y_offset": (_SIDE + 4 - height) // 2,
                         "object_position": 1, "description": valid_text(answer.file)[:200]}  # fmt: skip
                sheet.insert_image(row, 0, f"{row}.jpg", place)
        progress()
    sheet.autofilter(0, 0, max(row, 1), len(columns))


def _write(sheet: Any, row: int, column: int, value: Cell, form: Any) -> None:
    if isinstance(value, str):
        sheet.write_string(row, column, valid_text(value)[:_LONGEST], form)
    elif value is not None:
        sheet.write_number(row, column, value, form)


def _close(book: Any, xlsxwriter: Any) -> None:
    """Write the file; re-raise the underlying OSError if the system refuses."""
    try:
        book.close()
    except xlsxwriter.exceptions.FileCreateError as error:
        if isinstance(error.args[0], OSError):
            raise error.args[0] from error
        raise
