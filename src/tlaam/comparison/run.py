"""Train and measure a grid of systems and seeds, and go on where it was stopped.

Every run is a process of its own (``tlaam train``), so that runs share nothing but the data, and what memory one took
is its own. Several processes may work on one comparison (`tlaam.comparison.share`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlaam._version import __version__
from tlaam.comparison.budget import larger_input
from tlaam.comparison.conditions import command
from tlaam.comparison.outcome import PROTOCOLS, Comparison, Protocol, computed_settings
from tlaam.comparison.outputs import write_outputs
from tlaam.comparison.results import (
    differences,
    labelled,
    result_of,
    summary,
)
from tlaam.comparison.runs import train_run, wait_for_leftover
from tlaam.comparison.share import SharedFolder
from tlaam.comparison.systems import OF_COMPARISON, RIVAL, SYSTEMS, System, chosen
from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.data.check import find_unreadable
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Split
from tlaam.data.split import with_validation
from tlaam.errors import ConfigError, DataError, RunError
from tlaam.evaluation.evaluate import evaluate
from tlaam.inference.engine import load_engine
from tlaam.runs.data import reopenable
from tlaam.utils.atomic import remove_leftovers, write_json


def compare(
    data: str | Path,
    out: str | Path,
    *,
    systems: Iterable[str | System] = ("default",),
    seeds: int = 3,
    settings: Mapping[str, Any] | None = None,
    protocol: Protocol = "validation",
    first: str | None = None,
    say: Callable[[str], None] = print,
) -> Comparison:
    """Train systems on a data set under the same settings, measure them on its test split, and write the tables.

    Data without one is measured on the validation split that it marks, if no epoch is chosen by it (protocol last).

    Args:
        data: what `tlaam.data.open.open_dataset` understands. The split that is measured is measured once a run,
            after training.
        out: the comparison's folder. One that was stopped goes on; one that has finished can be given more systems or
            seeds.
        systems: names of systems and groups (`tlaam.comparison.systems`), or systems of one's own; the honest rival is
            always there.
        seeds: how many runs of each system.
        settings: options of all systems, as `Config.from_flat` takes them.
        protocol: which epoch is measured (`PROTOCOLS`): the best on validation images, the last, or the best on the
            test images themselves, as many papers report; what comes of that says so everywhere.
        first: the system that the others are compared with; by default TL-AAM's default, or the last one named.
        say: called with one line a stage.

    Raises:
        ConfigError: a system or option is unknown, or an option is the systems' own.
        DataError: the data cannot be used, or a test image cannot be read and `skip_unreadable` is off.
        RunError: the folder holds a comparison with other settings or data; a run could not be trained, after all
            others were, and after the tables of those were written; or it was asked to stop.
    """
    given = dict(settings or {})
    for name in OF_COMPARISON:
        if name in given:
            raise ConfigError(
                f"option '{name}' is what a comparison's systems, seeds or protocol decide; leave it out, and choose "
                "those (--systems, --variant, --seeds, --protocol)."
            )
    given |= PROTOCOLS[protocol]
    grid = chosen(systems)
    for system in grid:
        _refuse_the_comparisons_options(system)
    leader = first or ("tlaam" if any(system.name == "tlaam" for system in grid) else _last_but_rival(grid))
    if leader not in {system.name for system in grid}:
        raise ConfigError(f"'{leader}' is not among the systems compared: {', '.join(system.name for system in grid)}.")
    images = open_dataset(data)
    split = _measured_split(images, protocol)
    if protocol == "validation" and not _with_validation(images, given).split("val"):
        raise ConfigError(
            "protocol validation needs validation images: this data set marks none, and val_fraction is 0. "
            "Give a val_fraction, or the protocol last."
        )
    configs = {system.name: _config(system, given, images) for system in grid}
    folder = SharedFolder(Path(out))
    with folder.alone():
        remove_leftovers(folder.path)
        claimed = _claim(folder, images, configs, protocol)
    wanted = {f"{system.name}-{seed}": (system, seed) for seed in range(seeds) for system in grid}
    skip_unreadable = configs[leader].training.skip_unreadable
    if not skip_unreadable and not all(map(folder.has_result, wanted)):
        _require_readable(images, split)
    failed: list[str] = []
    for name, (system, seed) in wanted.items():
        with folder.claimed(name) as mine:
            if not mine:
                say(f"{system.title}, seed {seed}: another process has it")
                continue
            if folder.has_result(name):
                continue
            if folder.is_damaged(name):
                say(f"{system.title}, seed {seed}: what it came to is damaged on the disk; it is measured again")
            say(f"{system.title}, seed {seed} ...")
            run = folder.run(name)
            wait_for_leftover(run, say)
            if fault := train_run(run, reopenable(data, images), configs[system.name].with_options(seed=seed)):
                failed.append(name)
                say(f"{system.title}, seed {seed}: {fault}; going on with the others")
                continue
            report = evaluate(load_engine(run), images, split=split, skip_unreadable=skip_unreadable)
            status = json.loads((run / "run.json").read_text(encoding="utf-8"))
            folder.keep(name, result_of(system.name, seed, report, status, protocol))
            chosen_by = ", which its epoch was chosen by" if protocol == "best-epoch" else ""
            top1 = report.classification["fused"].top1
            say(f"{system.title}, seed {seed}: {top1:.1%} right of the {split} images{chosen_by}")
    with folder.alone():
        missing = [name for name in wanted if not folder.has_result(name)]
        # seeds within systems
        runs = [folder.result(n) for s in grid for n, (system, _) in wanted.items() if system == s and n not in missing]
        again = command(
            str(data), folder.path, grid, seeds=seeds, settings=settings or {}, protocol=protocol, first=leader
        )
        comparison = Comparison(
            folder.path, grid, runs, summary(runs), differences(runs, leader), leader, protocol, split, again
        )
        if runs:
            write_outputs(comparison, images, configs, missing)
    named = [system.name for system in grid]
    others = [n for n in claimed if n not in named and any(folder.has_result(f"{n}-{seed}") for seed in range(seeds))]
    if others:
        say(_not_shown(others, named, folder.path))
    if failed:
        raise RunError(
            f"of {len(wanted)} runs {len(failed)} could not be trained: {', '.join(failed)}; the tables in "
            f"{folder.path} are of the others. The same command tries them again."
        )
    return comparison


def _measured_split(images: LabelledImages, protocol: Protocol) -> Split:
    if images.split("test"):
        return "test"
    if protocol == "last" and images.split("val"):
        return "val"
    raise ConfigError(
        f"{images.root} has no test split to compare systems on; mark some images as test. A validation split that the "
        "data marks is measured instead where no epoch is chosen by it (protocol last)."
    )


def _refuse_the_comparisons_options(system: System) -> None:
    """Refuse a system that sets what its modules do not: the comparison would overrule it, or measure another epoch."""
    for name in ("seed", "keep", "select_on"):
        if name in system.options:
            raise ConfigError(
                f"system '{system.name}' sets {name}, which a comparison decides for all its systems (by its seeds "
                "and protocol); leave it out."
            )


def _last_but_rival(grid: list[System]) -> str:
    return [system.name for system in grid if system.name != RIVAL or len(grid) == 1][-1]


def _not_shown(others: Sequence[str], named: Sequence[str], folder: Path) -> str:
    """Say which systems have finished in a folder but are not in its tables, and how to have them there."""
    known = [name for name in others if name in SYSTEMS]
    variants = [name for name in others if name not in SYSTEMS]
    ways = [f"--systems {','.join([*(name for name in named if name in SYSTEMS), *known])}"] if known else []
    ways += [f"--variant for {' and '.join(variants)} as before"] if variants else []
    return (
        f"The tables are of the systems named. Finished in {folder} but not named: {', '.join(others)}. "
        f"To have them in the tables, give the same command with {' and '.join(ways)}."
    )


def _claim(
    folder: SharedFolder, images: LabelledImages, configs: Mapping[str, Config], protocol: Protocol
) -> Iterable[str]:
    """Make the folder this comparison's, or find that it is already, with the same settings of every system.

    Returns:
        The names of all systems that it has seen, this command's among them.

    Raises:
        RunError: it holds something else, or what another version, machine or other settings would compute differently.
    """
    mark = folder.path / "comparison.json"
    facts: dict[str, Any] = {"data": images.name, "fingerprint": images.fingerprint(), "version": __version__}
    systems = {name: computed_settings(config) for name, config in configs.items()}
    if mark.exists():
        found = json.loads(mark.read_text(encoding="utf-8"))
        before = found.pop("systems")
        other = [
            f"{name} {found.get(name)!r} instead of {facts[name]!r}" for name in facts if found.get(name) != facts[name]
        ]
        for name in set(before) & set(systems):
            other += [
                f"{name}: {option} {before[name].get(option)!r} instead of {value!r}"
                for option, value in systems[name].items()
                if before[name].get(option) != value
            ]
        if other:
            raise RunError(
                f"{folder.path} holds a comparison with {'; '.join(sorted(other)[:3])}. Give another folder (--out), "
                "or the settings it has."
            )
        systems = before | systems
    elif folder.is_strange():
        raise RunError(f"{folder.path} is not empty; give another folder (--out).")
    write_json(mark, {**facts, **labelled(protocol), "systems": systems})
    return list(systems)


def _require_readable(images: LabelledImages, split: Split) -> None:
    """Say now what would end the comparison after the first training, which does not open the test split."""
    faults = find_unreadable(images.with_samples(images.split(split)))
    if faults:
        sample, fault = faults[0]
        raise DataError(
            f"{len(faults)} {split} images cannot be read, first {sample.name}: {fault}. Mend or remove them, or "
            "compare without them (skip_unreadable)."
        )


def _config(system: System, settings: Mapping[str, Any], images: LabelledImages) -> Config:
    cut = _with_validation(images, settings)

    def resolved(options: Mapping[str, Any]) -> Config:
        return resolve(Config.from_flat({**settings, **options}), cut)

    if not system.larger_input:
        return resolved(system.options)
    leader = resolved(SYSTEMS["tlaam"].options)
    return resolved({**larger_input(leader.model), **system.options})


def _with_validation(images: LabelledImages, settings: Mapping[str, Any]) -> LabelledImages:
    training = Config.from_flat(settings).training
    return with_validation(images, training.val_fraction, training.seed)
