"""The images of each training step, as a pure function of (seed, step)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from tlaam.training.balance import balanced_order
from tlaam.training.seeds import derive

Key = tuple[int, int]
"""``(epoch, index)`` of one image: with the seed, it fixes the image's augmentation, whichever process loads it."""


def epoch_order(images: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order in which an epoch visits the images: a permutation of ``0 .. images-1``, ``(images,)``."""
    return np.random.default_rng(derive(seed, "order", epoch)).permutation(images)


def batch_sizes(images: int, batch_size: int, world_size: int = 1) -> list[int]:
    """Return how many images a device sees in each batch of an epoch.

    The last batch is smaller if the images do not divide evenly. A last batch of a single image joins the one before it
    (which then holds ``batch_size + 1``), because batch normalisation cannot train on one image with one cell.
    """
    share = -(-images // world_size)
    sizes = [batch_size] * (share // batch_size)
    rest = share % batch_size
    if rest == 1 and sizes and batch_size > 1:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes


def step_sizes(sizes: Sequence[int], accumulate: int) -> list[list[int]]:
    """Return the batch sizes of each step of an epoch; a step has `accumulate` batches, the last one may have fewer.

    Examples:
        >>> step_sizes([4, 4, 4, 4, 3], accumulate=2)
        [[4, 4], [4, 4], [3]]
    """
    return [list(sizes[start : start + accumulate]) for start in range(0, len(sizes), accumulate)]


class StepBatches(Sampler[list[Key]]):
    """Batches of `Key` for every step from `start_step` to the end of the run, for one device among `world_size`.

    A step is an optimiser step with `accumulate` consecutive batches. Each epoch's order is dealt out to the devices in
    turn; if it does not divide evenly, its beginning is repeated until it does. One pass over the sampler is a whole
    run, so loader processes start once and prefetch across epochs.

    Args:
        balanced: the images' labels, ``(images,)``, if each class should come equally often
            (`tlaam.training.balance.balanced_order`). When an image is repeated in an epoch, it gets its own key, that
            of an epoch after the last one, and so its own augmentation.

    Attributes:
        sizes: the batch sizes of each step of an epoch.
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
        accumulate: int = 1,
        balanced: Sequence[int] | None = None,
    ) -> None:
        self.images, self.epochs, self.seed = images, epochs, seed
        self.rank, self.world_size, self.start_step = rank, world_size, start_step
        self.balanced = balanced
        self.sizes = step_sizes(batch_sizes(images, batch_size, world_size), accumulate)

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps of one epoch, the same on every device."""
        return len(self.sizes)

    def __len__(self) -> int:
        first_epoch, skipped = divmod(self.start_step, self.steps_per_epoch)
        batches = [len(sizes) for sizes in self.sizes]
        return max((self.epochs - first_epoch) * sum(batches) - sum(batches[:skipped]), 0)

    def __iter__(self) -> Iterator[list[Key]]:
        first_epoch, skipped = divmod(self.start_step, self.steps_per_epoch)
        sizes = [size for step in self.sizes for size in step]
        skipped = sum(map(len, self.sizes[:skipped]))
        for epoch in range(first_epoch, self.epochs):
            order = epoch_order(self.images, self.seed, epoch)
            before = np.zeros_like(order)
            if self.balanced is not None:
                order, before = balanced_order(self.balanced, order)
            keys = np.stack([epoch + self.epochs * before, order], axis=1)
            share = np.resize(keys, (sum(sizes) * self.world_size, 2))[self.rank :: self.world_size]  # wraps around
            stops = np.cumsum(sizes)
            for stop, size in list(zip(stops, sizes, strict=True))[skipped:]:
                yield [(int(key), int(index)) for key, index in share[stop - size : stop]]
            skipped = 0
