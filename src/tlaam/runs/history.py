"""The history of a run's epochs."""

from __future__ import annotations

from collections.abc import Iterable

from tlaam.config.names import BRANCHES

Row = dict[str, float | int | None]

LOSSES = (
    "loss",
    "loss_raw",
    "loss_object",
    "loss_parts",
    "loss_foreground",
    "loss_own",
    "loss_joint",
    "loss_distilled",
)
"""Losses averaged over an epoch's training images, in the order of `tlaam.training.loss.Losses`."""

COLUMNS = (
    "epoch",
    "step",
    "lr",
    *LOSSES,
    "top1",
    *(f"val_{measure}_{branch}" for branch in BRANCHES for measure in ("loss", "top1")),
    "val_macro_f1_fused",
    "best",
    "seconds",
)
"""Columns of ``history.csv``.

``epoch`` counts from 1, ``step`` is the number of steps taken, ``lr`` the backbone's learning rate in the epoch's last
step, ``top1`` the fused training accuracy, measured during training, ``val_macro_f1_fused`` the mean F1 over classes,
measured only if all classes are to be recognised equally well (`balance`), ``best`` is 1 if the epoch was the best so
far. ``seconds`` is wall-clock time, the only column in which two identical runs differ.
"""


def epoch_row(epoch: int, step: int, lr: float, means: dict[str, float | None], val: dict[str, float]) -> Row:
    """Return the row of an epoch, with None for branches that were not run."""
    row: Row = dict.fromkeys(COLUMNS)
    row.update({"epoch": epoch + 1, "step": step, "lr": lr, **means})
    row.update({f"val_{name}": value for name, value in val.items()})
    return row


def score(row: Row) -> tuple[float, float]:
    """Return the key by which epochs are ranked: the fused top-1, then the lower fused loss.

    If all classes are to be recognised equally well, macro-F1 is measured and takes the place of top-1.
    """
    macro_f1 = row.get("val_macro_f1_fused")
    return _number(row["val_top1_fused"] if macro_f1 is None else macro_f1), -_number(row["val_loss_fused"])


def total_seconds(history: Iterable[Row]) -> float:
    """Return the wall-clock time of all epochs over all sessions; repeated or lost steps count once."""
    return sum(_number(row["seconds"]) for row in history)


def described(row: Row, epochs: int) -> str:
    """Return a row as one line of readable text."""
    # List the losses by branch: their sum jumps when object and parts join, which looks like divergence.
    losses = [f"{name.removeprefix('loss_')} {_number(row[name]):.3f}" for name in LOSSES[1:] if row[name] is not None]
    parts = [f"epoch {row['epoch']}/{epochs}", f"loss {' '.join(losses)}"]
    if row["val_top1_fused"] is not None:
        branches = [name for name in BRANCHES if row[f"val_top1_{name}"] is not None]
        parts.append("val top-1 " + ", ".join(f"{name} {_number(row[f'val_top1_{name}']):.3f}" for name in branches))
    if row["best"]:
        parts.append("best so far")
    return " · ".join([*parts, f"{_number(row['seconds']):.0f} s"])


def _number(value: float | int | None) -> float:
    return float("nan") if value is None else float(value)
