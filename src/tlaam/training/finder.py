"""Fit a localiser that learns to its pseudo masks, on maps of the frozen backbone that are computed once.

What the probe sees must be cut by the boxes that the model will answer with, so the localiser comes before it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tlaam.errors import ModelError
from tlaam.models.crops import resize_whole
from tlaam.models.localizers.foreground import Foreground
from tlaam.models.network import TLAAM
from tlaam.training.dataset import Item
from tlaam.training.loss import foreground_loss
from tlaam.training.masks import PseudoMasks
from tlaam.training.seeds import derive

_PASSES, _BATCH, _LR = 32, 32, 1e-3
_LEAST_STEPS, _MOST_STEPS = 100, 2000
_MOST_BYTES = 2 << 30
"""Of the maps that are kept; of more images, as many as fit are taken, evenly spaced."""


def fit_localizer(network: TLAAM, batches: Iterator[Item], count: int, masks: PseudoMasks, seed: int) -> None:
    """Fit the network's foreground head in place.

    Maps are used as they are and mirrored. The backbone is only read; the head's normalisation statistics are set to
    those of the maps.

    Args:
        network: in evaluation mode, on the device that computes.
        batches: of input images, in the order of the masks.
        count: images in all.
        masks: pseudo masks of the images.
        seed: decides the order of the images.

    Raises:
        ModelError: the localiser learns, but is none that can be fitted on maps alone.
    """
    head = network.localizer
    if not isinstance(head, Foreground):
        raise ModelError(
            f"a probe (epochs 0) fits the foreground head, and not {type(head).__name__}, which learns in epochs."
        )
    kept, of_kept = _frozen_maps(network, head, batches, count, masks)
    device = next(head.parameters()).device
    generator = torch.Generator().manual_seed(derive(seed, "finder"))
    steps = min(max(_PASSES * len(of_kept) // _BATCH, _LEAST_STEPS), _MOST_STEPS)
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LR, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_LR, total_steps=steps)
    for order in _orders(len(of_kept), steps, generator):
        mirrored = bool(torch.rand((), generator=generator) < 0.5)
        maps = [_taken(level, order, mirrored, device).float() for level in kept]
        loss = foreground_loss(head.foreground_logits(maps), _taken(of_kept, order, mirrored, device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    head.zero_grad()


@torch.no_grad()
def _frozen_maps(
    network: TLAAM, head: Foreground, batches: Iterator[Item], count: int, masks: PseudoMasks
) -> tuple[list[Tensor], Tensor]:
    """Return the pyramid's maps ``[(M, K_i, h_i, w_i)]``, in half precision, and their masks ``(M, m, m)``, uint8."""
    kept: list[list[Tensor]] = []
    of_kept: list[Tensor] = []
    taken: set[int] = set()
    for batch in batches:
        images = resize_whole(network.normalise(batch.input_image), network.image_size)
        pyramid = [level.float() for level in network.backbone.pyramid(images)[1]]
        if not kept:
            kept = [[] for _ in pyramid]
            most = max(1, _MOST_BYTES // (2 * sum(level[0].numel() for level in pyramid)))
            taken = set(range(0, count, -(-count // min(count, most))))
            _begin_statistics(head)
        rows = [row for row, index in enumerate(batch.position.tolist()) if index in taken]
        if not rows:
            continue
        for place, (level, norm) in enumerate(zip(pyramid, head.norms, strict=True)):
            norm.train()(level[rows])  # cumulative running statistics
            norm.eval()
            kept[place].append(level[rows].half().cpu())
        of_kept += [torch.from_numpy(masks[int(batch.position[row])]) for row in rows]
    for norm in head.norms:
        assert isinstance(norm, nn.BatchNorm2d)
        norm.momentum = 0.1
    return [torch.cat(level) for level in kept], torch.stack(of_kept)


def _begin_statistics(head: Foreground) -> None:
    for norm in head.norms:
        assert isinstance(norm, nn.BatchNorm2d)
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's word for a cumulative mean


def _orders(count: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of places, one a step, each image once before any comes twice."""
    order = torch.empty(0, dtype=torch.long)
    size = min(_BATCH, count)
    for _ in range(steps):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        batch, order = order[:size], order[size:]
        yield batch


def _taken(values: Tensor, places: Tensor, mirrored: bool, device: torch.device) -> Tensor:
    chosen = values[places]
    return (chosen.flip(-1) if mirrored else chosen).to(device)
