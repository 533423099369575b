"""Samples as square source images, ready to be batched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from tlaam.canvas import image_to_canvas, load_for_canvas, to_canvas
from tlaam.config import Config
from tlaam.data.sample import Sample
from tlaam.training.canvas_cache import CanvasCache
from tlaam.training.masks import PseudoMasks
from tlaam.training.sampler import Key
from tlaam.training.seeds import derive
from tlaam.training.transforms import Augment


class Item(NamedTuple):
    """One image, or a batch of B of them.

    Attributes:
        canvas: source images, uint8 RGB, ``(3, P, P)`` or ``(B, 3, P, P)``.
        label: class indices, int64, ``()`` or ``(B,)``.
        position: positions in the sequence of samples, int64, ``()`` or ``(B,)``.
        box: the objects' boxes in pixels of `canvas`, xyxy, float32, ``(4,)`` or ``(B, 4)``; NaN where there is none.
        size: ``(width, height)`` of the photograph in pixels, int64, ``(2,)`` or ``(B, 2)``.
        mask: pseudo masks over the whole of `canvas`, uint8, 255 where foreground, ``(m, m)`` or ``(B, m, m)``; of side
            0 where there are none.
        light: factors of brightness and contrast (`tlaam.training.transforms.relit`), float32, ``(2,)`` or ``(B, 2)``.
    """

    canvas: Tensor
    label: Tensor
    position: Tensor
    box: Tensor
    size: Tensor
    mask: Tensor
    light: Tensor


class TrainingImages(Dataset[Item]):
    """Augmented images by `Key`; what comes out depends on (seed, epoch, index) only, not on who loads it.

    Args:
        samples: the images.
        source_size: side of the canvas in pixels.
        augment: makes canvases.
        seed: of everything random.
        masks: pseudo masks of the samples, which go through the same crops and mirrorings.
        cache: where canvases lie ready; only for an `augment` that never crops.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        source_size: int,
        augment: Augment,
        seed: int,
        masks: PseudoMasks | None = None,
        cache: CanvasCache | None = None,
    ) -> None:
        self.samples, self.source_size, self.augment, self.seed = tuple(samples), source_size, augment, seed
        self.masks, self.cache = masks, cache

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: Key) -> Item:
        """Return one augmented image.

        Raises:
            DataError: the file cannot be read as an image.
        """
        epoch, index = key
        sample = self.samples[index]
        cached = None if self.cache is None else self.cache.get(sample)
        if cached is not None:
            image: Image.Image | NDArray[np.uint8] = cached[0]
            (width, height), decoded = cached[1], (self.source_size, self.source_size)
        else:
            image, (width, height) = load_for_canvas(
                sample.path, self.source_size, smallest_side=self.augment.smallest_side, banner=sample.banner
            )
            decoded = image.size
        box, true_box = None, sample.box_in_picture(height)
        if true_box is not None:  # the image may have been decoded at a reduced size
            box = np.array(true_box) * np.array([decoded[0] / width, decoded[1] / height] * 2)
        mask = None if self.masks is None else torch.from_numpy(self.masks[index])
        made = self.augment(image, box, derive(self.seed, "augment", epoch, index), mask)
        return _item(made.canvas, sample, index, made.box, (width, height), made.mask, made.light)


def training_images(samples: Sequence[Sample], config: Config, masks: PseudoMasks | None = None) -> TrainingImages:
    """Return a run's training images by its settings, which are resolved."""
    training, source_size = config.training, config.model.source_size
    assert source_size is not None
    augment = Augment(source_size, flip=training.flip, jitter=training.jitter, crop_scale=training.crop_scale)
    cache = None if training.cache is None else CanvasCache(training.cache, source_size)
    return TrainingImages(samples, source_size, augment, training.seed, masks, cache)


class EvaluationImages(Dataset[Item]):
    """Images as they are, in order; `cache` is where their canvases may lie ready."""

    def __init__(self, samples: Sequence[Sample], source_size: int, cache: CanvasCache | None = None) -> None:
        self.samples, self.source_size, self.cache = tuple(samples), source_size, cache

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        """Return one image.

        Raises:
            DataError: the file cannot be read as an image.
        """
        sample = self.samples[index]
        cached = None if self.cache is None else self.cache.get(sample)
        if cached is not None:
            canvas, (width, height) = cached
        else:
            image, (width, height) = load_for_canvas(sample.path, self.source_size, banner=sample.banner)
            canvas = to_canvas(image, self.source_size)
        box, true_box = torch.full((4,), torch.nan), sample.box_in_picture(height)
        if true_box is not None:
            box = torch.from_numpy(image_to_canvas(np.array(true_box), self.source_size, width, height)).float()
        return _item(torch.from_numpy(canvas), sample, index, box, (width, height))


def _item(
    canvas: Tensor,
    sample: Sample,
    index: int,
    box: Tensor,
    size: tuple[int, int],
    mask: Tensor | None = None,
    light: Tensor | None = None,
) -> Item:
    mask = torch.zeros(0, 0, dtype=torch.uint8) if mask is None else mask
    light = torch.ones(2) if light is None else light
    return Item(canvas, torch.tensor(sample.label), torch.tensor(index), box, torch.tensor(size), mask, light)
