"""Datasets that return samples as square source images, ready for batching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from tlaam.config.schema import Config
from tlaam.data.input_image import image_to_input, load_for_input, to_input
from tlaam.data.sample import Sample
from tlaam.training.input_cache import InputCache
from tlaam.training.masks import PseudoMasks
from tlaam.training.sampler import Key
from tlaam.training.seeds import derive
from tlaam.training.transforms import Augment


class Item(NamedTuple):
    """One image, or a batch of B of them.

    Attributes:
        input_image: source images, uint8 RGB, ``(3, P, P)`` or ``(B, 3, P, P)``.
        label: class indices, int64, ``()`` or ``(B,)``.
        position: positions in the sequence of samples, int64, ``()`` or ``(B,)``.
        box: object boxes in pixels of `input_image`, xyxy, float32, ``(4,)`` or ``(B, 4)``; NaN if there is none.
        size: ``(width, height)`` of the photograph in pixels, int64, ``(2,)`` or ``(B, 2)``.
        mask: pseudo masks over the whole of `input_image`, uint8, 255 where foreground, ``(m, m)`` or ``(B, m, m)``;
            of side 0 if there are none.
        color_jitter: factors of brightness and contrast (`tlaam.training.transforms.jitter_colors`), float32, ``(2,)``
            or ``(B, 2)``.
    """

    input_image: Tensor
    label: Tensor
    position: Tensor
    box: Tensor
    size: Tensor
    mask: Tensor
    color_jitter: Tensor


class TrainingImages(Dataset[Item]):
    """Augmented images by `Key`; the result depends only on (seed, epoch, index), not on the process that loads it.

    Args:
        samples: the images.
        source_size: side of the input image in pixels.
        augment: produces the input images.
        seed: seed of everything random.
        masks: pseudo masks of the samples, which are cropped and mirrored like the images.
        cache: cache of input images; only for an `augment` that never crops.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        source_size: int,
        augment: Augment,
        seed: int,
        masks: PseudoMasks | None = None,
        cache: InputCache | None = None,
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
            image, (width, height) = load_for_input(sample, self.source_size, smallest_side=self.augment.smallest_side)
            decoded = image.size
        box, true_box = None, sample.box_in_picture(height)
        if true_box is not None:  # the image may have been decoded at a reduced size
            box = np.array(true_box) * np.array([decoded[0] / width, decoded[1] / height] * 2)
        mask = None if self.masks is None else torch.from_numpy(self.masks[index])
        made = self.augment(image, box, derive(self.seed, "augment", epoch, index), mask)
        return _item(made.input_image, sample, index, made.box, (width, height), made.mask, made.color_jitter)


def training_images(samples: Sequence[Sample], config: Config, masks: PseudoMasks | None = None) -> TrainingImages:
    """Return a run's training images for its resolved settings."""
    training, source_size = config.training, config.model.source_size
    assert source_size is not None
    augment = Augment(
        source_size,
        flip=training.flip,
        jitter=training.jitter,
        crop_scale=training.crop_scale,
        strength=training.augment,
    )
    cache = None if training.cache is None else InputCache(training.cache, source_size)
    return TrainingImages(samples, source_size, augment, training.seed, masks, cache)


class EvaluationImages(Dataset[Item]):
    """Images without augmentation, in order; `cache` may already hold their input images."""

    def __init__(self, samples: Sequence[Sample], source_size: int, cache: InputCache | None = None) -> None:
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
            input_image, (width, height) = cached
        else:
            image, (width, height) = load_for_input(sample, self.source_size)
            input_image = to_input(image, self.source_size)
        box, true_box = torch.full((4,), torch.nan), sample.box_in_picture(height)
        if true_box is not None:
            box = torch.from_numpy(image_to_input(np.array(true_box), self.source_size, width, height)).float()
        return _item(torch.from_numpy(input_image), sample, index, box, (width, height))


def _item(
    input_image: Tensor,
    sample: Sample,
    index: int,
    box: Tensor,
    size: tuple[int, int],
    mask: Tensor | None = None,
    color_jitter: Tensor | None = None,
) -> Item:
    mask = torch.zeros(0, 0, dtype=torch.uint8) if mask is None else mask
    color_jitter = torch.ones(2) if color_jitter is None else color_jitter
    return Item(
        input_image, torch.tensor(sample.label), torch.tensor(index), box, torch.tensor(size), mask, color_jitter
    )
