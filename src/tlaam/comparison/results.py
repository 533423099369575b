"""Results of the runs of several systems: means over seeds, differences with intervals, tables."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.config.names import BRANCHES
from tlaam.evaluation.bootstrap import paired_bootstrap
from tlaam.evaluation.log_loss import log_loss
from tlaam.evaluation.report import BEST_EPOCH, EvaluationReport

MEASURES: dict[str, str] = {
    **{f"{branch}.top1": f"{branch} top-1 %" for branch in BRANCHES},
    "fused.macro_f1": "macro-F1 %",
    "fused.ece": "calib. error %",
    "fused.debiased_calibration_error": "calib. error debiased %",
    "fused.nll": "NLL",
    "box.mean_iou": "mean IoU %",
    "box.gt_known_0.3": "IoU≥0.3 %",
    "box.gt_known_0.5": "IoU≥0.5 %",
    "box.gt_known_0.7": "IoU≥0.7 %",
    "box.top1_loc_0.5": "top-1 loc. %",
    "box.max_box_acc": "MaxBoxAcc % (oracle)",
    "box.max_box_acc_v2": "MaxBoxAccV2 % (oracle)",
    "box.box_acc_val_threshold": "BoxAcc % (val. threshold)",
    "box.box_acc_v2_val_threshold": "BoxAccV2 % (val. threshold)",
    "box.pointing_game": "pointing %",
    "masks.pxap": "PxAP %",
    "parts.hit": "part windows that hit %",
    "parts.hit_random": "windows at random that hit %",
    "parts.recall": "parts in windows %",
    "parts.recall_random": "parts in windows at random %",
    "minutes": "training min",
    "memory": "memory GiB",
}
"""Columns of the tables; all except `_PLAIN_NUMBERS` are shares, shown in per cent."""

_PLAIN_NUMBERS = {"minutes": 1, "memory": 1, "fused.nll": 3}
"""Measures that are not shares, with the number of decimals to show."""


@dataclass(frozen=True)
class RunResult:
    """The result of one trained and measured run.

    Attributes:
        system, seed: the system and the seed of the run.
        measures: the system's measures, by the names of `MEASURES`.
        right: for each branch, whether each image was answered right, in the data set's order.
        images: the images' names.
        protocol: which epoch was measured; empty if an older version did not record it.
        fold: number of the fold that was held out and measured; 0 for a run without folds, and for the pooled result of
            all folds (`tlaam.comparison.pooling`).
        answers: for a fold, each image's ``label``, ``predicted`` class, ``score`` (its probability) and
            ``label_score`` (the probability of the label); the pooled measures are computed from them.
        counts: for a fold, the number of images on which boxes, parts and masks were measured.
    """

    system: str
    seed: int
    measures: Mapping[str, float]
    right: Mapping[str, Sequence[bool]]
    images: Sequence[str]
    protocol: str = ""
    fold: int = 0
    answers: Mapping[str, Sequence[float]] = field(default_factory=dict, repr=False)
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the run's folder and file."""
        return run_name(self.system, self.seed, self.fold)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; right answers as a string of 0 and 1 per branch; fold data only for folds."""
        right = {branch: "".join("01"[cell] for cell in row) for branch, row in self.right.items()}
        plain = {**asdict(self), "measures": dict(self.measures), "right": right, "images": list(self.images)}
        if not self.fold:
            plain = {name: value for name, value in plain.items() if name not in ("fold", "answers", "counts")}
        return {**labelled(self.protocol), **plain}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunResult:
        """Return the result that `to_dict` was called on."""
        right = {branch: [cell == "1" for cell in row] for branch, row in values["right"].items()}
        system, seed, measures, images = (values[name] for name in ("system", "seed", "measures", "images"))
        of_fold = values.get("fold", 0), values.get("answers", {}), values.get("counts", {})
        return cls(system, seed, measures, right, images, values.get("protocol", ""), *of_fold)


def run_name(system: str, seed: int, fold: int = 0) -> str:
    """Return the name of a run: ``tlaam-0``, or ``tlaam-0-fold2`` for a fold."""
    return f"{system}-{seed}-fold{fold}" if fold else f"{system}-{seed}"


def labelled(protocol: str) -> dict[str, str]:
    """Return the protocol as stored in every JSON file; best-epoch adds the note that its figures are optimistic."""
    return {"protocol": protocol, **({"note": BEST_EPOCH} if protocol == "best-epoch" else {})}


def result_of(
    system: str, seed: int, report: EvaluationReport, status: Mapping[str, Any], protocol: str, fold: int = 0
) -> RunResult:
    """Return the result of a run.

    Args:
        system: name of the system.
        seed: seed of the run.
        report: the evaluation of the run.
        status: the run's ``run.json``, with training time and memory.
        protocol: which epoch was measured.
        fold: number of the measured fold; 0 without folds.
    """
    measures: dict[str, float] = {}
    for branch, measured in report.classification.items():
        measures[f"{branch}.top1"] = measured.top1
    fused = report.classification["fused"].summary()
    for name in ("macro_f1", "ece", "debiased_calibration_error"):
        measures[f"fused.{name}"] = float(fused[name])
    label_scores = [image.label_score for image in report.per_image]
    measures["fused.nll"] = log_loss(label_scores)
    if report.localization is not None:
        measures |= {f"box.{name}": value for name, value in report.localization.measures().items()}
        if report.heatmaps is not None:
            measures |= {f"box.{name}": value for name, value in report.heatmaps.summary().items()}
    if report.masks is not None:
        measures["masks.pxap"] = report.masks.pxap
    if report.parts is not None:
        measures |= {f"parts.{name}": value for name, value in report.parts.measures().items()}
        by_chance = report.parts.trivial["random"].measures()
        measures |= {f"parts.{name}_random": value for name, value in by_chance.items()}
    of_probe = (status.get("probe") or {}).get("seconds", 0.0)
    measures["minutes"] = (status["seconds"] + status.get("pseudo_mask_seconds", 0.0) + of_probe) / 60
    if "memory_bytes" in status:
        measures["memory"] = status["memory_bytes"] / 2**30
    right = {
        branch: [image.predicted[branch] == image.label for image in report.per_image]
        for branch in report.classification
    }
    images = [image.name for image in report.per_image]
    if not fold:
        return RunResult(system, seed, measures, right, images, protocol)
    answers: dict[str, list[float]] = {
        "label": [image.label for image in report.per_image],
        "predicted": [image.predicted["fused"] for image in report.per_image],
        "score": [image.score for image in report.per_image],
        "label_score": label_scores,
    }
    of_images = {"box": report.localization, "parts": report.parts, "masks": report.masks}
    counts = {name: part.images for name, part in of_images.items() if part is not None}
    return RunResult(system, seed, measures, right, images, protocol, fold, answers, counts)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds; the deviation is None for a single seed."""

    mean: float
    std: float | None
    seeds: int


