"""The result of a comparison, and which epochs are measured."""

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
"""Options that determine which epoch of a run is measured, by protocol."""


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison.

    Attributes:
        folder: the folder with ``table.md``, ``table.csv``, ``differences.csv``, ``results.json``, ``index.html`` and
            the runs.
        systems: the systems compared.
        runs: the result of every run, ordered by system, then by seed.
        summary: means and deviations by system and measure.
        differences: between `first` and every other system, between every other system and the plain backbone, and
            between `first`'s branches.
        first: the system that the others are compared with.
        protocol: which epoch was measured.
        split: the split that was measured.
        command: the command that repeats the comparison.
        folds: number of folds of the training images measured instead of a split, each by runs that had not seen it;
            None without folds.
        fold_of: with folds, the number of each image's fold.
        drawn: what the bootstrap resamples besides seeds: images, or groups of images.
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
        """A description of the measured images."""
        return measured_on(len(self.runs[0].images), self.split, self.folds)

    @property
    def titles(self) -> dict[str, str]:
        """The display title of each system that has a result."""
        return {system.name: system.title for system in self.systems if system.name in self.summary}


def measured_on(images: int, split: str, folds: int | None) -> str:
    """Return a description of the measured images and, for folds, of the runs that answered for them."""
    if folds is None:
        return f"the {images} images of the {split} split"
    return (
        f"the {images} training images out of fold ({folds} folds): each image was answered for by a run that had seen "
        "neither it nor its group nor a copy of it; the test split was not opened"
    )


def computed_settings(config: Config) -> dict[str, Any]:
    """Return the settings that affect the computation, except the seed, as JSON stores them."""
    flat = {name: value for section in config.to_nested().values() for name, value in section.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat))
    return {name: value for name, value in plain.items() if name not in (*MACHINE_OPTIONS, "seed")}
