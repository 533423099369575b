from __future__ import annotations

import numpy as np
import pytest

from tlaam.training.sampler import StepBatches, batch_sizes, epoch_order, step_sizes
from tlaam.training.seeds import derive


def test_an_epoch_visits_every_image_once() -> None:
    seen = [index for batch in StepBatches(23, 4, 1, seed=5) for _, index in batch]
    assert sorted(seen) == list(range(23))


def test_batches_are_cut_from_each_epoch_s_own_order_which_earlier_versions_drew() -> None:
    batches = list(StepBatches(6, 3, 2, seed=5))
    for epoch in range(2):
        order = np.random.default_rng(derive(5, "order", epoch)).permutation(6)
        assert np.array_equal(epoch_order(6, 5, epoch), order)
        keys = [key for batch in batches[2 * epoch : 2 * epoch + 2] for key in batch]
        assert keys == [(epoch, int(index)) for index in order]


def test_order_depends_on_seed_and_epoch_only() -> None:
    assert list(epoch_order(50, 1, 0)) == list(epoch_order(50, 1, 0))
    assert list(epoch_order(50, 1, 0)) != list(epoch_order(50, 1, 1))
    assert list(epoch_order(50, 1, 0)) != list(epoch_order(50, 2, 0))


@pytest.mark.parametrize("images", [1, 2, 7, 8, 9, 16, 17, 23])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_starting_late_equals_skipping(images: int, world_size: int) -> None:
    whole = list(StepBatches(images, 4, 3, seed=0, world_size=world_size))
    for start in range(len(whole) + 1):
        late = StepBatches(images, 4, 3, seed=0, world_size=world_size, start_step=start)
        assert list(late) == whole[start:]
        assert len(late) == len(whole) - start


@pytest.mark.parametrize("images", [1, 8, 9, 17, 23])
@pytest.mark.parametrize("accumulate", [2, 3])
def test_starting_late_skips_whole_steps(images: int, accumulate: int) -> None:
    batches = StepBatches(images, 4, 3, seed=0, accumulate=accumulate)
    whole = list(batches)
    assert whole == list(StepBatches(images, 4, 3, seed=0)) and len(batches) == len(whole)
    steps = [len(sizes) for sizes in batches.sizes] * 3
    for start in range(len(steps) + 1):
        late = StepBatches(images, 4, 3, seed=0, accumulate=accumulate, start_step=start)
        assert list(late) == whole[sum(steps[:start]) :]
        assert len(late) == sum(steps[start:])


@pytest.mark.parametrize("images", range(1, 40))
@pytest.mark.parametrize("accumulate", [2, 3])
def test_steps_have_the_images_of_larger_batches(images: int, accumulate: int) -> None:
    """Also where a last batch of one image joins the one before."""
    together = [sum(sizes) for sizes in step_sizes(batch_sizes(images, 4), accumulate)]
    assert together == batch_sizes(images, 4 * accumulate)


@pytest.mark.parametrize(("images", "world_size"), [(8, 2), (9, 2), (10, 3), (1, 4), (64, 8)])
def test_devices_share_an_epoch_with_as_little_repetition_as_possible(images: int, world_size: int) -> None:
    shares = [
        [index for batch in StepBatches(images, 2, 1, seed=3, rank=rank, world_size=world_size) for _, index in batch]
        for rank in range(world_size)
    ]
    assert len({len(share) for share in shares}) == 1
    everything = [index for share in shares for index in share]
    assert set(everything) == set(range(images))
    assert len(everything) == -(-images // world_size) * world_size


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"),
    [(8, 4, [4, 4]), (9, 4, [4, 5]), (10, 4, [4, 4, 2]), (1, 4, [1]), (3, 1, [1, 1, 1]), (3, 16, [3]), (5, 2, [2, 3])],
)
def test_a_last_batch_of_one_image_joins_the_one_before(images: int, batch_size: int, sizes: list[int]) -> None:
    assert batch_sizes(images, batch_size) == sizes
