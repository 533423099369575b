"""Which images each training step sees: a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from tlaam.training.seeds import derive

Key = tuple[int, int]
"""``(epoch, index)`` of one image: with the seed it fixes the image's augmentation, whichever process loads it."""


def epoch_order(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order in which an epoch visits the images: a permutation of ``0 .. images-1``, ``(images,)``."""
    return np.random.default_rng(derive(seed, "order", epoch)).permutation(images)


def batch_sizes(images: int, batch_size: int, world_size: int = 1) -> list[int]:
    """Return how many images a device sees in each step of an epoch.

    The last batch is smaller where the images do not divide. A last batch of a single image joins the one before it
    (which then holds ``batch_size + 1``), because batch normalisation cannot train on one image of one cell.
    """
    share = -(-images // world_size)
    sizes = [batch_size] * (share // batch_size)
    rest = share % batch_size
    if rest == 1 and sizes and batch_size > 1:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


class StepBatches(Sampler[list[Key]]):
    """Batches of `Key` for every step from `start_step` to the end of the run, of one device among `world_size`.

    Each epoch's order is dealt out to the devices in turn; where it does not divide, its beginning is repeated until it
    does. One pass over the sampler is a whole run, so loader processes start once and prefetch across epochs.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        epochs: int,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        start_step: int = 0,
    ) -> None:
        self.images, self.epochs, self.seed = images, epochs, seed
        self.rank, self.world_size, self.start_step = rank, world_size, start_step
        self.sizes = batch_sizes(images, batch_size, world_size)

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps of one epoch, the same on every device."""
        return len(self.sizes)

    def __len__(self) -> int:
        return max(self.epochs * self.steps_per_epoch - self.start_step, 0)

    def __iter__(self) -> Iterator[list[Key]]:
        first_epoch, skipped = divmod(self.start_step, self.steps_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = epoch_order(self.images, self.seed, epoch)
            share = np.resize(order, sum(self.sizes) * self.world_size)[self.rank :: self.world_size]  # wraps around
            stops = np.cumsum(self.sizes)
            for stop, size in list(zip(stops, self.sizes, strict=True))[skipped:]:
                yield [(epoch, int(index)) for index in share[stop - size : stop]]
            skipped = 0
