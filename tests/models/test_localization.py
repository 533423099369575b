"""Components and boxes against scikit-image, on random and on adversarial masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from skimage.measure import label, regionprops

from tlaam.models.localization import (
    heatmap_boxes,
    heatmap_mask,
    label_components,
    largest_component,
    mask_boxes,
    upsample_heatmap,
    widen_boxes,
)

SIZES = [(1, 1), (1, 9), (8, 1), (2, 2), (3, 5), (7, 7), (14, 14), (13, 17), (28, 28), (33, 40)]
DENSITIES = [0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.75, 0.95, 1.0]


def reference(mask: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], tuple[int, int, int, int]]:
    """The largest component (the first in raster order of equally large ones) and its box, by scikit-image."""
    labels = label(mask, connectivity=2)
    if labels.max() == 0:
        return np.zeros_like(mask), (0, 0, mask.shape[1], mask.shape[0])
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    y0, x0, y1, x1 = regionprops((labels == largest).astype(int))[0].bbox
    return labels == largest, (x0, y0, x1, y1)


def check(masks: torch.Tensor) -> int:
    height, width = masks.shape[1:]
    kept = largest_component(masks)
    boxes = mask_boxes(kept, (height, width))
    for mask, found, box in zip(masks.numpy(), kept.numpy(), boxes.tolist(), strict=True):
        expected, expected_box = reference(mask)
        assert np.array_equal(found, expected)
        assert tuple(box) == expected_box
    return len(masks)


def test_components_and_boxes_equal_scikit_image_on_ten_thousand_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    each = -(-10_000 // (len(SIZES) * len(DENSITIES)))
    seen = sum(
        check(torch.rand(each, height, width, generator=generator) < density)
        for height, width in SIZES
        for density in DENSITIES
    )
    assert seen >= 10_000


@pytest.mark.parametrize("size", [(1, 4), (4, 1), (2, 3), (3, 2), (2, 4), (4, 2), (3, 3), (1, 10), (2, 5), (5, 2)])
def test_every_mask_of_a_few_cells(size: tuple[int, int]) -> None:
    cells = size[0] * size[1]
    masks = (torch.arange(2**cells)[:, None] >> torch.arange(cells)) % 2 == 1
    assert check(masks.reshape(-1, *size)) == 2**cells


def test_ties_go_to_the_first_in_raster_order() -> None:
    mask = torch.zeros(1, 5, 7, dtype=torch.bool)
    mask[0, 3, 0:2] = mask[0, 1, 5:7] = mask[0, 4, 5:7] = True
    assert mask_boxes(largest_component(mask), (5, 7)).tolist() == [[5, 1, 7, 2]]


def snake(side: int) -> NDArray[np.bool_]:
    """One path that runs to and fro: the longest way a label can have to travel."""
    mask = np.zeros((side, side), dtype=bool)
    mask[::2] = True
    for row in range(1, side, 2):
        mask[row, -1 if (row // 2) % 2 == 0 else 0] = True
    return mask


def spiral(side: int) -> NDArray[np.bool_]:
    mask = np.zeros((side, side), dtype=bool)
    x, y, dx, dy = 0, 0, 1, 0
    bounds = [0, 0, side - 1, side - 1]
    while bounds[0] <= bounds[2] and bounds[1] <= bounds[3]:
        mask[y, x] = True
        ahead = (x + dx, y + dy)
        if not (bounds[0] <= ahead[0] <= bounds[2] and bounds[1] <= ahead[1] <= bounds[3]):
            if dx > 0:
                bounds[1] += 2
            elif dy > 0:
                bounds[2] -= 2
            elif dx < 0:
                bounds[3] -= 2
            else:
                bounds[0] += 2
            dx, dy = -dy, dx
            ahead = (x + dx, y + dy)
            if not (0 <= ahead[0] < side and 0 <= ahead[1] < side) or mask[ahead[1], ahead[0]]:
                break
        x, y = ahead
    return mask


@pytest.mark.parametrize("side", [5, 7, 14, 15, 29, 56])
def test_long_and_winding_components_are_whole(side: int) -> None:
    combs = np.zeros((side, side), dtype=bool)
    combs[:, ::2] = True
    combs[-1] = True
    shapes = [snake(side), spiral(side), combs]
    turned = [np.rot90(shape, turns).copy() for shape in shapes for turns in range(4)]
    check(torch.from_numpy(np.stack(turned + [~shape for shape in turned])))


def test_every_component_has_its_own_label() -> None:
    mask = torch.rand(1, 20, 20, generator=torch.Generator().manual_seed(3)) < 0.35
    labels, expected = label_components(mask)[0].numpy(), label(mask[0].numpy(), connectivity=2)
    pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == expected.max() + 1 == len({first for first, _ in pairs})


def test_a_flat_or_broken_map_gives_the_whole_image() -> None:
    maps = torch.stack(
        [torch.zeros(4, 4), torch.ones(4, 4), torch.full((4, 4), torch.nan), torch.full((4, 4), torch.inf)]
    )
    assert heatmap_boxes(maps, (40, 80)).tolist() == [[0, 0, 80, 40]] * 4


def test_values_that_are_not_finite_do_not_hide_the_rest() -> None:
    heat = torch.zeros(1, 4, 4)
    heat[0, 1, 2], heat[0, 3, 0] = 1.0, torch.nan
    assert heatmap_boxes(heat, (4, 4)).tolist() == [[2, 1, 3, 2]]


def test_threshold_rules() -> None:
    heat = torch.tensor([[[0.0, 1.0], [2.0, 5.0]]])
    assert heatmap_mask(heat, 1.0, "mean").tolist() == [[[False, False], [False, True]]]
    assert heatmap_mask(heat, 0.3, "max").tolist() == [[[False, False], [True, True]]]
    assert heatmap_mask(heat, 1.0, "value").tolist() == [[[False, False], [True, True]]]
    assert torch.equal(heatmap_mask(heat), heatmap_mask(heat, 1.0, "mean")), "the mean, unless another rule is named"
    both = torch.cat([heat, 10 * heat, heat + 4])
    assert heatmap_mask(both, 0.5, "mean").sum((1, 2)).tolist() == [2, 2, 4]
    assert heatmap_mask(both, 0.9, "max").sum((1, 2)).tolist() == [1, 1, 1]
    assert heatmap_boxes(heat, (20, 20), threshold=0.3, rule="max").tolist() == [[0, 10, 20, 20]]
    assert heatmap_boxes(heat, (20, 20)).tolist() == [[10, 10, 20, 20]]
    broad = torch.tensor([[[0.0, 3.0], [3.0, 2.0]]])  # of mean 2: what is above it, and nothing above twice of it
    assert heatmap_mask(broad).tolist() == [[[False, True], [True, False]]]
    assert heatmap_boxes(broad[:, :1], (10, 20)).tolist() == [[10, 0, 20, 10]]


def test_upsampling_is_bilinear_between_the_centres_of_cells() -> None:
    heat = torch.tensor([[[0.0, 4.0], [8.0, 12.0]]])
    rows, columns = torch.tensor([0.0, 0.25, 0.75, 1.0]), torch.tensor([0.0, 0.25, 0.75, 1.0])
    torch.testing.assert_close(upsample_heatmap(heat, 2)[0], 8 * rows[:, None] + 4 * columns)
    assert upsample_heatmap(torch.rand(2, 3, 5), 3).shape == (2, 9, 15)
    assert upsample_heatmap(heat, 1) is heat


def test_one_cell_scales_to_its_share_of_the_image() -> None:
    heat = torch.zeros(1, 7, 7)
    heat[0, 2, 4] = 1.0
    torch.testing.assert_close(heatmap_boxes(heat, (224, 448)), torch.tensor([[256.0, 64.0, 320.0, 96.0]]))


def test_upsampling_narrows_to_what_is_bright() -> None:
    heat = torch.zeros(1, 7, 7)
    heat[0, 3, 3] = 1.0
    (coarse,), (fine,) = (
        heatmap_boxes(heat, (70, 70)),
        heatmap_boxes(heat, (70, 70), threshold=0.8, rule="max", upsample=10),
    )
    assert coarse.tolist() == [30, 30, 40, 40]
    assert fine[0] > 30 and fine[2] < 40
    assert upsample_heatmap(heat, 3).shape == (1, 21, 21)


def test_a_margin_stays_inside_the_image() -> None:
    boxes = torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    assert widen_boxes(boxes, 0.25, (32, 100)).tolist() == [[0, 5, 25, 32]]
    boxes = torch.tensor([[[10.0, 20.0, 30.0, 60.0], [2.0, 1.0, 98.0, 99.0]]])
    wider = torch.tensor([[[8.0, 16.0, 32.0, 64.0], [0.0, 0.0, 90.0, 80.0]]])
    torch.testing.assert_close(widen_boxes(boxes, 0.1, (80, 90)), wider)
    assert torch.equal(widen_boxes(boxes, 0, (80, 90)), boxes)
    assert widen_boxes(boxes[:, :1], 1, (300, 400)).tolist() == [[[0, 0, 50, 100]]]


def test_one_image_is_its_row_in_a_batch() -> None:
    maps = torch.rand(9, 7, 7, generator=torch.Generator().manual_seed(5))
    together = heatmap_boxes(maps, (224, 224))
    alone = torch.cat([heatmap_boxes(one[None], (224, 224)) for one in maps])
    assert torch.equal(together, alone)


def test_rounding_ends_no_box_beyond_the_image() -> None:
    for side, size in ((12, 473), (11, 491), (14, 484)):
        boxes = mask_boxes(torch.ones(1, side, side, dtype=torch.bool), (size, size))
        assert boxes.tolist() == [[0, 0, size, size]]
