"""The runs that make up a comparison, and how each of them splits the data."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tlaam.comparison.budget import larger_input
from tlaam.comparison.results import run_name
from tlaam.comparison.systems import SYSTEMS, System
from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.data.groups import grouped, groups_of
from tlaam.data.sample import LabelledImages
from tlaam.data.split import cut_splits

_NO_EPOCHS = {"keep": "last", "select_on": "val", "val_fraction": 0.0}
"""Settings for a system that is not trained: there is no epoch to choose, so no image need be held out for that."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Attributes:
        system: the system to train.
        seed: its seed.
        fold: number of the fold that is held out and measured; 0: the data set's own split is measured.
    """

    system: System
    seed: int
    fold: int = 0

    @property
    def name(self) -> str:
        """The name of the run's folder."""
        return run_name(self.system.name, self.seed, self.fold)

    @property
    def title(self) -> str:
        """The display title."""
        return f"{self.system.title}, seed {self.seed}" + (f", fold {self.fold}" if self.fold else "")


def planned(grid: Iterable[System], seeds: int, folds: int | None) -> dict[str, PlannedRun]:
    """Return the runs by name in the order in which they are done: by seed, then by system, then by fold.

    A system that is not trained runs only with seed 0.
    """
    runs = [
        PlannedRun(system, seed, fold)
        for seed in range(seeds)
        for system in grid
        if seed == 0 or system.is_trained
        for fold in (range(1, folds + 1) if folds else (0,))
    ]
    return {run.name: run for run in runs}


def resolved_config(system: System, settings: Mapping[str, Any], images: LabelledImages) -> Config:
    """Return a system's settings: its own options, then the comparison's; the rest is resolved from the data.

    A system without epochs holds nothing out unless its own options say so.

    Raises:
        ConfigError: an option is unknown, or settings are incompatible.
    """

    def resolved(options: Mapping[str, Any]) -> Config:
        given = {**settings, **options}
        if Config.from_flat(given).training.epochs == 0:
            given = {**settings, **_NO_EPOCHS, **options}
        config = Config.from_flat(given)
        return resolve(config, as_split(images, config))

    if not system.larger_input:
        return resolved(system.options)
    leader = resolved(SYSTEMS["tlaam"].options)
    return resolved({**larger_input(leader.model), **system.options})


def as_split(images: LabelledImages, config: Config) -> LabelledImages:
    """Return the data set as a run with these settings splits it; with folds, as the run of the first fold does."""
    return cut_splits(images, 0.0, config.training.val_fraction, config.training.seed)


def in_fold(images: LabelledImages, fold: int, folds: int | None) -> LabelledImages:
    """Return the data set with the rule by which a fold's run splits it."""
    return replace(images, rule=replace(images.rule, fold=(fold, folds) if folds else None))


def groups_of_names(images: LabelledImages, names: Sequence[str]) -> list[Hashable]:
    """Return the groups of the training images with the given names."""
    train = grouped(images).split("train")
    group_of = {sample.name: group for sample, group in zip(train, groups_of(train), strict=True)}
    return [group_of[name] for name in names]


def classes_in_one_group(images: LabelledImages) -> list[str]:
    """Return the classes that cannot be learned by the run that holds them out, as all their images share one group."""
    train = grouped(images).split("train")
    found: dict[int, set[object]] = {}
    for sample, group in zip(train, groups_of(train), strict=True):
        found.setdefault(sample.label, set()).add(group)
    return [images.classes[label] for label in sorted(found) if len(found[label]) == 1]
