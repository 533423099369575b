"""Which epoch a run keeps, and when it stops."""

from __future__ import annotations

import pytest
import torch

from tlaam.runs.history import Row
from tlaam.training.epoch_choice import EpochChoice, Kept

PROBE = [1.0, 2.0, 1.5, 1.0]


def after(scores: list[float], gains: list[float] | None = None) -> EpochChoice:
    """Return the choice after epochs with these scores and gains over a probe; no probe if there are no gains."""
    choice = EpochChoice(probe_losses=[] if gains is None else list(PROBE))
    history: list[Row] = []
    for number, top1 in enumerate(scores):
        losses = torch.tensor(PROBE) - (0.0 if gains is None else gains[number])
        choice.judge(losses, temperature=1.0 + number)
        row: Row = {"val_top1_fused": top1, "val_loss_fused": 1.0}
        choice.take_if_best(number, row, history)
        history.append(row)
    return choice


@pytest.mark.parametrize(
    ("scores", "gains", "best", "last"),
    [
        ([0.5, 0.8, 0.7], None, Kept("epoch 2", 2.0), Kept("last", 3.0)),
        ([0.5, 0.8, 0.8], None, Kept("epoch 2", 2.0), Kept("last", 3.0)),  # the earlier of two equal ones
        ([], None, Kept("last", 1.0), Kept("last", 1.0)),
        ([0.9, 0.6], [-0.1, 0.1], Kept("epoch 2", 2.0), Kept("last", 2.0)),  # the higher score is below the probe
        ([0.9, 0.6], [0.1, -0.1], Kept("epoch 1", 1.0), Kept("probe", 1.0)),
        ([0.9, 0.9], [-0.1, -0.2], Kept("probe", 1.0), Kept("probe", 1.0)),
    ],
)  # fmt: skip
def test_the_highest_score_above_the_probe_is_kept(
    scores: list[float], gains: list[float] | None, best: Kept, last: Kept
) -> None:
    choice = after(scores, gains)
    assert choice.kept("best") == best
    assert choice.kept("last") == last


def test_patience_counts_epochs_since_the_best_one_or_the_start() -> None:
    assert not after([0.5, 0.4]).is_stalled(2, patience=2)
    assert after([0.5, 0.4, 0.4]).is_stalled(3, patience=2)
    never_better = after([0.5, 0.6], [-0.1, -0.1])
    assert never_better.is_stalled(2, patience=2)
    assert not never_better.is_stalled(2, patience=3)


def test_the_comparison_names_the_epoch_with_the_lowest_loss() -> None:
    found = after([0.9, 0.8, 0.7], [0.1, 0.3, 0.2]).comparison()
    assert found is not None
    assert (found["images"], found["lowest_in_epoch"]) == (4, 2)
    assert found["probe_loss"] == pytest.approx(1.375)
    assert found["gain"] == pytest.approx(0.3)
    assert found["error"] == pytest.approx(0.0, abs=1e-6)
    assert after([0.9]).comparison() is None
    assert after([], []).comparison() is None


def test_weights_of_the_images_decide_where_gain_and_loss_differ() -> None:
    weights = torch.tensor([4.0, 0.0, 0.0, 0.0])
    choice = EpochChoice(probe_losses=list(PROBE))
    better_where_it_counts = torch.tensor([0.5, 3.0, 3.0, 3.0])
    choice.judge(better_where_it_counts, 1.0, weights)
    assert choice.last_passes
    found = choice.comparison(weights)
    assert found is not None
    assert (found["probe_loss"], found["gain"]) == (pytest.approx(1.0), pytest.approx(0.5))
    choice.judge(better_where_it_counts, 1.0)
    assert not choice.last_passes
