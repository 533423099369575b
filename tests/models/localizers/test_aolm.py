"""AOLM against a slow loop over scikit-image's components; empty, flat and one-cell maps; maps of two resolutions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.measure import label

from tlaam.models.localizers.aolm import aolm_boxes, aolm_masks, channel_sum

SIZES = [(1, 1), (1, 6), (2, 3), (5, 7), (7, 7), (13, 9), (14, 14)]


def features(batch: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Small whole numbers, some negative: their sums are exact, so rounding decides no cell."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 8, (batch, 5, height, width), generator=generator).float()


def above_mean(maps: NDArray[np.float64]) -> NDArray[np.bool_]:
    heat = sum(channel for channel in maps)
    return np.asarray(heat * heat.size > heat.sum())


def reference(last: torch.Tensor, earlier: torch.Tensor | None) -> NDArray[np.bool_]:
    """One image's mask, written out."""
    labels = label(above_mean(last.double().numpy()), connectivity=2)
    if labels.max() == 0:
        return np.zeros(labels.shape, dtype=bool)
    mask = labels == np.bincount(labels.ravel())[1:].argmax() + 1
    if earlier is not None:
        other = above_mean(earlier.double().numpy())
        for y, x in np.ndindex(*mask.shape):
            mask[y, x] &= other[y * other.shape[0] // mask.shape[0], x * other.shape[1] // mask.shape[1]]
    return np.asarray(mask)


def box(mask: NDArray[np.bool_], size: tuple[int, int]) -> list[float]:
    if not mask.any():
        return [0, 0, size[1], size[0]]
    y, x = np.nonzero(mask)
    high, wide = size[0] / mask.shape[0], size[1] / mask.shape[1]
    return [x.min() * wide, y.min() * high, (x.max() + 1) * wide, (y.max() + 1) * high]


def check(last: torch.Tensor, earlier: torch.Tensor | None) -> None:
    size = (last.shape[2] * 32, last.shape[3] * 16)
    masks, boxes = aolm_masks(last, earlier), aolm_boxes(last, earlier, size)
    assert masks.dtype == torch.bool and boxes.dtype == torch.float32
    for row, maps in enumerate(last):
        expected = reference(maps, None if earlier is None else earlier[row])
        assert np.array_equal(masks[row].numpy(), expected)
        assert boxes[row].tolist() == box(expected, size)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_masks_and_boxes_equal_a_slow_loop(height: int, width: int) -> None:
    last = features(60, height, width, seed=0)
    check(last, features(60, height, width, seed=1))
    check(last, None)


@pytest.mark.parametrize("other", [(14, 14), (28, 28), (4, 4), (5, 3), (1, 1)])
def test_an_earlier_map_of_another_resolution_is_resized_to_the_nearest_cell(other: tuple[int, int]) -> None:
    check(features(60, 7, 7, seed=2), features(60, *other, seed=3))


def test_the_box_holds_every_component_of_the_intersection() -> None:
    last, earlier = torch.zeros(1, 2, 6, 6), torch.zeros(1, 3, 6, 6)
    last[0, :, 2, 1:6] = 1.0  # one bar, of which the earlier map leaves both ends
    last[0, :, 5, 0] = 9.0  # stronger, but a smaller component
    earlier[0, :, 2, 1] = earlier[0, :, 2, 5] = earlier[0, :, 5, 0] = 1.0
    assert aolm_masks(last, earlier)[0].nonzero().tolist() == [[2, 1], [2, 5]]
    assert aolm_boxes(last, earlier, (60, 120)).tolist() == [[20, 20, 120, 30]]
    assert aolm_boxes(last, None, (60, 120)).tolist() == [[20, 20, 120, 30]]
    earlier[0, :, 2, 5] = 0.0
    assert aolm_boxes(last, earlier, (60, 120)).tolist() == [[20, 20, 40, 30]]


def test_an_empty_intersection_gives_the_whole_image() -> None:
    last, earlier = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    last[0, :, 0, 0] = earlier[0, :, 3, 3] = 1.0
    assert not aolm_masks(last, earlier).any()
    assert aolm_boxes(last, earlier, (40, 80)).tolist() == [[0, 0, 80, 40]]


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -0.7])
def test_a_flat_map_masks_nothing_however_its_mean_is_rounded(value: float) -> None:
    flat, peak = torch.full((1, 7, 13, 11), value), torch.zeros(1, 7, 13, 11)
    peak[0, :, 4, 5] = 1.0
    for last, earlier in [(flat, peak), (peak, flat), (flat, None)]:
        assert not aolm_masks(last, earlier).any()
        assert aolm_boxes(last, earlier, (130, 110)).tolist() == [[0, 0, 110, 130]]


def test_a_one_cell_map_gives_the_whole_image() -> None:
    one = torch.ones(2, 3, 1, 1)
    assert aolm_boxes(one, one, (32, 64)).tolist() == [[0, 0, 64, 32]] * 2


def test_sums_that_are_not_finite_do_not_hide_the_rest() -> None:
    last = torch.zeros(1, 2, 4, 4)
    last[0, :, 1, 2], last[0, 0, 3, 0], last[0, 0, 0, 0] = 1.0, torch.nan, torch.inf
    assert aolm_boxes(last, last, (4, 4)).tolist() == [[2, 1, 3, 2]]


def test_one_image_is_its_row_in_a_batch() -> None:
    generator = torch.Generator().manual_seed(4)
    last, earlier = torch.randn(9, 16, 7, 7, generator=generator), torch.randn(9, 16, 14, 14, generator=generator)
    together = aolm_boxes(last, earlier, (224, 224))
    alone = [aolm_boxes(last[row : row + 1], earlier[row : row + 1], (224, 224)) for row in range(9)]
    assert torch.equal(together, torch.cat(alone))
    assert len(together.unique(dim=0)) > 1


def test_channel_sum_is_exact_in_half_precision_and_carries_no_gradient() -> None:
    maps = torch.full((2, 2048, 3, 4), 33.0, dtype=torch.float16, requires_grad=True)
    heat = channel_sum(maps)  # beyond what float16 can hold
    assert heat.dtype == torch.float32 and not heat.requires_grad
    assert torch.equal(heat, torch.full((2, 3, 4), 2048 * 33.0))
    assert channel_sum(maps.double()).dtype == torch.float64


def test_no_step_depends_on_data() -> None:
    # Tensors without data: reading one raises.
    maps = torch.empty(2, 8, 7, 7, device="meta")
    earlier = torch.empty(2, 4, 14, 14, device="meta")
    assert aolm_boxes(maps, earlier, (224, 224)).shape == (2, 4)
