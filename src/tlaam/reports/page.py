"""A self-contained HTML page of results: tables with bars, charts and pictures; it loads nothing from the network."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tlaam.errors import RunError
from tlaam.utils.atomic import remove_leftovers, write_atomically
from tlaam.visualization.charts import STYLE

if TYPE_CHECKING:
    from markupsafe import Markup

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        title: heading.
        columns: column names; the first one is above the row names.
        rows: one value per column. A float between 0 and 1 is a share, shown in per cent with a bar. Other numbers
            and text are shown as they are; None and non-finite numbers as a dash.
        note: a sentence below the table.
        ranked: higher is better: mark the highest share of each column, and the row with the highest in the first.
        facts: a table of two columns, name and value, without a heading; laid out in as many columns as fit.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    ranked: bool = False
    facts: bool = False

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Table {self.title!r} has {len(self.columns)} columns; received the row {row!r}.")


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix.

    Attributes:
        title: heading.
        names: class names.
        counts: how many images of each class (row) were assigned to each class (column).
        note: a sentence below the matrix.
    """

    title: str
    names: Sequence[str]
    counts: Sequence[Sequence[int]]
    note: str = ""


@dataclass(frozen=True)
class Panel:
    """One view of a picture and the name written below it."""

    name: str
    image: Image.Image = field(repr=False)


@dataclass(frozen=True)
class Picture:
    """The views of one subject, such as an image.

    Attributes:
        panels: its views, two per row.
        caption: what it shows, in a few words.
        good: marks it as right (True), wrong (False) or neither (None).
        detail: further information, in smaller type.
    """

    panels: Sequence[Panel]
    caption: str
    good: bool | None = None
    detail: str = ""


@dataclass(frozen=True)
class Figure:
    """A headline figure: the number as text, what it measures, and a few words about it."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: heading.
        svg: an ``<svg>`` element, as returned by `tlaam.visualization.charts`; not escaped.
        note: a sentence below the chart.
        wide: use the full width of the page.
    """

    title: str
    svg: str = field(repr=False)
    note: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Gallery:
    """Pictures under one heading.

    Attributes:
        title: heading.
        pictures: the pictures in order; a gallery without any is omitted.
        note: a sentence above them.
    """

    title: str
    pictures: Sequence[Picture]
    note: str = ""


Section = Table | Matrix | Chart | Gallery


@dataclass(frozen=True)
class Part:
    """A group of sections listed under one name in the table of contents."""

    title: str
    sections: Sequence[Section]


_WIDE_TABLE, _WIDE_MATRIX = 6, 12
"""Number of columns of a table, or classes of a matrix, above which it takes the full width."""
_BESIDE = 26
"""Longest class name, in characters, that fits beside its row; longer names are listed below the matrix."""


@dataclass(frozen=True)
class _Shown:
    """A cell as the template needs it: its text, whether it is a number, the length of its bar in per cent, and
    whether it is the best of its column."""

    text: str
    number: bool = False
    bar: str | None = None
    best: bool = False


def write_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    intro: str,
    sections: Sequence[Section | Part],
    figures: Sequence[Figure] = (),
    lead: Gallery | None = None,
) -> Path:
    """Write one self-contained HTML page and return its path.

    All text is treated as data and escaped. The file is written atomically and replaces an existing one.

    Args:
        path: the file to write; missing folders are created.
        title: heading of the page.
        intro: text below the heading; an empty line starts a new paragraph.
        sections: shown in order, individually or grouped in parts. Pictures are embedded as JPEG, or as PNG if they
            are transparent.
        figures: headline figures.
        lead: pictures shown first; the title of this gallery is not displayed.

    Raises:
        RunError: the file cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["breakable"] = _breakable
    html = environment.from_string(_template("page.html.j2")).render(
        title=title,
        palette=palette(),
        chart_style=STYLE.strip(),
        paragraphs=[paragraph.strip() for paragraph in intro.split("\n\n") if paragraph.strip()],
        figures=figures,
        lead=_prepared(lead or Gallery("", [])),
        parts=_parts(sections),
    )
    target = Path(path)
    # File names may contain bytes that do not decode to text (lone surrogates in Python); write them as escapes.
    _write(target, html.encode("utf-8", "backslashreplace"))
    return target


def _parts(sections: Sequence[Section | Part]) -> list[dict[str, object]]:
    """Return the template's data grouped by part; ungrouped sections go into parts without a title."""
    parts: list[Part] = []
    for section in sections:
        if isinstance(section, Part):
            parts.append(section)
        elif parts and not parts[-1].title:
            parts[-1] = Part("", [*parts[-1].sections, section])
        else:
            parts.append(Part("", [section]))
    found, numbers = [], count(1)
    for part in parts:
        shown = [section for section in part.sections if not isinstance(section, Gallery) or section.pictures]
        if shown:
            items = [{"number": next(numbers), **_prepared(section)} for section in shown]
            found.append({"title": part.title, "count": len(items), "sections": items})
    return found


