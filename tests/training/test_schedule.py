from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from tlaam.training.schedule import lr_factor


def _of_torch(make: Any, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the optimiser never steps here
        for _ in range(steps):
            factors.append(optimizer.param_groups[0]["lr"])
            scheduler.step()
    return factors


def test_cosine_is_that_of_torch() -> None:
    ours = [lr_factor(step, steps_per_epoch=7, epochs=5, schedule="cosine") for step in range(35)]
    assert ours == pytest.approx(_of_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=35), 35))


def test_multistep_is_that_of_torch() -> None:
    ours = [lr_factor(s, steps_per_epoch=4, epochs=6, schedule="multistep", milestones=(2, 4)) for s in range(24)]
    assert ours == pytest.approx(_of_torch(lambda o: lr_scheduler.MultiStepLR(o, [8, 16], gamma=0.1), 24))


def test_warm_up_is_linear_and_then_the_schedule_begins() -> None:
    ours = [lr_factor(step, steps_per_epoch=5, epochs=4, schedule="constant", warmup_epochs=1) for step in range(20)]
    assert ours == pytest.approx(_of_torch(lambda o: lr_scheduler.LinearLR(o, 1 / 5, total_iters=4), 20))
    cosine = [lr_factor(step, steps_per_epoch=5, epochs=4, schedule="cosine", warmup_epochs=1) for step in range(20)]
    assert cosine[5:] == pytest.approx(_of_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=15), 15))


def test_warm_up_takes_at_most_half_of_the_run() -> None:
    factors = [lr_factor(s, steps_per_epoch=4, epochs=1, schedule="cosine", warmup_epochs=9) for s in range(4)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.5])


def test_half_of_an_odd_number_of_steps_is_rounded_down() -> None:
    factors = [lr_factor(s, steps_per_epoch=5, epochs=1, schedule="constant", warmup_epochs=9) for s in range(5)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0])
