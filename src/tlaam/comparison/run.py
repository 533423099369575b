"""Train and measure a grid of systems and seeds, and go on where it was stopped.

Every run is a process of its own (``tlaam train``), so that runs share nothing but the data, and what memory one took
is its own.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tlaam import __version__
from tlaam.atomic import write_json, write_text
from tlaam.comparison.budget import larger_input
from tlaam.comparison.child import run_child
from tlaam.comparison.page import write_comparison_page
from tlaam.comparison.results import (
    Row,
    RunResult,
    Spread,
    differences,
    differences_csv,
    differences_markdown,
    result_of,
    summary,
    table_csv,
    table_markdown,
)
from tlaam.comparison.systems import RIVAL, SYSTEMS, System, chosen
from tlaam.config import MACHINE_OPTIONS, Config
from tlaam.data.check import find_unreadable
from tlaam.data.open import open_images
from tlaam.data.sample import LabelledImages, Split
from tlaam.data.split import with_validation
from tlaam.defaults import resolve
from tlaam.errors import ConfigError, DataError, RunError
from tlaam.evaluation.evaluate import evaluate
from tlaam.evaluation.report import BEST_EPOCH
from tlaam.training.source import reopenable

Protocol = Literal["validation", "last", "best-epoch"]

PROTOCOLS: dict[Protocol, dict[str, Any]] = {
    "validation": {"keep": "best"},
    "last": {"keep": "last"},
    "best-epoch": {"keep": "best", "select_on": "test"},
}
"""Which epoch of a run is measured, as options."""

_OF_COMPARISON = ("architecture", "localizer", "parts", "attention", "seed", "keep", "select_on")
"""Options that the systems, the grid or the protocol decide."""


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        folder: where ``table.md``, ``table.csv``, ``differences.csv``, ``results.json``, ``index.html`` and the runs
            are.
        runs: every run's result, seeds within systems.
        summary: means and deviations by system and measure.
        differences: of `first` with every other system, and of its own branches.
        first: the system that is compared with the others.
        protocol: which epoch was measured.
    """

    folder: Path
    runs: list[RunResult]
    summary: dict[str, dict[str, Spread]]
    differences: list[Row]
    first: str
    protocol: Protocol


def compare(
    data: str | Path,
    out: str | Path,
    *,
    systems: Iterable[str] = ("default",),
    seeds: int = 3,
    settings: Mapping[str, Any] | None = None,
    protocol: Protocol = "validation",
    first: str | None = None,
    say: Callable[[str], None] = print,
) -> Comparison:
    """Train systems on a data set under the same settings, measure them on its test split, and write the tables.

    Data without one is measured on the validation split that it marks, if no epoch is chosen by it (protocol last).

    Args:
        data: what `tlaam.data.open.open_images` understands. The split that is measured is measured once a run,
            after training.
        out: the comparison's folder. One that was stopped goes on; one that has finished can be given more systems or
            seeds.
        systems: names of systems and groups (`tlaam.comparison.systems`); the honest rival is always there.
        seeds: how many runs of each system.
        settings: options of all systems, as `Config.from_flat` takes them.
        protocol: which epoch is measured (`PROTOCOLS`): the best on validation images, the last, or the best on the
            test images themselves, as many papers report; what comes of that says so everywhere.
        first: the system that the others are compared with; by itself TL-AAM's default, or the last one named.
        say: called with one line a stage.

    Raises:
        ConfigError: a system or option is unknown, or an option is the systems' own.
        DataError: the data cannot be used, or a test image cannot be read and `skip_unreadable` is off.
        RunError: the folder holds a comparison with other settings or data; a run could not be trained, after all
            others were, and after the tables of those were written; or it was asked to stop.
    """
    given = dict(settings or {})
    for name in _OF_COMPARISON:
        if name in given:
            raise ConfigError(
                f"option '{name}' is what a comparison's systems, seeds or protocol decide; leave it out."
            )
    given |= PROTOCOLS[protocol]
    grid = chosen(systems)
    leader = first or ("tlaam" if any(system.name == "tlaam" for system in grid) else _last_but_rival(grid))
    if leader not in {system.name for system in grid}:
        raise ConfigError(f"'{leader}' is not among the systems compared: {', '.join(system.name for system in grid)}.")
    images = open_images(data)
    split = _measured_split(images, protocol)
    if protocol == "validation" and not _with_validation(images, given).split("val"):
        raise ConfigError(
            "protocol validation needs validation images: this data set marks none, and val_fraction is 0. "
            "Give a val_fraction, or the protocol last."
        )
    configs = {system.name: _config(system, given, images) for system in grid}
    folder = Path(out)
    _claim(folder, images, configs)
    results = _read_results(folder)
    wanted = [(seed, system) for seed in range(seeds) for system in grid]
    done = {(result.seed, result.system) for result in results}
    missing = [(seed, system) for seed, system in wanted if (seed, system.name) not in done]
    skip_unreadable = configs[leader].training.skip_unreadable
    if missing and not skip_unreadable:
        _require_readable(images, split)
    failed: list[str] = []
    for seed, system in missing:
        say(f"{system.title}, seed {seed} ...")
        run = folder / "runs" / f"{system.name}-{seed}"
        if not _train(run, reopenable(data, images), configs[system.name].with_options(seed=seed)):
            failed.append(run.name)
            say(f"{system.title}, seed {seed}: failed, what it said stands above; going on with the others")
            continue
        report = evaluate(run, images, split=split, skip_unreadable=skip_unreadable)
        status = json.loads((run / "run.json").read_text(encoding="utf-8"))
        results.append(result_of(system.name, seed, report, status))
        write_json(folder / "results.json", [result.to_dict() for result in results])
        say(f"{system.title}, seed {seed}: {report.classification['fused'].top1:.1%} of the {split} images right")
    order = [system.name for system in grid]
    mine = [result for name in order for result in results if result.system == name and result.seed < seeds]
    comparison = Comparison(folder, mine, summary(mine), differences(mine, leader), leader, protocol)
    if mine:
        _write(comparison, images, failed)
    if failed:
        raise RunError(
            f"of {len(wanted)} runs {len(failed)} could not be trained: {', '.join(failed)}; the tables in {folder} "
            "are of the others. The same command tries them again."
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


def _last_but_rival(grid: list[System]) -> str:
    return [system.name for system in grid if system.name != RIVAL or len(grid) == 1][-1]


def _claim(folder: Path, images: LabelledImages, configs: Mapping[str, Config]) -> None:
    """Make the folder this comparison's, or find that it is already, with the same settings of every system.

    Raises:
        RunError: it holds something else, or what another version, machine or other settings would compute differently.
    """
    mark = folder / "comparison.json"
    facts: dict[str, Any] = {"data": images.name, "fingerprint": images.fingerprint(), "version": __version__}
    systems = {name: _computed(config) for name, config in configs.items()}
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
                f"{folder} holds a comparison with {'; '.join(sorted(other)[:3])}. Give another folder (--out), or the "
                "settings it has."
            )
        systems = before | systems
    elif folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} is not empty; give another folder (--out).")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(mark, {**facts, "systems": systems})


