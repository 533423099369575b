"""A run that is killed at any moment and resumed ends with the weights of the uninterrupted one, bit for bit."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from stub_network import SETTINGS

from tlaam.training.checkpoint import Checkpoints

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

KILL, TERM = int(signal.SIGKILL), int(signal.SIGTERM)

# Steps 0 to 14, 5 an epoch; forward calls count validation too: 5 training, then 2 validation ones, an epoch.
KILLS: dict[str, list[list[Any]]] = {
    "in the first step": [["forward", 1, KILL]],
    "in the middle of an epoch": [["forward", 4, KILL]],
    "while validating": [["forward", 13, KILL]],
    "in the last step": [["forward", 19, KILL]],
    "before any checkpoint": [["fsync", 7, KILL]],
    "twice": [["forward", 3, KILL], ["forward", 9, KILL]],
    **{f"while writing, at sync {n}": [["fsync", n, KILL]] for n in (9, 10, 19, 20, 21, 22, 23, 45, 47, 49)},
}


class Outcome(NamedTuple):
    statuses: dict[str, list[int]]
    folder: Path


@pytest.fixture(scope="module")
def outcome(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Run everything once, in forks of one process that has imported PyTorch."""
    folder = tmp_path_factory.mktemp("runs")

    def attempt(verb: str, out: str, kill: list[Any] | None = None, **changes: Any) -> dict[str, Any]:
        settings = {**SETTINGS, **changes}
        return {"verb": verb, "out": str(folder / out), "source": str(photographs), "settings": settings, "kill": kill}

    def killed(out: str, kills: list[list[Any]], **changes: Any) -> list[dict[str, Any]]:
        first, *others = [*kills, None]
        return [attempt("train", out, first, **changes), *(attempt("resume", out, kill) for kill in others)]

    adamw = {"optimizer": "adamw", "keep": "last"}
    added_up = {"accumulate": 2}
    jobs = {
        "whole": [attempt("train", "whole")],
        "whole, 2 workers": [attempt("train", "whole, 2 workers", workers=2)],
        "whole, adamw": [attempt("train", "whole, adamw", **adamw)],
        "whole, added up": [attempt("train", "whole, added up", **added_up)],
        "killed, added up": killed("killed, added up", [["forward", 4, KILL], ["forward", 6, KILL]], **added_up),
        "killed, adamw": killed("killed, adamw", [["forward", 11, KILL]], **adamw),
        "killed, 2 workers": killed("killed, 2 workers", [["forward", 11, KILL]], workers=2),
        "checkpoint an epoch": killed("checkpoint an epoch", [["forward", 11, KILL]], checkpoint_every=1e9),
        "terminated": killed("terminated", [["forward", 11, TERM]], checkpoint_every=1e9),
        "terminated with its loaders": killed(
            "terminated with its loaders", [["forward, all", 11, TERM]], workers=2, checkpoint_every=1e9
        ),
        "terminated while validating": killed(
            "terminated while validating", [["forward", 13, TERM], ["forward", 1, TERM]], checkpoint_every=1e9
        ),
        "killed while beginning": [
            *(attempt("train", "killed while beginning", ["fsync", n, KILL]) for n in (1, 3, 5)),
            attempt("train", "killed while beginning"),
        ],
        **{name: killed(name, kills) for name, kills in KILLS.items()},
    }
    (folder / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("stub_runs.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "jobs.json")], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    print(done.stderr)
    return Outcome(json.loads(done.stdout.splitlines()[-1]), folder)


def _final_state(run: Path) -> dict[str, Any]:
    state = Checkpoints(run / "checkpoints").newest().state
    assert state is not None
    return state


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{name}/{key}").items()}
    if isinstance(value, list):
        return {k: v for key, inner in enumerate(value) for k, v in _flat(inner, f"{name}/{key}").items()}
    return {name: value}


def _assert_same_run(one: Path, other: Path) -> None:
    first, second = _flat(_final_state(one)), _flat(_final_state(other))
    ignored = ("seconds", "/config/training/workers", "/config/training/checkpoint_every")
    assert first.keys() == second.keys()
    for name, value in first.items():
        if name.endswith(ignored):
            continue
        same = torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        assert same, name
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert _history(one) == _history(other)


def _history(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((run / "history.csv").open()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.parametrize("name", KILLS)
def test_killed_run_resumes_to_the_same_bits(outcome: Outcome, name: str) -> None:
    *killed, last = outcome.statuses[name]
    assert killed == [-KILL] * len(killed)
    assert last == 0
    _assert_same_run(outcome.folder / "whole", outcome.folder / name)


@pytest.mark.parametrize("name", ["killed, 2 workers", "checkpoint an epoch"])
def test_killed_run_resumes_with_workers_and_rare_checkpoints(outcome: Outcome, name: str) -> None:
    assert outcome.statuses[name] == [-KILL, 0]
    _assert_same_run(outcome.folder / "whole", outcome.folder / name)


def test_run_killed_while_beginning_is_begun_again(outcome: Outcome) -> None:
    assert outcome.statuses["killed while beginning"] == [-KILL, -KILL, -KILL, 0]
    _assert_same_run(outcome.folder / "whole", outcome.folder / "killed while beginning")


@pytest.mark.parametrize("name", ["whole", "twice", "terminated"])
def test_seconds_are_those_of_all_sessions(outcome: Outcome, name: str) -> None:
    rows = csv.DictReader((outcome.folder / name / "history.csv").open())
    seconds = json.loads((outcome.folder / name / "run.json").read_text())["seconds"]
    assert seconds == round(sum(float(row["seconds"]) for row in rows), 1)


def test_killed_adamw_run_resumes_to_the_same_bits(outcome: Outcome) -> None:
    assert outcome.statuses["killed, adamw"] == [-KILL, 0]
    _assert_same_run(outcome.folder / "whole, adamw", outcome.folder / "killed, adamw")


def test_run_killed_within_a_step_of_several_batches_resumes_to_the_same_bits(outcome: Outcome) -> None:
    """Batches 1 and 2, 3 and 4, and 5 alone are the steps of an epoch; the first kill is between 3 and 4."""
    assert outcome.statuses["killed, added up"] == [-KILL, -KILL, 0]
    _assert_same_run(outcome.folder / "whole, added up", outcome.folder / "killed, added up")
    assert [row["step"] for row in _history(outcome.folder / "whole, added up")] == ["3", "6", "9"]


def test_number_of_workers_changes_nothing(outcome: Outcome) -> None:
    _assert_same_run(outcome.folder / "whole", outcome.folder / "whole, 2 workers")


def test_sigterm_saves_a_checkpoint_and_says_how_to_continue(outcome: Outcome) -> None:
    assert outcome.statuses["terminated"] == [128 + TERM, 0]
    _assert_same_run(outcome.folder / "whole", outcome.folder / "terminated")


def test_sigterm_to_all_processes_finds_the_loaders_at_work(outcome: Outcome) -> None:
    """A scheduler's, or that of ``timeout``: who dies of it first would have the last word otherwise."""
    assert outcome.statuses["terminated with its loaders"] == [128 + TERM, 0]
    _assert_same_run(outcome.folder / "whole", outcome.folder / "terminated with its loaders")


def test_sigterm_does_not_wait_for_the_end_of_validation(outcome: Outcome) -> None:
    assert outcome.statuses["terminated while validating"] == [128 + TERM, 128 + TERM, 0]
    _assert_same_run(outcome.folder / "whole", outcome.folder / "terminated while validating")


def test_training_does_train(outcome: Outcome) -> None:
    losses = [float(row["loss_raw"]) for row in _history(outcome.folder / "whole")]
    assert losses[-1] < losses[0] - 0.1


def test_two_newest_checkpoints_are_kept(outcome: Outcome) -> None:
    names = {path.name for path in (outcome.folder / "whole" / "checkpoints").iterdir()}
    assert {name for name in names if name.startswith("step")} == {"step-000000014.ckpt", "step-000000015.ckpt"}
    assert {name for name in names if not name.startswith(("step", "best"))} <= {"start.ckpt"}
    assert len(names) <= 5  # and the best weights of each
