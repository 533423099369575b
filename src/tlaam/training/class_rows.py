"""The rows that a network has for each class, and copying them into a network with other classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tlaam.config.sections import ModelConfig
from tlaam.errors import ModelError
from tlaam.models.architecture import Architecture
from tlaam.models.build import build_model
from tlaam.models.network import TLAAM

LOW = 1.0
"""How far the initial bias of a new class lies below the lowest bias of the known classes."""


def class_axes(config: ModelConfig, network: Architecture, classes: int) -> dict[str, int]:
    """Return the tensors of a network that have a row for each class, with their class axis.

    These are the tensors whose shape changes with the number of classes, whatever their name in the architecture.

    Args:
        config: the settings that it was built from.
        network: a network with `classes` classes.
        classes: C.

    Raises:
        ModelError: a tensor changes along several axes.
    """
    larger = build_model(config, classes + 1, load_pretrained=False).state_dict()
    found: dict[str, int] = {}
    for name, value in network.state_dict().items():
        axes = [
            axis for axis, sizes in enumerate(zip(value.shape, larger[name].shape, strict=True)) if len(set(sizes)) > 1
        ]
        if len(axes) > 1:
            raise ModelError(f"'{name}' of this network has no rows of classes, and cannot start from other classes.")
        if axes:
            found[name] = axes[0]
    return found


@torch.no_grad()
def carry_over(source: Architecture, target: Architecture, config: ModelConfig, rows: Sequence[int | None]) -> None:
    """Copy a network's weights into a network with other classes, in place.

    A class that `source` does not know starts with zero weights and a bias below all others; if it knows none of the
    classes, all start with the rows of `target`.

    Args:
        source: the network to start from.
        target: built from the same settings, with ``len(rows)`` classes.
        config: those settings.
        rows: for each class of `target` its row in `source`, None if it has none.
    """
    axes = class_axes(config, target, len(rows))
    known = torch.tensor([place for place, row in enumerate(rows) if row is not None], dtype=torch.long)
    taken = torch.tensor([row for row in rows if row is not None], dtype=torch.long)
    state = dict(target.state_dict())
    for name, value in source.state_dict().items():
        if name not in axes:
            state[name] = value
        elif len(known):
            state[name] = _with_rows(value, state[name], axes[name], known, taken)
    target.load_state_dict(state)


def _with_rows(old: Tensor, new: Tensor, axis: int, known: Tensor, taken: Tensor) -> Tensor:
    old = old.movedim(axis, 0)
    rows = old.new_full((new.shape[axis], *old.shape[1:]), float(old.min()) - LOW if old.ndim == 1 else 0.0)
    rows[known] = old[taken]
    return rows.movedim(0, axis)


@torch.no_grad()
def rejoin(target: TLAAM, solved: TLAAM, shared: Sequence[int]) -> None:
    """Copy the classifiers solved for the first classes of a network into it; the classes after them are kept.

    Two classifiers solved separately have no common origin: adding one vector to all rows changes no prediction of
    either. The kept rows are shifted by the shift of the mean of the shared classes' rows, so that a score is as far
    above or below the mean score of those classes as before.

    Args:
        target: a network with N + K classes, with the classifiers that it started from.
        solved: the same network with the first N classes, solved again.
        shared: indices of those N classes that `target`'s classifiers knew; if there are none, the means of all rows
            are aligned.
    """
    count = solved.classifier.out_features
    state = dict(solved.state_dict())
    for name, layer, of_solved in (
        ("classifier", target.classifier, solved.classifier),
        ("joint", target.joint, solved.joint),
    ):
        if layer is None or of_solved is None:
            continue
        for kind in ("weight", "bias"):
            before = getattr(layer, kind)
            after = getattr(of_solved, kind).to(before.device)  # it was solved on the device that processes images
            if shared:
                moved = after[list(shared)].mean(0) - before[list(shared)].mean(0)
            else:
                moved = after.mean(0) - before[count:].mean(0)
            state[f"{name}.{kind}"] = torch.cat([after, before[count:] + moved])
    target.load_state_dict(state)
