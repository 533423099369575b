"""Means, differences and tables of runs whose answers are known."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from tlaam.comparison.results import (
    RunResult,
    differences,
    differences_csv,
    differences_markdown,
    summary,
    table_csv,
    table_markdown,
)
from tlaam.evaluation.report import BEST_EPOCH

TITLES = {"a": "System | A", "b": "System B"}


def run(system: str, seed: int, right: str, **more: float) -> RunResult:
    answers = [cell == "1" for cell in right]
    measures = {"fused.top1": sum(answers) / len(answers), **more}
    branches = {"fused": answers, "raw": answers[::-1], "parts": answers[::-1]}
    if system == "plain":
        del branches["parts"]
    return RunResult(system, seed, measures, branches, [str(i) for i in range(len(right))])


RUNS = [
    run("a", 0, "1" * 40, minutes=2.0),
    run("a", 1, "1" * 38 + "00", minutes=4.0),
    run("b", 0, "10" * 20, minutes=1.0),
]


def test_means_and_deviations_are_over_seeds() -> None:
    found = summary(RUNS)
    assert list(found) == ["a", "b"]
    top1 = found["a"]["fused.top1"]
    assert top1.mean == pytest.approx(0.975) and top1.std == pytest.approx(0.05 / 2**0.5) and top1.seeds == 2
    assert found["b"]["fused.top1"].std is None


def test_differences_say_whether_they_are_decided() -> None:
    rows = differences(RUNS, "a")
    assert [(row.first_branch, row.second, row.second_branch) for row in rows] == [
        ("fused", "b", "fused"), ("parts", "a", "raw"), ("fused", "a", "raw"),
    ]  # fmt: skip
    assert rows[0].mean == pytest.approx(0.475) and rows[0].low > 0.2 and rows[0].decided
    assert (rows[1].mean, rows[1].low, rows[1].high) == (0, 0, 0)  # the same answers of the same runs
    assert rows[2].mean == pytest.approx(0) and not rows[2].decided
    found = list(csv.DictReader(io.StringIO(differences_csv(rows, "last"))))
    assert [row["excludes_zero"] for row in found] == ["1", "0", "0"]
    lines = differences_markdown(rows, TITLES).splitlines()
    assert "**+47.5**" in lines[2] and "| +0.0 |" in lines[3]


def test_every_other_system_is_compared_with_the_plain_backbone_too() -> None:
    runs = [run(system, 0, "1" * 20 + "0" * 20) for system in ("plain", "plain+lcam", "tlaam")]
    pairs = [(row.first, row.second) for row in differences(runs, "tlaam") if row.second_branch == "fused"]
    assert pairs == [("tlaam", "plain"), ("tlaam", "plain+lcam"), ("plain+lcam", "plain")]


def test_a_model_without_levels_is_not_compared_with_itself() -> None:
    runs = [run(system, 0, "1" * 20 + "0" * 20) for system in ("plain", "b")]
    assert [(row.first, row.second) for row in differences(runs, "plain")] == [("plain", "b")]


def test_tables_have_a_row_a_system_and_no_column_that_nobody_has() -> None:
    found = summary(RUNS)
    lines = table_markdown(found, TITLES).splitlines()
    assert len(lines) == 4 and "mean IoU" not in lines[0]
    assert lines[2].startswith("| System \\| A | `a` | 2 | 97.5 ± 3.5 |") and lines[2].endswith("| 3.0 ± 1.4 |")
    assert lines[3].startswith("| System B | `b` | 1 | 50.0 |")
    rows = list(csv.DictReader(io.StringIO(table_csv(found, TITLES, "last"))))
    assert rows[1]["fused.top1.mean"] == "0.5" and rows[1]["fused.top1.std"] == "" and rows[0]["title"] == "System | A"


def test_results_survive_json() -> None:
    assert RunResult.from_dict(RUNS[1].to_dict()) == RUNS[1]
    flattering = replace(RUNS[1], protocol="best-epoch")
    assert RunResult.from_dict(flattering.to_dict()) == flattering and flattering.to_dict()["note"] == BEST_EPOCH
    older = {name: value for name, value in RUNS[1].to_dict().items() if name not in ("protocol", "note")}
    assert RunResult.from_dict(older) == RUNS[1]
