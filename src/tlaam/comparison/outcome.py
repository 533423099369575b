"""What a comparison found, and which epochs it measures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tlaam.comparison.results import (
    Row,
    RunResult,
    Spread,
)
from tlaam.comparison.systems import System
from tlaam.config.schema import Config
from tlaam.config.sections import MACHINE_OPTIONS
from tlaam.data.sample import Split

Protocol = Literal["validation", "last", "best-epoch"]
PROTOCOLS: dict[Protocol, dict[str, Any]] = {
    "validation": {"keep": "best"},
    "last": {"keep": "last"},
    "best-epoch": {"keep": "best", "select_on": "test"},
}
"""Which epoch of a run is measured, as options."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        folder: where ``table.md``, ``table.csv``, ``differences.csv``, ``results.json``, ``index.html`` and the runs
            are.
        systems: what was compared.
        runs: every run's result, seeds within systems.
        summary: means and deviations by system and measure.
        differences: of `first` with every other system, of every other with the plain backbone, and of `first`'s
            branches.
        first: the system that is compared with the others.
        protocol: which epoch was measured.
        split: which images were.
        command: makes it again.
        folds: how many folds of the training images were measured instead, each by runs that had not seen it; None:
            none.
        fold_of: of folds the number of each image's.
        drawn: what intervals draw besides seeds: images, or groups of images.
    """

    folder: Path
    systems: Sequence[System]
    runs: Sequence[RunResult]
    summary: Mapping[str, Mapping[str, Spread]]
    differences: Sequence[Row]
    first: str
    protocol: Protocol
    split: Split
    command: str
    folds: int | None = None
    fold_of: Mapping[str, int] = field(default_factory=dict)
    drawn: str = "images"

    @property
    def measured_on(self) -> str:
        """Which images were measured, in words."""
        return measured_on(len(self.runs[0].images), self.split, self.folds)

    @property
    def titles(self) -> dict[str, str]:
        """What to call each system that has a result."""
        return {system.name: system.title for system in self.systems if system.name in self.summary}


def measured_on(images: int, split: str, folds: int | None) -> str:
    """Say which images were measured, and, of folds, by which runs."""
    if folds is None:
        return f"the {images} images of the {split} split"
    return (
        f"the {images} training images out of fold ({folds} folds): each image was answered for by a run that had seen "
        "neither it nor its group nor a copy of it; the test split was not opened"
    )


def computed_settings(config: Config) -> dict[str, Any]:
    """Return the settings that decide what is computed, but for the seed, as JSON holds them."""
    flat = {name: value for section in config.to_nested().values() for name, value in section.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat))
    return {name: value for name, value in plain.items() if name not in (*MACHINE_OPTIONS, "seed")}