def palette() -> str:
    """Return the colours of all pages, light and dark, as CSS."""
    return _template("palette.css.j2").strip()


def _template(name: str) -> str:
    return resources.files("tlaam.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _prepared(section: Section) -> dict[str, object]:
    """Return the template's data for a section."""
    if isinstance(section, Table):
        kind, wide = ("facts", True) if section.facts else ("table", len(section.columns) > _WIDE_TABLE)
        return {"kind": kind, "section": section, "wide": wide, "rows": _rows(section)}
    if isinstance(section, Matrix):
        large = len(section.names) > _WIDE_MATRIX
        named = max(map(len, section.names), default=0) <= _BESIDE
        rows = _counts(section)
        return {"kind": "matrix", "section": section, "wide": large, "large": large, "named": named, "rows": rows}
    if isinstance(section, Chart):
        return {"kind": "chart", "section": section, "wide": section.wide}
    pictures = [(p, [(panel, _data_uri(panel.image)) for panel in p.panels]) for p in section.pictures]
    return {"kind": "gallery", "section": section, "wide": True, "pictures": pictures}


def _breakable(text: str) -> Markup:
    """Allow line breaks after underscores: names of classes and files are long and offer no other place to break."""
    from markupsafe import Markup, escape

    return escape(text).replace("_", Markup("_<wbr>"))


def _counts(matrix: Matrix) -> list[list[dict[str, object]]]:
    """Return the cells of a confusion matrix; the larger the share of its class, the darker the cell."""
    rows = []
    for true, counts in enumerate(matrix.counts):
        of_class = max(sum(counts), 1)
        rows.append(
            [
                {
                    "count": count,
                    "hit": taken == true,
                    "share": f"{0.15 + 0.65 * count / of_class:.2f}",
                    "title": f"{count} of {of_class}: {matrix.names[true]}, taken for {matrix.names[taken]}",
                }
                for taken, count in enumerate(counts)
            ]
        )
    return rows


def _rows(table: Table) -> list[list[_Shown]]:
    """Return the cells of a table; in a ranked table, mark the highest share of each column unless all are equal."""
    columns = list(zip(*table.rows, strict=True))
    best: list[float | None] = []
    for column in columns:
        shares = [cell for cell in column if isinstance(cell, float) and 0 <= cell <= 1]
        best.append(max(shares) if table.ranked and shares and max(shares) > min(shares) else None)
    rows = []
    for row in table.rows:
        cells = [replace(_shown(c), best=b is not None and c == b) for c, b in zip(row, best, strict=True)]
        rows.append([replace(cells[0], best=any(cell.best for cell in cells[1:2])), *cells[1:]])
    return rows


def _shown(cell: Cell) -> _Shown:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return _Shown("—", number=True)
    if isinstance(cell, float):
        if 0 <= cell <= 1:
            return _Shown(f"{100 * cell:.1f} %", number=True, bar=f"{100 * cell:.1f}")
        return _Shown(f"{cell:.4g}", number=True)
    return _Shown(str(cell), number=isinstance(cell, int))


def _data_uri(image: Image.Image) -> str:
    buffer = BytesIO()
    if image.has_transparency_data:
        kind = "png"
        image.convert("RGBA").save(buffer, "PNG", optimize=True)
    else:
        kind = "jpeg"
        # Do not subsample the chroma: the pictures contain thin coloured lines.
        image.convert("RGB").save(buffer, "JPEG", quality=85, subsampling=0, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent, path.name)
        write_atomically(path, content)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RunError(
            f"Cannot write the page {path}: {reason}. Choose a file in a folder that you may write to and has space."
        ) from error
