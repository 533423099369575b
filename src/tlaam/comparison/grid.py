"""The runs that a comparison is made of, and the data as each of them splits it."""

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
"""Of a system that is not trained: no epoch is to be chosen, so that no image need be held out for it."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Attributes:
        system: what is trained.
        seed: by which.
        fold: number of the fold that is held out and measured; 0: the data set's own split is measured.
    """

    system: System
    seed: int
    fold: int = 0

    @property
    def name(self) -> str:
        """What its folder is called."""
        return run_name(self.system.name, self.seed, self.fold)

    @property
    def title(self) -> str:
        """What to call it."""
        return f"{self.system.title}, seed {self.seed}" + (f", fold {self.fold}" if self.fold else "")


def planned(grid: Iterable[System], seeds: int, folds: int | None) -> dict[str, PlannedRun]:
    """Return the runs by name, in the order in which they are done: all systems of a seed, all folds of a system.

    A system that is not trained runs with seed 0 alone.
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
    """Return a system's settings: its own over the comparison's, and the rest by the data.

    Of a system without epochs nothing is held out, unless it says so itself.

    Raises:
        ConfigError: an option is unknown, or settings do not go together.
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
    """Return the data set as a run with these settings splits it; of folds, as the run of the first one does."""
    return cut_splits(images, 0.0, config.training.val_fraction, config.training.seed)


def in_fold(images: LabelledImages, fold: int, folds: int | None) -> LabelledImages:
    """Return the data set with the rule by which the run of a fold splits it."""
    return replace(images, rule=replace(images.rule, fold=(fold, folds) if folds else None))


def groups_of_names(images: LabelledImages, names: Sequence[str]) -> list[Hashable]:
    """Return the groups of training images, by their names."""
    train = grouped(images).split("train")
    group_of = {sample.name: group for sample, group in zip(train, groups_of(train), strict=True)}
    return [group_of[name] for name in names]


def classes_in_one_group(images: LabelledImages) -> list[str]:
    """Return the classes that a run which is asked about them out of fold cannot have learnt."""
    train = grouped(images).split("train")
    found: dict[int, set[object]] = {}
    for sample, group in zip(train, groups_of(train), strict=True):
        found.setdefault(sample.label, set()).add(group)
    return [images.classes[label] for label in sorted(found) if len(found[label]) == 1]
