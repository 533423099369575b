"""The taxonomy that a run was begun with (``taxonomy.json`` of a run folder)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlaam.errors import RunError
from tlaam.runs.folder import RunFolder
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.atomic import write_text
from tlaam.utils.reading import read_text


def keep_taxonomy(run: Path, taxonomy: Taxonomy) -> None:
    """Write it into a run folder; an older one is replaced.

    Raises:
        RunError: the disk is full.
    """
    write_text(RunFolder(run).taxonomy, taxonomy.to_text())


def taxonomy_of(run: Path, classes: Sequence[str]) -> Taxonomy | None:
    """Return the taxonomy of a run's classes; None of a run without.

    Raises:
        RunError: it is damaged, or of other classes.
    """
    path = RunFolder(run).taxonomy
    if not path.exists():
        return None
    try:
        return Taxonomy.from_text(read_text(path), classes)
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is no taxonomy of this run's classes ({' '.join(str(error).split())[:100]}); give it again: "
            f"tlaam index {run} --taxonomy FILE.csv"
        ) from error


__all__ = ["keep_taxonomy", "taxonomy_of"]
