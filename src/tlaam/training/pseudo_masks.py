"""Pseudo masks of the training images, computed once (method: `tlaam.models.localizers.pseudo_masks`)."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

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
from tlaam.models.build import memory_format
from tlaam.models.localizers.pseudo_masks import Discriminant, DiscriminantFit, border_contrast, otsu_thresholds
from tlaam.training.dataset import EvaluationImages
from tlaam.training.loading import batch_loader, with_plain_errors
from tlaam.training.masks import MASK_SIZE
from tlaam.utils.atomic import write_atomically
from tlaam.utils.checksums import trailer

TAUGHT = 256
"""Number of images that the discriminant is fitted to, evenly spaced by name; it bounds the time and is not tuned."""
_BATCH = 8
_MOST_BYTES = 1 << 30
"""Maximum size of their features, which are kept until the discriminant is fitted; if larger, fewer images are used."""
_ROUNDS = 2
"""Number of fits of the discriminant: the first separates cells by border contrast, the next by the previous fit."""
_UNDECIDED = 0.1
"""Scores this near the threshold are undecided, as a share of the distance between the means of both kinds."""
BACKGROUND, RATHER_BACKGROUND, RATHER_FOREGROUND, FOREGROUND = 0, 96, 160, 255
"""A mask's values. Cells with intermediate values are not used for training (`tlaam.training.loss.foreground_loss`)."""


