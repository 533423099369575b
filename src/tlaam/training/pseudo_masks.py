"""Pseudo masks of the training images, made once, before the first epoch (method: `tlaam.model.pseudo_masks`)."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from tlaam.atomic import write_atomically
from tlaam.config import Config
from tlaam.data.sample import Sample
from tlaam.errors import RunError
from tlaam.model.network import TLAAM
from tlaam.model.pseudo_masks import Discriminant, DiscriminantFit, border_contrast, otsu_thresholds
from tlaam.training.dataset import EvaluationImages
from tlaam.training.loading import batch_loader, with_plain_errors

MASK_SIZE = 64
"""Side of a stored mask in cells."""
_FIT_IMAGES = 128
"""Images that the discriminant is fitted to; more change it little."""
_BATCH = 8


def write_pseudo_masks(
    fabric: Fabric, model: TLAAM, samples: Sequence[Sample], config: Config, path: Path, *, progress: bool
) -> None:
    """Mark the foreground of images with the model's backbone as it is now, and write ``(N, 64, 64)`` uint8 to `path`.

    Args:
        fabric: already launched; only the process that calls works.
        model: its weights are still the pretrained ones.
        samples: the training images, N.
        config: resolved settings.
        path: the file, in NumPy's format.
        progress: show a bar where standard error is a terminal.

    Raises:
        DataError: an image cannot be read.
    """
    device, backbone_mode = fabric.device, model.training
    model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    fitted = list(range(0, len(samples), max(1, -(-len(samples) // _FIT_IMAGES))))
    try:
        with tqdm(
            total=len(fitted) + len(samples),
            desc="marking the foreground",
            unit="image",
            file=sys.stderr,
            leave=False,
            disable=None if progress else True,
        ) as bar:
            rule = _fit(_features(model, [samples[i] for i in fitted], config, fabric), bar)
            batches = _counted(_features(model, samples, config, fabric), bar)
            masks = [_masks(features, rule).cpu().numpy() for features in batches]
    finally:
        model.train(backbone_mode)
    stream = io.BytesIO()
    np.save(stream, np.concatenate(masks), allow_pickle=False)
    write_atomically(path, stream.getbuffer())


def read_pseudo_masks(path: Path, count: int) -> NDArray[np.uint8]:
    """Map the file of `write_pseudo_masks` into memory: uint8 ``(count, 64, 64)``, 255 where foreground.

    Raises:
        RunError: it is missing, damaged, or of another number of images.
    """
    try:
        masks: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path} cannot be read ({error}); begin a new run, which makes it anew.") from error
    if masks.shape != (count, MASK_SIZE, MASK_SIZE) or masks.dtype != np.uint8:
        raise RunError(f"{path} holds {masks.dtype} {masks.shape}, not masks of {count} images; begin a new run.")
    return masks


def _features(model: TLAAM, samples: Sequence[Sample], config: Config, fabric: Fabric) -> Iterator[Tensor]:
    """Yield the last stage's maps ``(b, K, H, W)`` of images as they are, at the size at which masks are made."""
    assert config.model.source_size is not None
    size = config.training.pseudo_mask_size
    images = EvaluationImages(samples, max(size, config.model.source_size))
    batches = [list(range(start, min(start + _BATCH, len(samples)))) for start in range(0, len(samples), _BATCH)]
    loader = batch_loader(images, batches, config.training.workers or 0, pin=False)
    with torch.no_grad(), fabric.autocast():
        for batch in with_plain_errors(loader):
            canvas = model.normalise(batch.canvas.to(fabric.device))
            if canvas.shape[-1] != size:
                canvas = functional.interpolate(
                    canvas, size=(size, size), mode="bilinear", align_corners=False, antialias=True
                )
            yield model.backbone.pyramid(canvas.contiguous(memory_format=torch.channels_last))[1][-1].float()


def _fit(batches: Iterator[Tensor], bar: tqdm[None]) -> Discriminant | None:
    fit: DiscriminantFit | None = None
    for features in _counted(batches, bar):
        fit = fit or DiscriminantFit(features.shape[1])
        contrast = border_contrast(features)
        fit.add(features, contrast > otsu_thresholds(contrast)[:, None, None])
    return None if fit is None else fit.solve()


def _masks(features: Tensor, rule: Discriminant | None) -> Tensor:
    """Return masks ``(b, 64, 64)``, uint8, of features ``(b, K, H, W)``."""
    if rule is None:  # nothing tells foreground from background: everything is looked at
        return torch.full((len(features), MASK_SIZE, MASK_SIZE), 255, dtype=torch.uint8)
    rule = Discriminant(rule.weight.to(features.device), rule.offset.to(features.device))
    scores = rule.scores(features)[:, None]
    scores = functional.interpolate(scores, size=(MASK_SIZE, MASK_SIZE), mode="bilinear", align_corners=False)
    return (scores[:, 0] > 0.5).to(torch.uint8) * 255


def _counted(batches: Iterator[Tensor], bar: tqdm[None]) -> Iterator[Tensor]:
    for features in batches:
        yield features
        bar.update(len(features))
