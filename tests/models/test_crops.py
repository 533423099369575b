"""Crops against Pillow and against slow arithmetic; box composition round trips."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from tlaam.models.crops import (
    by_columns,
    compose_boxes,
    crop_and_resize,
    resize_whole,
    sample_grid,
    whole_image_boxes,
)


def smooth(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 5, width), indexing="ij")
    return torch.stack([(x.sin() + 1) / 2, (y.cos() + 1) / 2, ((x * y).sin() + 1) / 2])[None]


def test_the_whole_image_at_its_own_size_is_unchanged() -> None:
    images = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(crop_and_resize(images, whole_image_boxes(images)[:, None], 24), images)


def test_halving_the_whole_image_is_its_block_mean() -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.avg_pool2d(images, 2)
    torch.testing.assert_close(crop_and_resize(images, whole_image_boxes(images)[:, None], 16), expected)


def test_a_box_on_pixel_edges_is_that_piece() -> None:
    images = torch.rand(1, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[[7.0, 5.0, 27.0, 25.0]]])
    found = crop_and_resize(images, boxes, 20, reach=1 / 3)
    torch.testing.assert_close(found, images[:, :, 5:25, 7:27], rtol=0, atol=1e-5)


def test_it_agrees_with_pillow_on_a_smooth_picture() -> None:
    images = smooth(90, 120)
    array = (images[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    for box, size in [((10.0, 20.0, 100.0, 80.0), 32), ((30.0, 30.0, 50.0, 55.0), 48), ((0.0, 0.0, 120.0, 90.0), 30)]:
        expected = Image.fromarray(array).resize((size, size), Image.Resampling.BILINEAR, box=box)
        found = crop_and_resize(images, torch.tensor([[box]]), size)[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(found - np.asarray(expected, dtype=np.float32)).mean() < 1.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_the_mean_of_bilinear_samples_on_a_lattice(dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(2)
    images = torch.rand(3, 3, 26, 34, generator=rng).to(dtype)
    corners = torch.rand(3, 4, 2, 2, generator=rng).sort(2).values * torch.tensor([40.0, 30.0]) - 3  # some stick out
    boxes = corners.flatten(2)
    size, samples = 8, 5  # ceil(34 / 8)
    found = crop_and_resize(images, boxes, size)
    steps = (torch.arange(size * samples) + 0.5) / (size * samples)
    for crop, box in enumerate(boxes.flatten(0, 1)):
        x, y = box[0] + (box[2] - box[0]) * steps, box[1] + (box[3] - box[1]) * steps
        grid = torch.stack(torch.meshgrid(2 * x / 34 - 1, 2 * y / 26 - 1, indexing="xy"), dim=2)[None]
        image = images[crop // 4][None].float()
        fine = functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
        expected = functional.avg_pool2d(fine, samples)[0]
        tolerance = 1e-2 if dtype == torch.bfloat16 else 2e-5
        torch.testing.assert_close(found[crop].float(), expected, rtol=0, atol=tolerance)


def test_compiled_crops_are_the_same() -> None:
    images = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(3))
    boxes = torch.tensor([[[3.0, 5, 31, 29], [0, 0, 40, 40]], [[10, 10, 15, 30], [20.5, 2, 39, 38.5]]])
    compiled = torch.compile(crop_and_resize, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(images, boxes, 16), crop_and_resize(images, boxes, 16), rtol=0, atol=1e-6)


def test_images_without_layout_and_laid_out_ones_give_the_same() -> None:
    images = torch.rand(2, 3, 21, 33, generator=torch.Generator().manual_seed(4))
    boxes = whole_image_boxes(images)[:, None]
    laid_out = by_columns(images).permute(0, 3, 2, 1)
    assert torch.equal(crop_and_resize(images, boxes, 10), crop_and_resize(laid_out, boxes, 10))
    assert crop_and_resize(images, boxes, 10).is_contiguous(memory_format=torch.channels_last)


def test_a_box_that_is_no_number_harms_no_other() -> None:
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    boxes = whole_image_boxes(images)[:, None]
    boxes[0] = torch.nan
    torch.testing.assert_close(crop_and_resize(images, boxes, 16)[1], images[1])


def test_boxes_of_one_image_come_one_after_another() -> None:
    images = torch.stack([torch.full((3, 10, 10), value) for value in (0.2, 0.8)])
    boxes = torch.tensor([[[0.0, 0, 5, 5], [5, 5, 10, 10], [0, 0, 10, 10]]]).expand(2, 3, 4)
    found = crop_and_resize(images, boxes, 4)
    assert found.shape == (6, 3, 4, 4)
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.tensor([0.2] * 3 + [0.8] * 3))


def test_no_source_pixel_is_skipped_when_a_box_shrinks_much() -> None:
    images = torch.zeros(1, 3, 64, 64)
    images[..., 1::2, :] = 1.0  # a pattern that careless sampling turns all black or all white
    for picture in (images, images[..., :16]):
        found = crop_and_resize(picture, whole_image_boxes(picture)[:, None], 8)
        torch.testing.assert_close(found, torch.full_like(found, 0.5))
        even = ((torch.arange(8) + 0.5) / 8)[None]
        torch.testing.assert_close(sample_grid(picture, even, even, 8), found)


def test_no_row_of_a_tall_picture_is_skipped() -> None:
    images = torch.zeros(1, 3, 64, 16)
    images[..., ::8, :] = 1.0
    even = ((torch.arange(8) + 0.5) / 8)[None]
    for found in (
        crop_and_resize(images, whole_image_boxes(images)[:, None], 8),
        sample_grid(images, even, even, 8),
    ):
        torch.testing.assert_close(found, torch.full_like(found, 0.125))


def test_it_is_as_exact_as_its_pictures() -> None:
    images = torch.rand(1, 3, 21, 21, dtype=torch.float64)
    boxes = torch.tensor([[[0.0, 0.0, 21.0, 21.0]]], dtype=torch.float64)
    torch.testing.assert_close(crop_and_resize(images, boxes, 21), images, rtol=0, atol=1e-12)
    even = ((torch.arange(21, dtype=torch.float64) + 0.5) / 21)[None]
    torch.testing.assert_close(sample_grid(images, even, even, 21), images, rtol=0, atol=1e-6)


def test_a_picture_of_one_pixel_is_that_pixel_everywhere() -> None:
    images = torch.tensor([0.2, 0.5, 0.9]).reshape(1, 3, 1, 1)
    found = crop_and_resize(images, torch.tensor([[[0.0, 0.0, 1.0, 1.0], [-3.0, 0.5, 4.0, 9.0]]]), 4)
    torch.testing.assert_close(found, images.expand(2, 3, 4, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_in_graphs_it_keeps_the_pictures_precision(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(1, 3, 30, 30, generator=torch.Generator().manual_seed(7)).to(dtype)
    boxes = torch.tensor([[[2.0, 3.0, 25.0, 28.0]]])
    expected = crop_and_resize(images, boxes, 12)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    found = crop_and_resize(images, boxes, 12)
    assert found.dtype == expected.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-2 if dtype == torch.bfloat16 else 1e-9)


@pytest.mark.parametrize(
    ("height", "width", "size"), [(48, 48, 24), (24, 24, 24), (50, 50, 24), (48, 24, 24), (20, 20, 24)]
)
def test_a_whole_image_is_the_crop_of_its_box(height: int, width: int, size: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    expected = crop_and_resize(images, whole_image_boxes(images)[:, None], size)
    torch.testing.assert_close(resize_whole(images, size), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "reach"), [(96, 1.0), (37, 1.0), (32, 0.5), (200, 1.0)])
def test_exported_crops_are_the_same(size: int, reach: float, monkeypatch: pytest.MonkeyPatch) -> None:
    random = torch.Generator().manual_seed(size)
    images = torch.rand(2, 3, 120, 90, generator=random)
    corners = torch.rand(2, 4, 2, 2, generator=random).sort(2).values * torch.tensor([90.0, 120.0])
    boxes = corners.flatten(2) * reach
    boxes[0, 0] = torch.tensor([0.0, 0.0, 90.0, 120.0]) * reach
    boxes[0, 1] = torch.tensor([30.0, 30.0, 30.5, 31.0])
    if reach < 1:  # also where the picture ends
        boxes[1] += torch.tensor([90.0, 120.0, 90.0, 120.0]) * (1 - reach)
    x, y = torch.rand(2, 2, size, generator=random).sort(2).values
    expected, sampled = crop_and_resize(images, boxes, size, reach=reach), sample_grid(images, x, y, size)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(crop_and_resize(images, boxes, size, reach=reach), expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(sample_grid(images, x, y, size), sampled, rtol=0, atol=1e-4)


def test_uneven_columns_and_rows_average_what_lies_half_way_to_their_neighbours() -> None:
    images = torch.rand(2, 3, 12, 20, generator=torch.Generator().manual_seed(6))
    x = torch.tensor([[0.1, 0.15, 0.5, 0.6, 0.95], [0.0, 0.3, 0.5, 0.7, 1.0]])
    y = torch.tensor([[0.2, 0.3, 0.4, 0.5, 0.9], [0.05, 0.1, 0.2, 0.7, 0.8]])

    def weights(places: torch.Tensor, length: int) -> np.ndarray:
        """What each output takes of each pixel, ``(5, length)``: 4 samples, no fewer than 20 / 5 pixels."""
        at = places.numpy().astype(float)
        inner = (at[1:] + at[:-1]) / 2
        edges = [2 * at[0] - inner[0], *inner, 2 * at[-1] - inner[-1]]
        found = np.zeros((5, length))
        for output, (low, high) in enumerate(itertools.pairwise(edges)):
            for sample in range(4):
                position = np.clip((low + (high - low) * (sample + 0.5) / 4) * length - 0.5, 0, length - 1)
                left = min(int(position), length - 2)
                found[output, left] += (left + 1 - position) / 4
                found[output, left + 1] += (position - left) / 4
        return found

    made = sample_grid(images, x, y, 5)
    for image in range(2):
        across, down = weights(x[image], 20), weights(y[image], 12)
        expected = np.einsum("yi,cij,xj->cyx", down, images[image].numpy(), across)
        torch.testing.assert_close(made[image], torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-5)


def test_a_graph_takes_means_of_blocks_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    square, broad = torch.rand(2, 3, 24, 24), torch.rand(2, 3, 24, 48)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(resize_whole(square, 8), functional.avg_pool2d(square, 3))
    for images, size in ((broad, 8), (square, 10)):
        expected = crop_and_resize(images, whole_image_boxes(images)[:, None], size)
        torch.testing.assert_close(resize_whole(images, size), expected)


def test_boxes_in_a_crop_return_to_the_image() -> None:
    outer = torch.tensor([[10.0, 20.0, 110.0, 70.0]])
    inner = torch.tensor([[[0.0, 0.0, 50.0, 50.0], [25.0, 10.0, 50.0, 40.0]]])
    expected = torch.tensor([[[10.0, 20.0, 110.0, 70.0], [60.0, 30.0, 110.0, 60.0]]])
    torch.testing.assert_close(compose_boxes(inner, outer, 50), expected)
    three = inner[:, [0, 1, 1]]
    torch.testing.assert_close(compose_boxes(three, outer, 50), expected[:, [0, 1, 1]])