def taught_places(samples: Sequence[Sample]) -> list[int]:
    """Return the indices of the samples that the discriminant is fitted to, evenly spaced in the order of names."""
    by_name = sorted(range(len(samples)), key=lambda place: samples[place].name)
    count = min(TAUGHT, len(samples))
    return [by_name[number * len(samples) // count] for number in range(count)]


def taught_masks(
    fabric: Fabric,
    model: Architecture,
    samples: Sequence[Sample],
    config: Config,
    *,
    context: Callable[[], AbstractContextManager[Any]],
    progress: bool,
) -> NDArray[np.uint8]:
    """Return the masks ``(M, 64, 64)`` of a few images by their own discriminant, as in `write_pseudo_masks`.

    If their features do not fit into memory, only masks of the first images are returned.

    Args:
        fabric, model, samples, config, progress: see `write_pseudo_masks`.
        context: returns the context in which the model computes, such as `tlaam.inference.pytorch.asked_in`.

    Raises:
        DataError: an image cannot be read.
    """
    with _bar(len(samples), progress) as bar, _answering(model, fabric):
        kept = _kept(_features(model, samples, config, fabric, context), bar)
        return _all_masks(kept, _fit(kept))


def write_pseudo_masks(
    fabric: Fabric, model: Architecture, samples: Sequence[Sample], config: Config, path: Path, *, progress: bool
) -> None:
    """Mark the foreground of images with the model's current backbone, and write ``(N, 64, 64)`` uint8 to `path`.

    Masks are in the order of the images' names, so that a data set that later lists them in another order gets the same
    masks.

    Args:
        fabric: already launched; only the calling process works.
        model: the model, still with pretrained weights.
        samples: the training images, N.
        config: resolved settings.
        path: the file, in NumPy's format, followed by a checksum, which readers of that format ignore.
        progress: show a bar if standard error is a terminal.

    Raises:
        DataError: an image cannot be read.
    """
    samples = sorted(samples, key=_name)
    masks = np.empty((len(samples), MASK_SIZE, MASK_SIZE), dtype=np.uint8)
    fitted = taught_places(samples)
    with _bar(len(samples), progress) as bar, _answering(model, fabric):
        kept = _kept(_features(model, [samples[i] for i in fitted], config, fabric, fabric.autocast), bar)
        rule = _fit(kept)
        done = fitted[: sum(map(len, kept))]
        masks[done] = _all_masks(kept, rule)
        kept.clear()
        if others := sorted({*range(len(samples))} - {*done}):
            rest = _counted(_features(model, [samples[i] for i in others], config, fabric, fabric.autocast), bar)
            masks[others] = _all_masks(rest, rule)
    write_masks(path, masks)


def write_masks(path: Path, masks: NDArray[np.uint8]) -> None:
    """Write masks ``(N, 64, 64)``, in the order of the images' names, followed by a checksum."""
    stream = io.BytesIO()
    np.save(stream, masks, allow_pickle=False)
    content = stream.getbuffer()
    write_atomically(path, content, trailer(content))


def _name(sample: Sample) -> str:
    return sample.name


def _features(
    model: Architecture,
    samples: Sequence[Sample],
    config: Config,
    fabric: Fabric,
    context: Callable[[], AbstractContextManager[Any]],
) -> Iterator[Tensor]:
    """Yield the last stage's maps ``(b, K, H, W)`` of images without augmentation, at the input size for masks."""
    assert config.model.source_size is not None
    size = config.training.pseudo_mask_size
    images = EvaluationImages(samples, max(size, config.model.source_size))
    batches = [list(range(start, min(start + _BATCH, len(samples)))) for start in range(0, len(samples), _BATCH)]
    loader = batch_loader(images, batches, config.training.workers or 0, pin=False)
    for batch in with_plain_errors(loader):
        # The contexts end before a batch is yielded: sums over cells are computed in full precision.
        with torch.no_grad(), context():
            input_image = model.normalise(batch.input_image.to(fabric.device))
            if input_image.shape[-1] != size:
                input_image = functional.interpolate(
                    input_image, size=(size, size), mode="bilinear", align_corners=False, antialias=True
                )
            ordered = input_image.contiguous(memory_format=memory_format(fabric.device))
            features = model.backbone.pyramid(ordered)[1][-1].float()
        yield features


def _fit(kept: Sequence[Tensor]) -> Discriminant | None:
    rule: Discriminant | None = None
    for _ in range(_ROUNDS):
        fit = DiscriminantFit(kept[0].shape[1])
        for features in kept:
            if rule is None:
                contrast = border_contrast(features)
                fit.add(features, contrast > otsu_thresholds(contrast)[:, None, None])
            else:
                fit.add(features, rule.scores(features) > 0.5)
        found = fit.solve()
        if found is None:
            return rule
        rule = Discriminant(found.weight.to(kept[0].device), found.offset.to(kept[0].device))
    return rule


def _all_masks(batches: Iterable[Tensor], rule: Discriminant | None) -> NDArray[np.uint8]:
    """Return the masks ``(N, 64, 64)`` of all batches' images."""
    return np.concatenate([_masks(features, rule).cpu().numpy() for features in batches])


def _masks(features: Tensor, rule: Discriminant | None) -> Tensor:
    """Return masks ``(b, 64, 64)``, uint8, of features ``(b, K, H, W)``."""
    if rule is None:  # foreground and background cannot be separated: all is foreground
        return torch.full((len(features), MASK_SIZE, MASK_SIZE), FOREGROUND, dtype=torch.uint8)
    return marked(rule.scores(features))


def marked(scores: Tensor, threshold: float = 0.5, undecided: float = _UNDECIDED) -> Tensor:
    """Return masks ``(B, 64, 64)``, uint8, from cell scores ``(B, h, w)``; those near the threshold are undecided."""
    scores = functional.interpolate(scores[:, None], size=(MASK_SIZE, MASK_SIZE), mode="bilinear", align_corners=False)[
        :, 0
    ]
    above, near = scores > threshold, (scores - threshold).abs() < undecided
    decided = torch.where(above, FOREGROUND, BACKGROUND)
    return decided.where(~near, torch.where(above, RATHER_FOREGROUND, RATHER_BACKGROUND)).to(torch.uint8)


def _kept(batches: Iterable[Tensor], bar: tqdm[None]) -> list[Tensor]:
    """Return as many batches of features as may be kept, and at least one."""
    kept: list[Tensor] = []
    room = _MOST_BYTES
    for features in batches:
        room -= features.nbytes
        if kept and room < 0:
            break
        kept.append(features)
        bar.update(len(features))
    return kept


@contextmanager
def _answering(model: Architecture, fabric: Fabric) -> Iterator[None]:
    """Move the model to the device and put it into evaluation mode; its mode is restored afterwards."""
    was_training = model.training
    model.to(fabric.device, memory_format=memory_format(fabric.device)).eval()  # type: ignore[call-overload]
    try:
        yield
    finally:
        model.train(was_training)


def _bar(total: int, progress: bool) -> tqdm[None]:
    return tqdm(
        total=total,
        desc="marking the foreground",
        unit="image",
        file=sys.stderr,
        leave=False,
        disable=None if progress else True,
    )


def _counted(batches: Iterator[Tensor], bar: tqdm[None]) -> Iterator[Tensor]:
    for features in batches:
        yield features
        bar.update(len(features))
