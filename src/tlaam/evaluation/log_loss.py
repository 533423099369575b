"""The negative log-likelihood of the true classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST = 1e-12
"""Lower probabilities are clipped to this value: a single probability of 0 would make every mean infinite."""


def log_loss(label_scores: Sequence[float]) -> float:
    """Return the mean negative log-likelihood in nats, ``-1/N Σ log p_i``; the best value is 0.

    Args:
        label_scores: ``(N,)`` probability given to each image's true class, N ≥ 1.

    Examples:
        >>> round(log_loss([1.0, 0.5]), 4)
        0.3466
    """
    return float(-np.log(np.maximum(np.asarray(label_scores, dtype=np.float64), LEAST)).mean())