def summary(runs: Sequence[RunResult]) -> dict[str, dict[str, Spread]]:
    """Return each system's measures over its seeds, in the order of the systems' first appearance."""
    found: dict[str, dict[str, Spread]] = {}
    for system in dict.fromkeys(run.system for run in runs):
        mine = [run for run in runs if run.system == system]
        found[system] = {}
        for name in MEASURES:
            values = [run.measures[name] for run in mine if name in run.measures]
            if values:
                deviation = statistics.stdev(values) if len(values) > 1 else None
                found[system][name] = Spread(statistics.mean(values), deviation, len(values))
    return found


@dataclass(frozen=True)
class Row:
    """A difference of top-1: one system's branch minus another's, with its interval over images and seeds."""

    first: str
    first_branch: str
    second: str
    second_branch: str
    mean: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


BASELINE = "plain"
"""The system that every other one is compared with, if it is present."""


def differences(runs: Sequence[RunResult], first: str, groups: Sequence[Hashable] | None = None) -> list[Row]:
    """Return how much better some answers are than others, paired by image.

    Compared are the fused answer of `first` with that of each other system; the fused answer of every other system with
    that of the plain backbone, which shows what its modules are worth; and the branches of `first` with its raw branch.

    Args:
        runs: the results, all for the same images.
        first: the system that the others are compared with.
        groups: group of each image, resampled together (`tlaam.evaluation.bootstrap.paired_bootstrap`).
    """
    others = [name for name in dict.fromkeys(run.system for run in runs) if name != first]
    pairs = [(first, "fused", other, "fused") for other in others]
    if BASELINE in others:
        pairs += [(other, "fused", BASELINE, "fused") for other in others if other != BASELINE]
    branches = {branch for run in runs if run.system == first for branch in run.right}
    # For a model without object or parts, the fused answer is the raw one.
    own = ("object", "parts", "fused") if branches & {"object", "parts"} else ()
    pairs += [(first, branch, first, "raw") for branch in own]
    rows = []
    for pair in pairs:
        one, other = _right(runs, *pair[:2]), _right(runs, *pair[2:])
        if len(one) and len(other):
            found = paired_bootstrap(one, other, same_runs=pair[0] == pair[2], groups=groups)
            rows.append(Row(*pair, found.mean, found.low, found.high))
    return rows


