"""Choose by validation images which weights of a run to keep, and when further epochs no longer help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from tlaam.runs.history import Row, score
from tlaam.training.validation import better, standard_error


class Kept(NamedTuple):
    """Weights that a run keeps: those of the ``last`` epoch, of ``epoch N``, or of the ``probe``; their temperature."""

    name: str
    temperature: float


@dataclass
class EpochChoice:
    """The best epoch so far, and how each epoch compares with the probe. The fields are stored in checkpoints.

    Attributes:
        best_epoch: number of the best epoch, from 0; None as long as none is better than the probe.
        best_temperature: temperature of its joint classifier.
        last_temperature: temperature of the last epoch's.
        last_passes: whether the last epoch measured is better than the probe; True without one.
        probe_losses: the probe's loss on each validation image before the first step, if a probe came first.
        gains: gain of each epoch over the probe: decrease of the mean loss on the validation images, and its standard
            error.
    """

    best_epoch: int | None = None
    best_temperature: float = 1.0
    last_temperature: float = 1.0
    last_passes: bool = True
    probe_losses: list[float] = field(default_factory=list)
    gains: list[list[float]] = field(default_factory=list)

    def judge(self, losses: Tensor, temperature: float, weights: Tensor | None = None) -> None:
        """Compare an epoch with the probe.

        Args:
            losses: negative log-likelihood of each of the N validation images, ``(N,)``, at `temperature`.
            temperature: the one with the lowest mean loss.
            weights: weights of the images, ``(N,)``, 1 on average; by default all the same.
        """
        self.last_temperature = temperature
        if self.probe_losses:
            before = torch.tensor(self.probe_losses)
            self.last_passes = better(losses, before, weights)
            gain = before - losses if weights is None else (before - losses) * weights
            self.gains.append([float(gain.mean()), standard_error(gain)])

    def take_if_best(self, epoch: int, row: Row, history: Sequence[Row]) -> bool:
        """Make `epoch`, judged last and described by `row`, the best if it beats those of `history`; return whether.

        It must be better than the probe, and have the highest score (`tlaam.runs.history.score`).
        """
        best = None if self.best_epoch is None else history[self.best_epoch]
        if not self.last_passes or (best is not None and score(row) <= score(best)):
            return False
        self.best_epoch, self.best_temperature = epoch, self.last_temperature
        return True

    def is_stalled(self, epochs: int, patience: int) -> bool:
        """Return whether none of the last `patience` epochs was the best; the initial weights count as an epoch."""
        best = 0 if self.best_epoch is None else self.best_epoch + 1
        return epochs - best >= patience

    def kept(self, keep: str) -> Kept:
        """Return which weights to keep under the setting `keep`: ``best`` or ``last``."""
        if keep == "best" and self.best_epoch is not None:
            return Kept(f"epoch {self.best_epoch + 1}", self.best_temperature)
        if self.probe_losses and (keep == "best" or not self.last_passes):
            return Kept("probe", 1.0)  # its temperature is already in its weights
        return Kept("last", self.last_temperature)

    def comparison(self, weights: Tensor | None = None) -> dict[str, float] | None:
        """Return how the epoch with the lowest loss compares with the probe; None without a probe or an epoch.

        Args:
            weights: those given to `judge`.
        """
        if not self.gains:
            return None
        losses = torch.tensor(self.probe_losses)
        epoch = max(range(len(self.gains)), key=lambda number: self.gains[number][0])
        gain, error = self.gains[epoch]
        return {
            "images": len(losses),
            "probe_loss": float((losses if weights is None else weights * losses).mean()),
            "lowest_in_epoch": epoch + 1,
            "gain": gain,
            "error": error,
        }
