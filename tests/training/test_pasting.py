"""Objects before other images' backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from tlaam.config.schema import Config
from tlaam.errors import ConfigError
from tlaam.training.pasting import filled, on_other_backgrounds

SIDE, CELLS = 64, 16


def scenes() -> tuple[Tensor, Tensor]:
    """Return three images, squares of levels 200, 210 and 220 before levels 20, 40 and 60, and their masks."""
    masks = torch.zeros(3, CELLS, CELLS, dtype=torch.uint8)
    masks[:, 4:12, 4:12] = 255
    inside = masks.repeat_interleave(SIDE // CELLS, 1).repeat_interleave(SIDE // CELLS, 2)[:, None] > 0
    objects = torch.tensor([200, 210, 220]).view(3, 1, 1, 1)
    grounds = torch.tensor([20, 40, 60]).view(3, 1, 1, 1)
    return torch.where(inside, objects, grounds).to(torch.uint8).expand(3, 3, SIDE, SIDE).clone(), masks


def test_each_object_stands_before_anothers_background() -> None:
    images, masks = scenes()
    torch.manual_seed(0)
    made = on_other_backgrounds(images, masks, 1.0)
    assert made.dtype == torch.uint8
    middle, corner = made[:, 0, SIDE // 2, SIDE // 2].tolist(), made[:, 0, 0, 0].tolist()
    assert middle == [200, 210, 220]  # the object is its own
    assert sorted(corner) == [20, 40, 60]
    assert all(ground != own for ground, own in zip(corner, [20, 40, 60], strict=True))  # and the background is not


def test_nothing_of_the_lenders_object_is_left() -> None:
    """The borrower's object is small: behind it the lender's, which was larger, must not show."""
    images, masks = scenes()
    images, masks = images[:2].clone(), masks[:2].clone()
    masks[0] = 0
    masks[0, 7:10, 7:10] = 255
    torch.manual_seed(0)
    made = on_other_backgrounds(images, masks, 1.0)[0, 0]
    assert int(made[SIDE // 2, SIDE // 2]) == 200
    beside = made[22:26, 22:26].float()  # inside the lender's object, outside the borrower's: filled
    assert float((beside - 40).abs().max()) < 12


def test_an_image_without_object_or_without_background_takes_no_part() -> None:
    images, masks = scenes()
    masks[0], masks[1] = 0, 255
    torch.manual_seed(0)
    torch.testing.assert_close(on_other_backgrounds(images, masks, 1.0), images)


def test_as_many_as_are_asked_for() -> None:
    images, masks = scenes()
    images, masks = images.repeat(100, 1, 1, 1), masks.repeat(100, 1, 1)
    torch.manual_seed(0)
    assert torch.equal(on_other_backgrounds(images, masks, 0.0), images)
    made = on_other_backgrounds(images, masks, 0.5)
    changed = (made != images)[:, 0, 0, 0].float().mean()
    assert 0.25 < float(changed) < 0.42  # a third: of half of them one in three lenders has the same background


def test_what_is_not_known_becomes_what_is_around_it() -> None:
    ramp = torch.linspace(0, 100, 33).expand(1, 3, 33, 33).clone()  # an odd side
    known = torch.ones(1, 1, 33, 33)
    known[..., 12:20, 12:20] = 0
    spoiled = torch.where(known > 0, ramp, torch.tensor(1e6))
    made = filled(spoiled, known)
    outside = known.expand_as(made) > 0
    torch.testing.assert_close(made[outside], ramp[outside])
    assert float((made - ramp).abs().max()) < 15


def test_an_object_that_covers_more_than_four_fifths_takes_no_part() -> None:
    images, _ = scenes()
    masks = torch.zeros(3, CELLS * CELLS, dtype=torch.uint8)
    masks[:, :205] = 255  # of 256 cells: 0.801
    masks = masks.reshape(3, CELLS, CELLS)
    torch.manual_seed(0)
    assert torch.equal(on_other_backgrounds(images, masks, 1.0), images)
    masks[:, 12, 8:] = 0  # 0.77
    assert not torch.equal(on_other_backgrounds(images, masks, 1.0), images)
    tiny = torch.zeros(3, CELLS, CELLS, dtype=torch.uint8)
    tiny[:, 3, :5] = 255  # 0.0195
    assert torch.equal(on_other_backgrounds(images, tiny, 1.0), images)
    tiny[:, 3, :6] = 255
    assert not torch.equal(on_other_backgrounds(images, tiny, 1.0), images)


def test_the_hole_is_the_object_and_a_cell_around_it() -> None:
    torch.manual_seed(3)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    masks = torch.zeros(2, CELLS, CELLS, dtype=torch.uint8)
    masks[0, 9:16, 10:16] = masks[1, :5, 2:9] = 255  # in two corners
    made = on_other_backgrounds(images, masks, 1.0)
    size = {"size": (SIDE, SIDE), "mode": "bilinear", "align_corners": False}
    for own, lender in ((0, 1), (1, 0)):
        cells = masks[lender].numpy() / 255
        hole = functional.interpolate(torch.from_numpy(ndimage.maximum_filter(cells, 3))[None, None].float(), **size)
        picture = images[lender][None].float()
        background = picture * (1 - hole) + filled(picture, 1 - hole) * hole
        here = functional.interpolate(masks[own][None, None].float() / 255, **size)
        expected = (images[own] * here + background * (1 - here)).round()[0]
        assert (made[own].float() - expected).abs().max() <= 1  # rounding


def slow_fill(image: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pull and push of one channel, cell by cell."""
    side = len(image)
    if side == 1:
        return image
    half = -(-side // 2)
    coarse, weight = np.zeros((half, half)), np.zeros((half, half))
    for y in range(half):
        for x in range(half):
            block = (slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2))
            weight[y, x] = known[block].mean()
            coarse[y, x] = (image * known)[block].mean() / max(weight[y, x], 1e-6)
    below = slow_fill(coarse, np.minimum(4 * weight, 1))
    places = np.clip((np.arange(side) + 0.5) * half / side - 0.5, 0, half - 1)
    rows = np.stack([np.interp(places, np.arange(half), column) for column in below.T], axis=1)
    fine = np.stack([np.interp(places, np.arange(half), row) for row in rows])
    return known * image + (1 - known) * fine


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8, 13])
def test_filling_equals_a_slow_one(side: int) -> None:
    random = np.random.default_rng(side)
    images = random.random((2, 3, side, side))
    known = np.where(random.random((2, 1, side, side)) < 0.3, random.random((2, 1, side, side)), 0.0)
    known[0, 0, 0, 0] = 1.0
    found = filled(torch.from_numpy(images), torch.from_numpy(known))
    expected = [
        [slow_fill(channel, weight[0]) for channel in image] for image, weight in zip(images, known, strict=True)
    ]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-9)


def test_it_needs_pseudo_masks() -> None:
    with pytest.raises(ConfigError, match="paste goes with localizer=foreground"):
        Config.from_flat({"paste": 0.5, "localizer": "oaam"})
    assert Config.from_flat({"paste": 0.5}).training.paste == 0.5
