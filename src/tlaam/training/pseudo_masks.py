"""Pseudo masks of the training images, made once (method: `tlaam.models.localizers.pseudo_masks`)."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from tlaam.config.schema import Config
from tlaam.data.sample import Sample
from tlaam.models.architecture import Architecture
from tlaam.models.localizers.pseudo_masks import Discriminant, DiscriminantFit, border_contrast, otsu_thresholds
from tlaam.training.dataset import EvaluationImages
from tlaam.training.loading import batch_loader, with_plain_errors
from tlaam.training.masks import MASK_SIZE
from tlaam.utils.atomic import write_atomically
from tlaam.utils.checksums import trailer

_FIT_IMAGES = 128
"""Images that the discriminant is fitted to, evenly spaced in the names; a bound on time, not a measured optimum."""
_BATCH = 8
_MOST_BYTES = 1 << 30
"""Of their features that are kept until the discriminant is there."""


def write_pseudo_masks(
    fabric: Fabric, model: Architecture, samples: Sequence[Sample], config: Config, path: Path, *, progress: bool
) -> None:
    """Mark the foreground of images with the model's backbone as it is now, and write ``(N, 64, 64)`` uint8 to `path`.

    Masks lie in the order of the images' names, so that a data set that lists them otherwise later gets the same ones.

    Args:
        fabric: already launched; only the process that calls works.
        model: its weights are still the pretrained ones.
        samples: the training images, N.
        config: resolved settings.
        path: the file, in NumPy's format, which readers of it take as the masks alone; a checksum is behind them.
        progress: show a bar where standard error is a terminal.

    Raises:
        DataError: an image cannot be read.
    """
    samples = sorted(samples, key=_name)
    device, backbone_mode = fabric.device, model.training
    model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    fitted = list(range(0, len(samples), max(1, -(-len(samples) // _FIT_IMAGES))))
    try:
        with tqdm(
            total=len(samples),
            desc="marking the foreground",
            unit="image",
            file=sys.stderr,
            leave=False,
            disable=None if progress else True,
        ) as bar:
            kept: list[Tensor] = []
            rule = _fit(_keeping(kept, _features(model, [samples[i] for i in fitted], config, fabric), bar))
            masks = np.empty((len(samples), MASK_SIZE, MASK_SIZE), dtype=np.uint8)
            done = fitted[: sum(map(len, kept))]
            masks[done] = _all_masks(kept, rule)
            kept.clear()
            if others := sorted({*range(len(samples))} - {*done}):
                rest = _counted(_features(model, [samples[i] for i in others], config, fabric), bar)
                masks[others] = _all_masks(rest, rule)
    finally:
        model.train(backbone_mode)
    stream = io.BytesIO()
    np.save(stream, masks, allow_pickle=False)
    content = stream.getbuffer()
    write_atomically(path, content, trailer(content))


def _name(sample: Sample) -> str:
    return sample.name


def _features(model: Architecture, samples: Sequence[Sample], config: Config, fabric: Fabric) -> Iterator[Tensor]:
    """Yield the last stage's maps ``(b, K, H, W)`` of images as they are, at the size at which masks are made."""
    assert config.model.source_size is not None
    size = config.training.pseudo_mask_size
    images = EvaluationImages(samples, max(size, config.model.source_size))
    batches = [list(range(start, min(start + _BATCH, len(samples)))) for start in range(0, len(samples), _BATCH)]
    loader = batch_loader(images, batches, config.training.workers or 0, pin=False)
    for batch in with_plain_errors(loader):
        # The contexts end before a batch is handed out: sums over cells are taken in full precision.
        with torch.no_grad(), fabric.autocast():
            input_image = model.normalise(batch.input_image.to(fabric.device))
            if input_image.shape[-1] != size:
                input_image = functional.interpolate(
                    input_image, size=(size, size), mode="bilinear", align_corners=False, antialias=True
                )
            features = model.backbone.pyramid(input_image.contiguous(memory_format=torch.channels_last))[1][-1].float()
        yield features


def _fit(batches: Iterable[Tensor]) -> Discriminant | None:
    fit: DiscriminantFit | None = None
    for features in batches:
        fit = fit or DiscriminantFit(features.shape[1])
        contrast = border_contrast(features)
        fit.add(features, contrast > otsu_thresholds(contrast)[:, None, None])
    return None if fit is None else fit.solve()


def _all_masks(batches: Iterable[Tensor], rule: Discriminant | None) -> NDArray[np.uint8]:
    """Return the masks ``(N, 64, 64)`` of all batches' images."""
    return np.concatenate([_masks(features, rule).cpu().numpy() for features in batches])


def _masks(features: Tensor, rule: Discriminant | None) -> Tensor:
    """Return masks ``(b, 64, 64)``, uint8, of features ``(b, K, H, W)``."""
    if rule is None:  # nothing tells foreground from background: everything is looked at
        return torch.full((len(features), MASK_SIZE, MASK_SIZE), 255, dtype=torch.uint8)
    rule = Discriminant(rule.weight.to(features.device), rule.offset.to(features.device))
    scores = rule.scores(features)[:, None]
    scores = functional.interpolate(scores, size=(MASK_SIZE, MASK_SIZE), mode="bilinear", align_corners=False)
    return (scores[:, 0] > 0.5).to(torch.uint8) * 255


def _keeping(kept: list[Tensor], batches: Iterator[Tensor], bar: tqdm[None]) -> Iterator[Tensor]:
    """Yield batches of features and keep the first of them, so that they need not be computed again."""
    room, kept_all = _MOST_BYTES, True
    for features in batches:
        room -= features.nbytes
        kept_all = kept_all and room >= 0
        if kept_all:
            kept.append(features)
            bar.update(len(features))
        yield features


def _counted(batches: Iterator[Tensor], bar: tqdm[None]) -> Iterator[Tensor]:
    for features in batches:
        yield features
        bar.update(len(features))
