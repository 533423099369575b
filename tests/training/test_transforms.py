from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from tlaam.data.input_image import to_input
from tlaam.training.transforms import Augment, jitter_colors

BOX = np.array([48.0, 30.0, 140.0, 90.0])


def _picture() -> Image.Image:
    pixels = np.zeros((150, 200, 3), dtype=np.uint8)
    pixels[30:90, 48:140, 0] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("crop_scale", [1.0, 0.4])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_boxes_follow_the_pixels(crop_scale: float, jitter: float) -> None:
    augment = Augment(128, flip=True, jitter=jitter, crop_scale=crop_scale)
    places = set()
    for seed in range(25):
        input_image, box, _, _ = augment(_picture(), BOX, seed)
        assert input_image.shape == (3, 128, 128) and input_image.dtype == torch.uint8
        rows, columns = torch.nonzero(input_image[0] > input_image[0].max() / 2, as_tuple=True)
        found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (found - box).abs().max() <= 1.0
        places.add(tuple(box.tolist()))
    assert len(places) == (2 if crop_scale == 1 else 25)


def test_without_augmentation_it_is_the_input_image() -> None:
    input_image, box, mask, color_jitter = Augment(64, flip=False, jitter=0, crop_scale=1)(_picture(), None, 0)
    assert np.array_equal(input_image.numpy(), to_input(_picture(), 64))
    assert box.isnan().all() and mask is None and color_jitter.tolist() == [1, 1]


def test_a_box_that_the_crop_lost_is_none() -> None:
    augment = Augment(64, flip=False, jitter=0, crop_scale=0.05)
    corner = np.array([0.0, 0.0, 4.0, 4.0])
    boxes = [augment(_picture(), corner, seed)[1] for seed in range(20)]
    assert any(box.isnan().all() for box in boxes)
    assert all(box.isnan().all() or (box[2:] > box[:2]).all() for box in boxes)


def test_seed_decides_and_the_callers_random_state_stays() -> None:
    augment = Augment(64, flip=True, jitter=0.2, crop_scale=0.5)
    state = torch.random.get_rng_state()
    first = augment(_picture(), BOX, 7)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.rand(3)
    again, other = augment(_picture(), BOX, 7), augment(_picture(), BOX, 8)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("crop_scale", [1.0, 0.4])
def test_masks_follow_the_pixels(crop_scale: float) -> None:
    augment = Augment(128, flip=True, jitter=0.1, crop_scale=crop_scale)
    mask = torch.zeros(50, 50, dtype=torch.uint8)
    mask[10:30, 12:35] = 255  # the red rectangle's cells, of 3 × 4 pixels
    for seed in range(25):
        input_image, _, cells, _ = augment(_picture(), BOX, seed, mask)
        assert cells is not None and cells.shape == (50, 50) and set(cells.unique().tolist()) <= {0, 255}
        red = torch.nn.functional.interpolate(
            (input_image[:1] > input_image[0].max() / 2)[None].float(), (50, 50), mode="area"
        )
        assert ((cells > 0) != (red[0, 0] > 0.5)).float().mean() < 0.04  # rounding along the edges only


def test_a_mask_changes_nothing_else() -> None:
    augment = Augment(64, flip=True, jitter=0.2, crop_scale=0.5)
    without, with_mask = augment(_picture(), BOX, 3), augment(_picture(), BOX, 3, torch.zeros(8, 8, dtype=torch.uint8))
    assert torch.equal(without.input_image, with_mask.input_image) and torch.equal(without.box, with_mask.box)


def test_a_input_image_made_before_becomes_what_its_image_does() -> None:
    augment = Augment(64, flip=True, jitter=0.2, crop_scale=1)
    input_image, scale = to_input(_picture(), 64), np.array([64 / 200, 64 / 150] * 2)
    for seed in range(4):
        ours, theirs = augment(input_image, BOX * scale, seed), augment(_picture(), BOX, seed)
        assert torch.equal(ours.input_image, theirs.input_image) and torch.equal(ours.color_jitter, theirs.color_jitter)
        torch.testing.assert_close(ours.box, theirs.box)


def test_light_is_pillows_brightness_and_then_contrast() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    color_jitter = torch.tensor([[1.4, 0.7], [0.6, 1.5]])
    found = jitter_colors(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()), color_jitter)
    for image, (brightness, contrast), made in zip(pixels, color_jitter.tolist(), found, strict=True):
        bright = ImageEnhance.Brightness(Image.fromarray(image)).enhance(brightness)
        expected = np.asarray(ImageEnhance.Contrast(bright).enhance(contrast)).transpose(2, 0, 1)
        assert np.abs(made.numpy() * 255 - expected).max() < 2.5  # Pillow rounds after each step


def test_light_of_one_changes_nothing_and_factors_stay_within_their_range() -> None:
    inputs = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(jitter_colors(inputs, torch.ones(2, 2)), inputs / 255)
    augment = Augment(8, flip=False, jitter=0.3, crop_scale=1)
    lights = torch.stack([augment(inputs[0].numpy(), None, seed).color_jitter for seed in range(100)])
    assert (lights.amin() >= 0.7) and (lights.amax() <= 1.3) and (lights.std(0) > 0.1).all()


