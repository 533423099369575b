"""What `tlaam clean` returns: the suspects, and where they are written."""

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
        name: of the data set.
        images: how many were looked at.
        fingerprint: of the data set; decisions are taken for this one alone.
        classes: class names.
        suspects: worst first.
        notes: what else is to be known of the data, a line each.
        out_of_fold_top1: share of labels that a probe which had not seen the image agrees with; None where too few
            images could be held out.
        folder: where ``suspects.csv`` and ``page.html`` lie.
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
        """The page to decide on."""
        return self.folder / "page.html"

    @property
    def csv(self) -> Path:
        """The list of suspects."""
        return self.folder / "suspects.csv"

    def of_kind(self, kind: str) -> tuple[Suspect, ...]:
        """Return the suspects of one of `tlaam.cleaning.suspects.KINDS`, worst first."""
        return tuple(suspect for suspect in self.suspects if kind in suspect.kinds)

    def counts(self) -> dict[str, int]:
        """Return how many suspects there are of each kind that there are any of."""
        found = Counter(kind for suspect in self.suspects for kind in suspect.kinds)
        return {kind: found[kind] for kind in KINDS if found[kind]}

    def table(self, limit: int = 10) -> str:
        """Return the report as text, with the first suspects."""
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
        """Return plain values."""
        return {
            "name": self.name, "images": self.images, "fingerprint": self.fingerprint, "classes": list(self.classes),
            "out_of_fold_top1": self.out_of_fold_top1, "notes": list(self.notes), "counts": self.counts(),
            "suspects": [suspect.to_dict() for suspect in self.suspects],
        }  # fmt: skip

    def write_csv(self) -> None:
        """Write ``suspects.csv``; cells that a spreadsheet would compute begin with an apostrophe."""
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
    """Return a safe cell whose bytes that are no text are escapes."""
    return safe_cell(cell.encode("utf-8", "backslashreplace").decode())
