"""The output files of a comparison: tables, results and page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import product
from typing import Any

from tlaam.comparison.conditions import conditions
from tlaam.comparison.grid import as_split, in_fold
from tlaam.comparison.outcome import Comparison, computed_settings
from tlaam.comparison.page import write_comparison_page
from tlaam.comparison.results import (
    differences_csv,
    differences_markdown,
    labelled,
    run_name,
    table_csv,
    table_markdown,
)
from tlaam.config.schema import Config
from tlaam.data.sample import SPLITS, LabelledImages
from tlaam.evaluation.report import BEST_EPOCH
from tlaam.runs.environment import environment
from tlaam.utils.atomic import write_json, write_text


def write_outputs(
    comparison: Comparison, images: LabelledImages, configs: Mapping[str, Config], missing: Sequence[str]
) -> None:
    folder, titles = comparison.folder, comparison.titles
    table, rows = table_markdown(comparison.summary, titles), differences_markdown(comparison.differences, titles)
    record = _record(comparison, images, configs)
    facts = conditions(record)
    notes = [BEST_EPOCH] if comparison.protocol == "best-epoch" else []
    once = [s.name for s in comparison.systems if not s.is_trained and s.name in titles]
    if once and len({result.seed for result in comparison.runs}) > 1:
        notes.append(
            f"Not trained, and so of one seed, without a deviation: {', '.join(once)}; that one is compared with every "
            "seed of the others."
        )
    if missing:
        notes.append(f"Not among them, since they could not be trained or are not finished: {', '.join(missing)}.")
    listed = "\n".join(f"- {heading}: {text}" for heading, text in facts)
    text = f"""# {images.name}: systems compared

Measured on {comparison.measured_on}.
Mean ± standard deviation over seeds. Weights: {dict(facts)["weights"]}. {" ".join(notes)}

{table}
## Differences

Paired bootstrap over {comparison.drawn} and seeds; bold where the interval excludes zero.
Each interval is for itself: of twenty contrasts about one excludes zero by chance.

{rows}
## What was compared, and how

{listed}

Made again by:

    {comparison.command}
"""
    write_text(folder / "table.md", text)
    write_text(folder / "table.csv", table_csv(comparison.summary, titles, comparison.protocol))
    write_text(folder / "differences.csv", differences_csv(comparison.differences, comparison.protocol))
    write_json(folder / "results.json", record)
    fold = 1 if comparison.folds else 0
    first = {result.system: result.seed for result in reversed(comparison.runs)}
    shown = {system: run_name(system, seed, fold) for system, seed in first.items()}
    pictured = (
        [sample for sample in images.split("train") if comparison.fold_of.get(sample.name) == fold]
        if comparison.folds
        else images.split(comparison.split)
    )
    write_comparison_page(
        folder,
        images,
        comparison.summary,
        comparison.differences,
        titles,
        measured_on=comparison.measured_on,
        measured=pictured,
        drawn=comparison.drawn,
        runs=shown,
        conditions=facts,
        command=comparison.command,
        note=" ".join(notes),
    )


def _record(comparison: Comparison, images: LabelledImages, configs: Mapping[str, Config]) -> dict[str, Any]:
    """Return all results, and everything needed to reproduce them."""
    cut = as_split(in_fold(images, 1, comparison.folds), configs[comparison.first])
    of_folds: dict[str, Any] = {}
    if comparison.folds:
        fold_of = [comparison.fold_of[name] for name in comparison.runs[0].images]
        of_folds = {"folds": comparison.folds, "measured_on": comparison.measured_on, "fold_of": fold_of}
        of_folds["intervals_draw"] = comparison.drawn
    settings = {name: computed_settings(configs[name]) for name in comparison.titles}
    first = settings[comparison.runs[0].system]
    shared = {option: value for option, value in first.items() if all(s[option] == value for s in settings.values())}
    return {
        "command": comparison.command,
        **labelled(comparison.protocol),
        "data": images.name,
        "fingerprint": images.fingerprint(),
        "counts": {"classes": len(images.classes), **{split: len(cut.split(split)) for split in SPLITS}},
        "split": "train" if comparison.folds else comparison.split,
        **of_folds,
        **({"group": images.rule.group} if images.rule.group else {}),
        "first": comparison.first,
        "settings": shared,
        "systems": {
            name: {"title": title, **{o: value for o, value in settings[name].items() if o not in shared}}
            for name, title in comparison.titles.items()
        },
        "machine": environment(),
        "versions": _versions(comparison),
        "summary": {
            system: {name: {"mean": spread.mean, "std": spread.std} for name, spread in measures.items()}
            for system, measures in comparison.summary.items()
        },
        "differences": [asdict(row) for row in comparison.differences],
        "images": list(comparison.runs[0].images),
        "runs": [{n: v for n, v in run.to_dict().items() if n != "images"} for run in comparison.runs],
    }


def _versions(comparison: Comparison) -> dict[str, str]:
    """Return the package versions that the runs were trained with, by name; if they differ, all of them."""
    found: dict[str, dict[str, None]] = {}
    folds = range(1, comparison.folds + 1) if comparison.folds else (0,)
    for result, fold in product(comparison.runs, folds):
        status = comparison.folder / "runs" / run_name(result.system, result.seed, fold) / "run.json"
        for name, version in json.loads(status.read_text(encoding="utf-8")).get("versions", {}).items():
            found.setdefault(name, {})[version] = None
    return {name: " and ".join(versions) for name, versions in found.items()}
