"""Training and measuring a grid of systems and seeds, with the possibility to resume.

Every run is a process of its own (``tlaam train``), so that runs share nothing but the data, and the memory measured
for a run is its own. Several processes may work on one comparison (`tlaam.comparison.share`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tlaam._version import __version__
from tlaam.comparison.conditions import command
from tlaam.comparison.grid import (
    as_split,
    classes_in_one_group,
    groups_of_names,
    in_fold,
    planned,
    resolved_config,
)
from tlaam.comparison.outcome import PROTOCOLS, Comparison, Protocol, computed_settings
from tlaam.comparison.outputs import write_outputs
from tlaam.comparison.pooling import pooled
from tlaam.comparison.results import RunResult, differences, labelled, result_of, run_name, summary
from tlaam.comparison.runs import train_run, wait_for_leftover
from tlaam.comparison.share import SharedFolder
from tlaam.comparison.systems import OF_COMPARISON, RIVALS, SYSTEMS, System, chosen
from tlaam.config.schema import Config
from tlaam.data.check import find_unreadable
from tlaam.data.copies import with_copies
from tlaam.data.groups import require_folds, with_rule
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Split
from tlaam.data.split import cuts_something
from tlaam.data.split_rule import read_copies, write_copies
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
    folds: int | None = None,
    group: str | None = None,
    say: Callable[[str], None] = print,
) -> Comparison:
    """Train systems on a data set under the same settings, measure them on its test split, and write the tables.

    Data without a test split is measured on the validation split that it marks, provided no epoch is chosen by it
    (protocol last). With `folds`, a run that has seen neither a training image nor its group answers for that image,
    and the test split is never opened.

    Args:
        data: anything that `tlaam.data.open.open_dataset` accepts. The measured split is measured once per run, after
            training.
        out: the comparison's folder. An interrupted comparison resumes; a finished one can be extended by more systems
            or seeds.
        systems: names of systems and groups (`tlaam.comparison.systems`), or `System` objects; their rivals are always
            included.
        seeds: number of runs per system; systems that are not trained run once, since hardly anything in them is
            random.
        settings: options for all systems, as accepted by `Config.from_flat`.
        protocol: which epoch is measured (`PROTOCOLS`): the best on the validation images, the last, or the best on the
            test images themselves, as in many papers; all outputs of the latter say so.
        first: the system that the others are compared with; by default TL-AAM's default, or the last one named.
        folds: number of folds in which the training images are held out and measured; None: the test split is measured.
            Folds are the same for all systems and seeds.
        group: regular expression on image paths that defines groups; no group is divided by a fold or a split
            (`tlaam.data.groups.with_rule`).
        say: called with one line per stage.

    Raises:
        ConfigError: a system or option is unknown, an option belongs to the systems, or `group` separates nothing.
        DataError: the data cannot be used (for example, fewer groups than folds), or an image that is to be measured
            cannot be read and `skip_unreadable` is off.
        RunError: the folder holds a comparison with other settings or data; a run could not be trained (raised after
            the other runs, and after writing their tables); or a stop was requested.
    """
    given = dict(settings or {})
    for name in OF_COMPARISON:
        if name in given:
            raise ConfigError(
                f"option '{name}' is what a comparison's systems, seeds or protocol decide; leave it out, and choose "
                "those (--systems, --variant, --seeds, --protocol)."
            )
    if folds is not None and protocol == "best-epoch":
        raise ConfigError(
            "protocol best-epoch chooses epochs by the images measured, which out-of-fold answers must not have seen; "
            "take the protocol validation or last."
        )
    given |= PROTOCOLS[protocol]
    grid = chosen(systems)
    for system in grid:
        _refuse_the_comparisons_options(system)
    leader = first or ("tlaam" if any(system.name == "tlaam" for system in grid) else _last_but_rivals(grid))
    if leader not in {system.name for system in grid}:
        raise ConfigError(f"'{leader}' is not among the systems compared: {', '.join(system.name for system in grid)}.")
    images = with_rule(open_dataset(data), group=group)
    if folds is not None:
        if folds < 2:
            raise ConfigError(f"folds is {folds}, but there have to be two at least.")
        require_folds(images, folds)
    split: Split = "test" if folds else _measured_split(images, protocol)
    cut = in_fold(images, 1, folds)
    configs = {system.name: resolved_config(system, given, cut) for system in grid}
    trained = next((config for config in configs.values() if config.training.epochs), None)
    if protocol == "validation" and trained is not None and not as_split(cut, trained).split("val"):
        raise ConfigError(
            "protocol validation needs validation images: this data set marks none, and val_fraction is 0. "
            "Give a val_fraction, or the protocol last."
        )
    folder = SharedFolder(Path(out))
    with folder.alone():
        remove_leftovers(folder.path)
        claimed = _claim(folder, images, configs, protocol, folds, group)
        images, told = _with_known_copies(folder, images, configs.values(), folds)
    if folds:
        require_folds(images, folds)
        if lone := classes_in_one_group(images):
            say(
                f"{len(lone)} classes have all their training images in one group ({', '.join(lone[:3])}): the run "
                "that is asked about them has not learnt them, and answers wrong."
            )
    wanted = planned(grid, seeds, folds)
    skip_unreadable = configs[leader].training.skip_unreadable
    if not skip_unreadable and not all(map(folder.has_result, wanted)):
        _require_readable(images, "train" if folds else split)
    failed: list[str] = []
    for name, planned_run in wanted.items():
        system, title = planned_run.system, planned_run.title
        with folder.claimed(name) as mine:
            if not mine:
                say(f"{title}: another process has it")
                continue
            if folder.has_result(name):
                continue
            if folder.is_damaged(name):
                say(f"{title}: what it came to is damaged on the disk; it is measured again")
            say(f"{title} ...")
            run = folder.run(name)
            wait_for_leftover(run, say)
            config = configs[system.name].with_options(seed=planned_run.seed)
            words = [*told, *(["--fold", f"{planned_run.fold}/{folds}"] if folds else [])]
            if fault := train_run(run, reopenable(data, images), config, words):
                failed.append(name)
                say(f"{title}: {fault}; going on with the others")
                continue
            report = evaluate(load_engine(run), images, split=split, skip_unreadable=skip_unreadable)
            status = json.loads((run / "run.json").read_text(encoding="utf-8"))
            measured_by = protocol if config.training.epochs else "last"
            found = result_of(system.name, planned_run.seed, report, status, measured_by, planned_run.fold)
            folder.keep(name, found)
            chosen_by = ", which its epoch was chosen by" if measured_by == "best-epoch" else ""
            top1, of = report.classification["fused"].top1, "images of its fold" if folds else f"{split} images"
            say(f"{title}: {top1:.1%} right of the {of}{chosen_by}")
    with folder.alone():
        missing = [name for name in wanted if not folder.has_result(name)]
        runs, fold_of = _results(folder, images, grid, seeds, folds, missing, skipped=skip_unreadable)
        groups = groups_of_names(images, runs[0].images) if folds and runs else None
        again = command(
            str(data),
            folder.path,
            grid,
            seeds=seeds,
            settings=settings or {},
            protocol=protocol,
            first=leader,
            folds=folds,
            group=group,
        )
        comparison = Comparison(
            folder.path,
            grid,
            runs,
            summary(runs),
            differences(runs, leader, groups),
            leader,
            protocol,
            split,
            again,
            folds,
            fold_of,
            "images" if groups is None or len(set(groups)) == len(groups) else "groups of images",
        )
        if runs:
            write_outputs(comparison, images, configs, missing)
    named = [system.name for system in grid]
    done = {run_name(name, seed, 1 if folds else 0): name for name in claimed for seed in range(seeds)}
    others = dict.fromkeys(name for run, name in done.items() if name not in named and folder.has_result(run))
    if others:
        say(_not_shown(list(others), named, folder.path))
    if failed:
        raise RunError(
            f"of {len(wanted)} runs {len(failed)} could not be trained: {', '.join(failed)}; the tables in "
            f"{folder.path} are of the others. The same command tries them again."
        )
    return comparison


def _results(
    folder: SharedFolder,
    images: LabelledImages,
    grid: Sequence[System],
    seeds: int,
    folds: int | None,
    missing: Sequence[str],
    *,
    skipped: bool,
) -> tuple[list[RunResult], dict[str, int]]:
    """Return the available results by system, then by seed, with complete folds pooled, and the fold of each image."""
    found: list[RunResult] = []
    fold_of: dict[str, int] = {}
    names = [sample.name for sample in images.split("train")]
    for system in grid:
        for seed in range(seeds):
            members = [run.name for run in planned([system], seeds, folds).values() if run.seed == seed]
            if not members or any(name in missing for name in members):
                continue
            results = [folder.result(name) for name in members]
            if folds is None:
                found += results
                continue
            found.append(pooled(results, names, skipped=skipped))
            fold_of |= {name: result.fold for result in results for name in result.images}
    return found, fold_of


def _with_known_copies(
    folder: SharedFolder, images: LabelledImages, configs: Iterable[Config], folds: int | None
) -> tuple[LabelledImages, list[str]]:
    """Return the data set with its copies, searched for once, and the options that pass its rule on to the runs."""
    told = ["--group", images.rule.group] if images.rule.group else []
    if not any(cuts_something(in_fold(images, 1, folds), 0.0, config.training.val_fraction) for config in configs):
        return images, told
    file = folder.path / "copies.json"
    try:
        found = read_copies(file)
    except DataError:  # the file does not exist yet or is damaged
        found = with_copies(images).rule
        write_copies(file, found)
    rule = replace(images.rule, copies=found.copies or (), near=found.near)
    return replace(images, rule=rule), [*told, "--copies", str(file)]


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
    """Refuse options that belong to the comparison: it would override them or measure another epoch."""
    for name in ("seed", "keep", "select_on"):
        if name in system.options:
            raise ConfigError(
                f"system '{system.name}' sets {name}, which a comparison decides for all its systems (by its seeds "
                "and protocol); leave it out."
            )


def _last_but_rivals(grid: list[System]) -> str:
    others = [system.name for system in grid if system.name not in RIVALS]
    return others[-1] if others else grid[0].name


def _not_shown(others: Sequence[str], named: Sequence[str], folder: Path) -> str:
    """Say which finished systems in a folder are missing from its tables, and how to include them."""
    known = [name for name in others if name in SYSTEMS]
    variants = [name for name in others if name not in SYSTEMS]
    ways = [f"--systems {','.join([*(name for name in named if name in SYSTEMS), *known])}"] if known else []
    ways += [f"--variant for {' and '.join(variants)} as before"] if variants else []
    return (
        f"The tables are of the systems named. Finished in {folder} but not named: {', '.join(others)}. "
        f"To have them in the tables, give the same command with {' and '.join(ways)}."
    )


def _claim(
    folder: SharedFolder,
    images: LabelledImages,
    configs: Mapping[str, Config],
    protocol: Protocol,
    folds: int | None,
    group: str | None,
) -> Iterable[str]:
    """Claim the folder for this comparison, or check that it holds the same one with the same settings per system.

    Returns:
        The names of all its systems so far, including those of this call.

    Raises:
        RunError: it holds something else, or a comparison by another version or with other settings, which may depend
            on the machine.
    """
    mark = folder.path / "comparison.json"
    facts: dict[str, Any] = {"data": images.name, "fingerprint": images.fingerprint(), "version": __version__}
    facts |= {"folds": folds, "group": group}
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
    """Report unreadable images now: training does not open the test split, so they would end the comparison later."""
    faults = find_unreadable(images.with_samples(images.split(split)))
    if faults:
        sample, fault = faults[0]
        raise DataError(
            f"{len(faults)} {split} images cannot be read, first {sample.name}: {fault}. Mend or remove them, or "
            "compare without them (skip_unreadable)."
        )
