"""The result of `tlaam clean`: the suspects, and the files they are written to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tlaam.cleaning.cells import safe_cell
from tlaam.cleaning.suspects import KINDS, Suspect
from tlaam.utils.atomic import write_csv
from tlaam.utils.text import printable

COLUMNS = (
    "rank", "image", "label", "split", "kinds", "score", "suggested", "reason", "companions",
)  # fmt: skip


@dataclass(frozen=True)
class CleaningReport:
    """The suspects of a data set.

    Attributes:
        name: name of the data set.
        images: number of images examined.
        fingerprint: fingerprint of the data set; decisions are only valid for this one.
        classes: class names.
        suspects: the suspects, worst first.
        notes: other remarks on the data, one line each.
        out_of_fold_top1: share of labels confirmed by a probe that had not seen the image; None if too few images could
            be held out.
        folder: the folder with ``suspects.csv`` and ``page.html``.
    """

    name: str
    images: int
    fingerprint: str
    classes: tuple[str, ...]
    suspects: tuple[Suspect, ...] = field(repr=False)
    notes: tuple[str, ...]
    out_of_fold_top1: float | None
    folder: Path

    @property
    def page(self) -> Path:
        """The page for deciding on the suspects."""
        return self.folder / "page.html"

    @property
    def csv(self) -> Path:
        """The list of suspects."""
        return self.folder / "suspects.csv"

    def of_kind(self, kind: str) -> tuple[Suspect, ...]:
        """Return the suspects of one of `tlaam.cleaning.suspects.KINDS`, worst first."""
        return tuple(suspect for suspect in self.suspects if kind in suspect.kinds)

    def counts(self) -> dict[str, int]:
        """Return the number of suspects of each kind, without kinds that do not occur."""
        found = Counter(kind for suspect in self.suspects for kind in suspect.kinds)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def table(self, limit: int = 10) -> str:
        """Return the report as text, with the first `limit` suspects."""
        lines = [f"{self.name}: {len(self.suspects):,} suspects among {self.images:,} images"]
        lines += [f"  {count:6,}  {KINDS[kind]}" for kind, count in self.counts().items()]
        lines += [f"  note: {printable(note)}" for note in self.notes]
        for suspect in self.suspects[:limit]:
            other = f" -> {suspect.suggested}" if suspect.suggested else ""
            line = f"{suspect.score:.2f}  {suspect.name} ({suspect.label}{other}): {suspect.reason}"
            lines.append(printable(line))
        if len(self.suspects) > limit:
            lines.append(f"and {len(self.suspects) - limit:,} more")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "name": self.name, "images": self.images, "fingerprint": self.fingerprint, "classes": list(self.classes),
            "out_of_fold_top1": self.out_of_fold_top1, "notes": list(self.notes), "counts": self.counts(),
            "suspects": [suspect.to_dict() for suspect in self.suspects],
        }  # fmt: skip

    def write_csv(self) -> None:
        """Write ``suspects.csv``; cells that a spreadsheet would take for a formula get a leading apostrophe."""
        rows = [
            [
                str(rank), suspect.name, suspect.label, suspect.split, " ".join(suspect.kinds), f"{suspect.score:.4f}",
                suspect.suggested, suspect.reason,
                " | ".join(f"{one.role}: {one.name}" for one in suspect.companions),
            ]
            for rank, suspect in enumerate(self.suspects, start=1)
        ]  # fmt: skip
        escaped = [{c: _text(cell) for c, cell in zip(COLUMNS, row, strict=True)} for row in rows]
        write_csv(self.csv, COLUMNS, escaped)


def _text(cell: str) -> str:
    """Return a safe cell in which bytes that do not decode to text are escaped."""
    return safe_cell(cell.encode("utf-8", "backslashreplace").decode())
