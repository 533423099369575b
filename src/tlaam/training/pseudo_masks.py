"""Pseudo masks of the training images, made once (method: `tlaam.models.localizers.pseudo_masks`)."""

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
"""Images that the discriminant is fitted to, evenly spaced in the names; a bound on time, not a measured optimum."""
_BATCH = 8
_MOST_BYTES = 1 << 30
"""Of their features, which are kept until the discriminant is there; where they are larger, fewer images are taken."""
_ROUNDS = 2
"""Fits of the discriminant: the first to cells told apart by contrast with the border, the next by the one before."""
_UNDECIDED = 0.1
"""Scores so near the threshold are of no kind, in distances of the kinds' means."""
BACKGROUND, RATHER_BACKGROUND, RATHER_FOREGROUND, FOREGROUND = 0, 96, 160, 255
"""A mask's values. Of what is in between nothing is learnt (`tlaam.training.loss.foreground_loss`)."""


def taught_places(samples: Sequence[Sample]) -> list[int]:
    """Return which samples the discriminant is fitted to: evenly spaced in the order of their names."""
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
    """Return the masks ``(M, 64, 64)`` of a few images by a discriminant of their own, as `write_pseudo_masks` does.

    Where their features do not fit into memory, masks are of the first of them alone.

    Args:
        fabric, model, samples, config, progress: as of `write_pseudo_masks`.
        context: makes what the model computes in, such as `tlaam.inference.pytorch.asked_in`.

    Raises:
        DataError: an image cannot be read.
    """
    with _bar(len(samples), progress) as bar, _answering(model, fabric):
        kept = _kept(_features(model, samples, config, fabric, context), bar)
        return _all_masks(kept, _fit(kept))


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
    """Write masks ``(N, 64, 64)``, which lie in the order of the images' names, with a checksum behind them."""
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
    """Yield the last stage's maps ``(b, K, H, W)`` of images as they are, at the size at which masks are made."""
    assert config.model.source_size is not None
    size = config.training.pseudo_mask_size
    images = EvaluationImages(samples, max(size, config.model.source_size))
    batches = [list(range(start, min(start + _BATCH, len(samples)))) for start in range(0, len(samples), _BATCH)]
    loader = batch_loader(images, batches, config.training.workers or 0, pin=False)
    for batch in with_plain_errors(loader):
        # The contexts end before a batch is handed out: sums over cells are taken in full precision.
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
    if rule is None:  # nothing tells foreground from background: everything is looked at
        return torch.full((len(features), MASK_SIZE, MASK_SIZE), FOREGROUND, dtype=torch.uint8)
    return marked(rule.scores(features))


def marked(scores: Tensor, threshold: float = 0.5, undecided: float = _UNDECIDED) -> Tensor:
    """Return masks ``(B, 64, 64)``, uint8, of cells' scores ``(B, h, w)``; those near the threshold are undecided."""
    scores = functional.interpolate(scores[:, None], size=(MASK_SIZE, MASK_SIZE), mode="bilinear", align_corners=False)[
        :, 0
    ]
    above, near = scores > threshold, (scores - threshold).abs() < undecided
    decided = torch.where(above, FOREGROUND, BACKGROUND)
    return decided.where(~near, torch.where(above, RATHER_FOREGROUND, RATHER_BACKGROUND)).to(torch.uint8)


def _kept(batches: Iterable[Tensor], bar: tqdm[None]) -> list[Tensor]:
    """Return batches of features, as many as may be kept, and one at least."""
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
    """Let the model, on the device, answer; its mode is put back."""
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