def _computed(config: Config) -> dict[str, Any]:
    """Return the settings that decide what is computed, but for the seed, as JSON holds them."""
    flat = {name: value for section in config.to_nested().values() for name, value in section.items()}
    plain: dict[str, Any] = json.loads(json.dumps(flat))
    return {name: value for name, value in plain.items() if name not in (*MACHINE_OPTIONS, "seed")}


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
    return resolved({**system.options, **larger_input(leader.model)})


def _with_validation(images: LabelledImages, settings: Mapping[str, Any]) -> LabelledImages:
    training = Config.from_flat(settings).training
    return with_validation(images, training.val_fraction, training.seed)


def _read_results(folder: Path) -> list[RunResult]:
    path = folder / "results.json"
    if not path.exists():
        return []
    return [RunResult.from_dict(values) for values in json.loads(path.read_text(encoding="utf-8"))]


def _train(run: Path, data: str, config: Config) -> bool:
    """Train a run in a process of its own, or continue it; return whether that worked.

    Raises:
        RunError: it was asked to stop.
    """
    command = [sys.executable, "-m", "tlaam", "train"]
    if (run / "config.yaml").exists():
        command += ["--resume", str(run)]
    else:
        settings = run.parent / f"{run.name}.yaml"
        run.parent.mkdir(parents=True, exist_ok=True)
        write_text(settings, yaml.safe_dump(config.to_nested(), sort_keys=False))
        command += ["--config", str(settings), "--out", str(run), data]
    code = run_child(command)
    if code in _STOPPED:
        raise RunError(f"stopped as asked; the same command goes on with {run.name}.")
    return code == 0


_STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a run that was asked to stop, whether or not it could still say so."""


def _write(comparison: Comparison, images: LabelledImages, failed: Sequence[str]) -> None:
    titles = {name: SYSTEMS[name].title for name in comparison.summary}
    folder, split = comparison.folder, _measured_split(images, comparison.protocol)
    table, rows = table_markdown(comparison.summary, titles), differences_markdown(comparison.differences, titles)
    warning = BEST_EPOCH if comparison.protocol == "best-epoch" else ""
    if failed:
        warning += f" Not among them, since they could not be trained: {', '.join(failed)}."
    text = f"""# {images.name}: systems compared

Measured on the {len(images.split(split))} images of the {split} split; mean ± standard deviation over seeds; weights of
the {_EPOCHS[comparison.protocol]}. {warning}

{table}
## Differences

Paired bootstrap over images and seeds; bold where the interval excludes zero.

{rows}"""
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", table_csv(comparison.summary, titles, comparison.protocol))
    write_text(folder / "differences.csv", differences_csv(comparison.differences, comparison.protocol))
    shown = {result.system: f"{result.system}-{result.seed}" for result in reversed(comparison.runs)}  # the first seed
    write_comparison_page(
        folder, images, comparison.summary, comparison.differences, titles, split=split, runs=shown, note=warning
    )


_EPOCHS: dict[Protocol, str] = {
    "validation": "epoch that was best on the validation images",
    "last": "last epoch",
    "best-epoch": "epoch that was best on the test images",
}
