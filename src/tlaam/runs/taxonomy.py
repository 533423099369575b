"""The taxonomy that a run was started with (``taxonomy.json`` in the run folder)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tlaam.errors import RunError
from tlaam.runs.folder import RunFolder
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.atomic import write_text
from tlaam.utils.reading import read_text


def keep_taxonomy(run: Path, taxonomy: Taxonomy) -> None:
    """Write a taxonomy into a run folder; an existing one is replaced.

    Raises:
        RunError: the disk is full.
    """
    write_text(RunFolder(run).taxonomy, taxonomy.to_text())


def taxonomy_of(run: Path, classes: Sequence[str]) -> Taxonomy | None:
    """Return the taxonomy of a run's classes; None for a run without one.

    Raises:
        RunError: the file is damaged, or for other classes.
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
