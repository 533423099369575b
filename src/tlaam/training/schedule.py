"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal


def lr_factor(
    step: int,
    *,
    steps_per_epoch: int,
    epochs: int,
    schedule: Literal["cosine", "multistep", "constant"],
    milestones: Sequence[int] = (),
    warmup_epochs: float = 0.0,
) -> float:
    """Return the factor of the base learning rate in one step.

    Linear warm-up (never more than half of the run) comes first: ``(step + 1) / warmup_steps``. Then ``cosine`` falls
    from 1 towards 0 over the remaining steps, ``multistep`` multiplies by 0.1 after each of the `milestones` (epochs
    from the beginning of the run), and ``constant`` stays at 1.

    Args:
        step: number of steps taken before this one, from the beginning of the run.
    """
    total = epochs * steps_per_epoch
    warmup = min(round(warmup_epochs * steps_per_epoch), total // 2)
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(total - warmup, 1)))
    if schedule == "multistep":
        return 0.1 ** sum(step >= milestone * steps_per_epoch for milestone in milestones)
    return 1.0