def _right(runs: Sequence[RunResult], system: str, branch: str) -> NDArray[np.bool_]:
    """Return which images were answered right, ``(seeds, images)``."""
    return np.array([run.right[branch] for run in runs if run.system == system and branch in run.right])


def table_csv(found: Mapping[str, Mapping[str, Spread]], titles: Mapping[str, str], protocol: str) -> str:
    """Return the summary as CSV: one row per system, mean and standard deviation of every measure as shares."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["system", "title", "protocol", "seeds", *(f"{name}.{part}" for name in MEASURES for part in ("mean", "std"))]
    )
    for system, measures in found.items():
        cells: list[object] = [system, titles[system], protocol, max(spread.seeds for spread in measures.values())]
        for name in MEASURES:
            spread = measures.get(name)
            cells += ["", ""] if spread is None else [f"{spread.mean:.6g}", _or_empty(spread.std)]
        writer.writerow(cells)
    return stream.getvalue()


def _or_empty(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def differences_csv(rows: Sequence[Row], protocol: str) -> str:
    """Return the differences as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    columns = ["first", "first_branch", "second", "second_branch", "mean", "low", "high", "excludes_zero", "protocol"]
    writer.writerow(columns)
    for row in rows:
        numbers = [f"{value:.6g}" for value in (row.mean, row.low, row.high)]
        writer.writerow(
            [row.first, row.first_branch, row.second, row.second_branch, *numbers, int(row.decided), protocol]
        )
    return stream.getvalue()


def table_markdown(found: Mapping[str, Mapping[str, Spread]], titles: Mapping[str, str]) -> str:
    """Return the summary as a Markdown table: one row per system, mean ± standard deviation; no empty columns."""
    columns = [name for name in MEASURES if any(name in measures for measures in found.values())]
    head = ["system", "name", "seeds", *(MEASURES[name] for name in columns)]
    lines = [_line(head), _line(["---"] * len(head))]
    for system, measures in found.items():
        seeds = max(spread.seeds for spread in measures.values())
        cells = [titles[system], f"`{system}`", str(seeds), *(cell(name, measures.get(name)) for name in columns)]
        lines.append(_line(cells))
    return "\n".join(lines) + "\n"


def differences_markdown(rows: Sequence[Row], titles: Mapping[str, str]) -> str:
    """Return the differences as a Markdown table, in percentage points."""
    lines = [_line(["top-1 of", "minus", "points", "95 % interval"]), _line(["---"] * 4)]
    for row in rows:
        interval = f"[{100 * row.low:+.1f}, {100 * row.high:+.1f}]"
        first, second = (
            f"{titles[s]}: {b}" for s, b in ((row.first, row.first_branch), (row.second, row.second_branch))
        )
        points = f"**{100 * row.mean:+.1f}**" if row.decided else f"{100 * row.mean:+.1f}"
        lines.append(_line([first, second, points, interval]))
    return "\n".join(lines) + "\n"


def cell(name: str, spread: Spread | None) -> str:
    """Return a measure as shown in tables: in per cent if it is a share, with the deviation if there is one."""
    if spread is None:
        return "–"
    factor, decimals = (1, _PLAIN_NUMBERS[name]) if name in _PLAIN_NUMBERS else (100, 1)
    mean = f"{factor * spread.mean:.{decimals}f}"
    return mean if spread.std is None else f"{mean} ± {factor * spread.std:.{decimals}f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in cells) + " |"
