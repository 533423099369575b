"""Reports of a run during training: a progress bar and lines for people, numbers for its tracker."""

from __future__ import annotations

import sys

from tqdm import tqdm

from tlaam.runs.history import LOSSES, Row, described
from tlaam.training.loss import Losses
from tlaam.training.trackers import Tracker


class Reporter:
    """Reports of one process; with `progress` off, only the tracker receives anything.

    Args:
        epochs: number of epochs of the run.
        steps_per_epoch: number of optimiser steps per epoch.
        images_per_step: number of images per step on all devices together.
        progress: show a bar if standard error is a terminal, and a line per epoch.
        tracker: receives the numbers.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, images_per_step: int, *, progress: bool, tracker: Tracker
    ) -> None:
        self.epochs, self.steps_per_epoch, self.images_per_step = epochs, steps_per_epoch, images_per_step
        self.progress, self.tracker = progress, tracker
        self._bar: tqdm[object] | None = None

    def begin(self, step: int) -> None:
        """Show a new bar for the epoch that continues after `step` steps."""
        self.end()
        epoch, taken = divmod(step, self.steps_per_epoch)
        self._bar = tqdm(
            total=self.steps_per_epoch,
            initial=taken,
            desc=f"epoch {epoch + 1}/{self.epochs}",
            unit="step",
            file=sys.stderr,
            leave=False,
            disable=None if self.progress and epoch < self.epochs else True,
        )

    def end(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def advance(self) -> None:
        """Count a step."""
        if self._bar is not None:
            self._bar.update()

    def losses(self, step: int, losses: Losses, lr: float) -> None:
        """Show and log the losses and the learning rate of a step; this waits for the device."""
        values = {name: loss.item() for name, loss in zip(LOSSES, losses, strict=True) if loss is not None}
        if self._bar is not None:
            images = (self._bar.format_dict["rate"] or 0.0) * self.images_per_step
            shown = {name: f"{value:.3f}" for name, value in values.items()}
            self._bar.set_postfix({**shown, "lr": f"{lr:.1e}", "img/s": f"{images:.0f}"})
        self.tracker.log({**{f"step/{name}": value for name, value in values.items()}, "step/lr": lr}, step)

    def epoch(self, row: Row, step: int) -> None:
        """Log the row of an epoch."""
        self.tracker.log({f"epoch/{name}": value for name, value in row.items() if value is not None}, step)

    def say_epoch(self, row: Row, step: int) -> None:
        """Print how an epoch went, between its bar and the next one."""
        self.end()
        self.say(described(row, self.epochs))
        self.begin(step)

    def say(self, line: str) -> None:
        """Write a line to standard error without breaking the bar."""
        if self.progress:
            tqdm.write(line, file=sys.stderr)