@pytest.mark.parametrize(("crop_scale", "side"), [(1.0, 1.0), (0.3, (0.3 * 0.75) ** 0.5)])
def test_no_crop_is_narrower_than_its_smallest_side(crop_scale: float, side: float) -> None:
    augment = Augment(64, flip=False, jitter=0, crop_scale=crop_scale)
    assert augment.smallest_side == pytest.approx(side)
    torch.manual_seed(0)
    crops = [augment._crop(300, 300) for _ in range(200)]
    shares = [min(x1 - x0, y1 - y0) / 300 for x0, y0, x1, y1 in crops]
    assert side - 1 / 300 <= min(shares) <= side + 0.2 and all(0 <= low < high <= 300 for low, _, high, _ in crops)


def test_a_box_that_reaches_the_edge_reaches_it_afterwards() -> None:
    plain = Augment(50, flip=False, jitter=0, crop_scale=1)
    whole = plain(_picture(), np.array([0.0, 0.0, 200.0, 150.0]), 0).box
    assert whole.tolist() == [0, 0, 50, 50]
    assert plain(_picture(), np.array([-20.0, 30.0, 100.0, 400.0]), 0).box.tolist() == [0, 10, 25, 50]
    nowhere = plain(_picture(), np.array([300.0, 0.0, 400.0, 10.0]), 0).box
    assert nowhere.shape == plain(_picture(), None, 0).box.shape == (4,) and nowhere.isnan().all()


def test_a_mask_of_the_whole_image_stays_cell_by_cell_and_mirrored() -> None:
    cells = torch.arange(49, dtype=torch.uint8).reshape(7, 7)
    assert torch.equal(Augment(64, flip=False, jitter=0, crop_scale=1)(_picture(), None, 0, cells).mask, cells)
    found = [Augment(64, flip=True, jitter=0, crop_scale=1)(_picture(), None, seed, cells).mask for seed in range(30)]
    flipped = [not torch.equal(mask, cells) for mask in found]
    assert 5 < sum(flipped) < 25
    assert all(
        torch.equal(mask, cells.flip(1) if turned else cells) for mask, turned in zip(found, flipped, strict=True)
    )


def test_light_is_cut_off_at_black_and_white() -> None:
    inputs = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    inputs[..., 0] = 255
    made = jitter_colors(inputs, torch.tensor([[1.0, 2.0]]))  # around a grey of a half: -0.5 and 1.5
    assert torch.equal(made, inputs / 255)
    dim = jitter_colors(inputs, torch.tensor([[0.5, 2.0]]))  # around a quarter: 2 · 0.5 - 0.25
    torch.testing.assert_close(dim[..., 0], torch.full((1, 3, 2), 0.75))


def _white() -> tuple[Image.Image, torch.Tensor]:
    """Return a black picture with a white rectangle at `BOX`, and its pseudo mask."""
    pixels = np.zeros((150, 200, 3), dtype=np.uint8)
    pixels[30:90, 48:140] = 255
    rows, columns = (np.arange(32) + 0.5) / 32 * 150, (np.arange(32) + 0.5) / 32 * 200
    inside = np.outer((rows >= 30) & (rows < 90), (columns >= 48) & (columns < 140))
    return Image.fromarray(pixels), torch.from_numpy(np.where(inside, 255, 0).astype(np.uint8))


@pytest.mark.parametrize(("strength", "looser"), [("medium", 3), ("strong", 10)])
def test_boxes_and_masks_follow_a_warp(strength: str, looser: int) -> None:
    """A box that is warped twice is the box around a box, so that it is looser; it never cuts the object."""
    augment = Augment(128, flip=True, jitter=0.2, crop_scale=0.8, strength=strength)
    image, mask = _white()
    places = set()
    for seed in range(40):
        input_image, box, moved, _ = augment(image, BOX, seed, mask)
        assert input_image.shape == (3, 128, 128) and input_image.dtype == torch.uint8
        assert moved is not None and moved.shape == mask.shape and moved.dtype == torch.uint8
        white = input_image.float().mean(0) > 190  # beyond the edge it is darker
        rows, columns = torch.nonzero(white, as_tuple=True)
        found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        outside = (box - found) * torch.tensor([-1, -1, 1, 1])
        assert outside.min() >= -3 and outside.max() <= looser, seed
        cells = white[2::4, 2::4]
        marked = moved > 127
        assert (cells & marked).sum() / (cells | marked).sum() > 0.75, seed
        places.add(tuple(box.tolist()))
    assert len(places) == 40


def test_strengths_differ_and_light_is_what_it_was() -> None:
    image, mask = _white()
    made = {
        name: Augment(96, flip=True, jitter=0.2, crop_scale=0.8, strength=name)(image, BOX, 3, mask)
        for name in ("light", "medium", "strong")
    }
    plain = Augment(96, flip=True, jitter=0.2, crop_scale=0.8)(image, BOX, 3, mask)
    assert all(torch.equal(one, other) for one, other in zip(made["light"], plain, strict=True))
    assert not torch.equal(made["medium"].input_image, made["light"].input_image)
    assert not torch.equal(made["medium"].input_image, made["strong"].input_image)
    assert all(torch.equal(each.color_jitter, plain.color_jitter) for each in made.values())


def test_a_warp_needs_neither_box_nor_mask() -> None:
    image, _ = _white()
    augment = Augment(64, flip=False, jitter=0, crop_scale=1, strength="strong")
    state = torch.random.get_rng_state()
    input_image, box, mask, _ = augment(image, None, 5)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert box.isnan().all() and mask is None and input_image.dtype == torch.uint8
    assert torch.equal(augment(image, None, 5).input_image, input_image)
