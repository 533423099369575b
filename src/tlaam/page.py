"""A page of results in one HTML file: tables with bars, charts and pictures; it asks the network for nothing."""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from io import BytesIO
from pathlib import Path

from PIL import Image

from tlaam.atomic import remove_leftovers, write_atomically
from tlaam.charts import STYLE
from tlaam.errors import RunError

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        title: heading.
        columns: names of the columns, the first one over the rows' names.
        rows: one value per column. A float between 0 and 1 is a share, shown in per cent with a bar; other numbers
            and text are shown as they are; None and numbers that are not finite as a dash.
        note: a sentence beneath.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"Table {self.title!r} has {len(self.columns)} columns; received the row {row!r}.")


@dataclass(frozen=True)
class Picture:
    """A picture with its caption; `good` marks it as right or wrong, None as neither."""

    image: Image.Image = field(repr=False)
    caption: str
    good: bool | None = None


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: heading.
        svg: an ``<svg>`` element, as `tlaam.charts` makes them; not escaped.
        note: a sentence beneath.
    """

    title: str
    svg: str = field(repr=False)
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures under one heading.

    Attributes:
        title: heading.
        pictures: in order; without any, the gallery is left out.
        note: a sentence above them.
    """

    title: str
    pictures: Sequence[Picture]
    note: str = ""


Section = Table | Chart | Gallery


@dataclass(frozen=True)
class _Shown:
    """A cell as the template needs it: its text, whether it is a number, and the length of its bar in per cent."""

    text: str
    number: bool = False
    bar: str | None = None


def write_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    intro: str,
    sections: Sequence[Section],
) -> Path:
    """Write one self-contained HTML page and return its path.

    All text is data and is escaped. The file appears whole or not at all; an older one of that name is replaced.

    Args:
        path: the file to write; missing folders are made.
        title: heading of the page.
        intro: text beneath it; an empty line begins a new paragraph.
        sections: shown in their order; pictures are embedded as JPEG (as PNG where they are transparent).

    Raises:
        RunError: the file cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("tlaam").joinpath("templates/page.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(source).render(
        title=title,
        chart_style=STYLE.strip(),
        paragraphs=[paragraph.strip() for paragraph in intro.split("\n\n") if paragraph.strip()],
        sections=[_prepared(section) for section in sections],
    )
    target = Path(path)
    # File names may hold bytes that are no text (lone surrogates in Python): they are written as escapes.
    _write(target, html.encode("utf-8", "backslashreplace"))
    return target


def _prepared(section: Section) -> dict[str, object]:
    """Return what the template shows of a section."""
    if isinstance(section, Table):
        return {"kind": "table", "section": section, "rows": [[_shown(cell) for cell in row] for row in section.rows]}
    if isinstance(section, Chart):
        return {"kind": "chart", "section": section}
    return {"kind": "gallery", "section": section, "pictures": [(p, _data_uri(p.image)) for p in section.pictures]}


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
        # Full colour resolution: the panels hold small text and thin coloured lines.
        image.convert("RGB").save(buffer, "JPEG", quality=88, subsampling=0, optimize=True)
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
