"""Fit a trainable localiser to its pseudo masks, on maps of the frozen backbone that are computed once.

The probe must see crops by the boxes that the model will predict, so the localiser is fitted before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tlaam.evaluation.localization import box_iou
from tlaam.models.localization import heatmap_boxes, largest_component, mask_boxes
from tlaam.models.localizers.foreground import Foreground
from tlaam.training.loss import foreground_loss
from tlaam.training.pseudo_masks import BACKGROUND, FOREGROUND
from tlaam.training.seeds import derive

Pyramid = Sequence[Tensor]

_STEPS, _BATCH, _LR = 200, 32, 1e-3
_MOST_BYTES = 2 << 30
"""Maximum size of the maps that are kept; if they are larger, fewer images are used."""
_THRESHOLDS = tuple(number / 20 for number in range(2, 14))


def fit_localizer(head: Foreground, pyramids: Iterator[Pyramid], masks: NDArray[np.uint8], seed: int) -> None:
    """Fit a foreground head in place, and choose its threshold if the settings leave it open.

    Maps are used both unchanged and mirrored. The head's normalisation statistics are set to those of the maps. The
    threshold whose boxes agree best with those of the masks is chosen, so no true box is needed.

    Args:
        head: the head, on the device that computes.
        pyramids: maps ``[(B, K_i, h_i, w_i)]`` of the frozen backbone for each batch (`tlaam.models.backbone`).
        masks: pseudo masks ``(M, 64, 64)`` of the first M images.
        seed: seed of the order and the mirroring of the images.
    """
    kept = _frozen_maps(head, pyramids, len(masks))
    of_kept = torch.from_numpy(masks[: len(kept[0])])
    device = next(head.parameters()).device
    generator = torch.Generator().manual_seed(derive(seed, "finder"))
    optimizer = torch.optim.AdamW(head.parameters(), lr=_LR, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=_LR, total_steps=_STEPS)
    for order in _orders(len(of_kept), _STEPS, generator):
        mirrored = bool(torch.rand((), generator=generator) < 0.5)
        maps = [_taken(level, order, mirrored, device).float() for level in kept]
        loss = foreground_loss(head.foreground_logits(maps), _taken(of_kept, order, mirrored, device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    head.zero_grad()
    if head.chooses_threshold:
        head.threshold.fill_(agreeing_threshold(head, _in_batches(kept, of_kept, device)))


@torch.no_grad()
def agreeing_threshold(head: Foreground, batches: Iterable[tuple[Pyramid, Tensor]]) -> float:
    """Return the threshold whose boxes have the largest mean IoU with the boxes of pseudo masks.

    Args:
        head: the head in its current state.
        batches: maps ``[(B, K_i, h_i, w_i)]`` of images without augmentation, and masks ``(B, 64, 64)``, uint8.
    """
    whole = (1, 1)
    sums = torch.zeros(len(_THRESHOLDS))
    for maps, masks in batches:
        wanted = mask_boxes(largest_component(masks.cpu() > (BACKGROUND + FOREGROUND) // 2), whole)
        probabilities = head.foreground_logits(maps).sigmoid()
        for number, threshold in enumerate(_THRESHOLDS):
            boxes = heatmap_boxes(probabilities, whole, threshold=threshold, rule="value", upsample=head.upsample)
            sums[number] += box_iou(boxes.cpu(), wanted).sum()
    return _THRESHOLDS[int(sums.argmax())]


def _in_batches(kept: Sequence[Tensor], masks: Tensor, device: torch.device) -> Iterator[tuple[Pyramid, Tensor]]:
    for start in range(0, len(masks), _BATCH):
        places = torch.arange(start, min(start + _BATCH, len(masks)))
        yield [_taken(level, places, False, device).float() for level in kept], masks[places]


@torch.no_grad()
def _frozen_maps(head: Foreground, pyramids: Iterator[Pyramid], count: int) -> list[Tensor]:
    """Return the maps ``[(M, K_i, h_i, w_i)]`` of at most the first `count` images, in half precision."""
    kept: list[list[Tensor]] = []
    found = 0
    for pyramid in pyramids:
        if not kept:
            kept = [[] for _ in pyramid]
            count = min(count, max(1, _MOST_BYTES // (2 * sum(level[0].numel() for level in pyramid))))
            _begin_statistics(head)
        for place, (level, norm) in enumerate(zip(pyramid, head.norms, strict=True)):
            wanted = level[: count - found].float()
            norm.train()(wanted)  # cumulative running statistics
            norm.eval()
            kept[place].append(wanted.half().cpu())
        found += len(kept[0][-1])
        if found >= count:
            break
    for norm in head.norms:
        assert isinstance(norm, nn.BatchNorm2d)
        norm.momentum = 0.1
    return [torch.cat(level) for level in kept]


def _begin_statistics(head: Foreground) -> None:
    for norm in head.norms:
        assert isinstance(norm, nn.BatchNorm2d)
        norm.reset_running_stats()
        norm.momentum = None  # in PyTorch: cumulative mean


def _orders(count: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches of image indices, one per step, each image once before any comes twice."""
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
