"""How probable a model held what is true."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST = 1e-12
"""Probabilities below are taken for it: one answer of probability 0 would make every mean infinite."""


def log_loss(label_scores: Sequence[float]) -> float:
    """Return the mean negative log-likelihood in nats, ``-1/N Σ log p_i``; 0 at best.

    Args:
        label_scores: ``(N,)`` probability that each image's own class was given, N ≥ 1.

    >>> round(log_loss([1.0, 0.5]), 4)
    0.3466
    """
    return float(-np.log(np.maximum(np.asarray(label_scores, dtype=np.float64), LEAST)).mean())
