"""The page for deciding on suspects: one HTML file that opens without a server and loads nothing from the network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from tlaam.cleaning.report import CleaningReport
from tlaam.cleaning.suspects import KINDS
from tlaam.reports.page import palette
from tlaam.utils.atomic import write_atomically

SHOWN = 300
"""Maximum number of suspects on the page, worst first; ``suspects.csv`` has all."""


def write_cleaning_page(report: CleaningReport, thumbnails: Mapping[str, str]) -> Path:
    """Write the page of a report atomically, and return its path.

    All text is treated as data: it is stored as JSON, and the page's script only inserts it into text nodes.

    Args:
        report: the report; its first `SHOWN` suspects are shown.
        thumbnails: pictures as data URIs by image name.
    """
    from jinja2 import Environment, StrictUndefined

    shown = report.suspects[:SHOWN]
    kinds = {kind: sum(kind in suspect.kinds for suspect in shown) for kind in KINDS}
    data = {
        "fingerprint": report.fingerprint, "classes": list(report.classes), "kinds": KINDS,
        "counts": {kind: count for kind, count in kinds.items() if count},
        "suspects": [suspect.to_dict() for suspect in shown], "thumbnails": dict(thumbnails),
    }  # fmt: skip
    templates = resources.files("tlaam.cleaning").joinpath("templates")
    program = templates.joinpath("page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode("ascii")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    html = environment.from_string(templates.joinpath("page.html.j2").read_text(encoding="utf-8")).render(
        title=f"{report.name}: what to clean",
        intro=_intro(report, len(shown)),
        notes=report.notes,
        palette=palette(),
        program=program,
        program_hash=f"sha256-{digest}",
        data=json.dumps(data).replace("<", "\\u003c"),
    )
    write_atomically(report.page, html.encode("utf-8", "backslashreplace"))
    return report.page


def _intro(report: CleaningReport, shown: int) -> str:
    found = f"{len(report.suspects):,} suspects among {report.images:,} images, worst first."
    if shown < len(report.suspects):
        found += f" The first {shown} are here; suspects.csv has all."
    return (
        f"{found} Decide on each; nothing is changed before tlaam clean --apply decisions.csv writes a manifest. "
        "Boxes are what the model looked at."
    )
