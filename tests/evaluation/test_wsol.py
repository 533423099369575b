"""The localisation protocol: figures of the authors' code on the same maps, and answers known by construction."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from tlaam.errors import DataError
from tlaam.evaluation.wsol import (
    LEVELS,
    SIDE,
    THRESHOLDS,
    BoxAccuracy,
    box_accuracy,
    pixel_average_precision,
    score_map,
)

Maps = list[NDArray[np.float64]]

# Of the largest outline at IoU 0.5, then of any at 0.3, 0.5 and 0.7: images right at the best threshold, and summed
# over all thresholds.
PUBLIC_MAXIMA = [14, 22, 14, 8]
PUBLIC_SUMS = [5013, 10291, 5013, 1902]
PUBLIC_PXAP = 0.5020775101370714


def scenes(count: int = 24) -> tuple[Maps, NDArray[np.float64], NDArray[np.float64], Maps]:
    """Maps with a bright place near each image's object and noise of all grains: many components, many holes."""
    random = np.random.default_rng(11)
    maps, boxes, sizes, masks = [], [], [], []
    for index in range(count):
        width, height = random.integers(150, 500, 2)
        x, y = random.integers(0, width // 2), random.integers(0, height // 2)
        right, bottom = x + random.integers(30, width // 2), y + random.integers(30, height // 2)
        side = (7, 14, 28, 56)[index % 4]
        centre_x, centre_y = (x + right) / 2 / width * side, (y + bottom) / 2 / height * side
        columns, rows = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5)
        bright = np.exp(-((columns - centre_x) ** 2 + (rows - centre_y) ** 2) / (side / 4) ** 2)
        maps.append(bright + 0.4 * ndimage.gaussian_filter(random.random((side, side)), 0.3 * (index % 5)))
        boxes.append([x, y, right, bottom])
        sizes.append([width, height])
        mask = ndimage.gaussian_filter(random.random((SIDE, SIDE)), 20) > 0.5
        masks.append(np.where(random.random((SIDE, SIDE)) > 0.9, 255, mask).astype(np.float64))
    return maps, np.array(boxes, float), np.array(sizes, float), masks


def test_boxes_equal_wsolevaluation() -> None:
    """Measured with the public `BoxEvaluator` (commit 96f4b88, OpenCV 5.0) on these very maps."""
    maps, boxes, sizes, _ = scenes()
    found = box_accuracy(maps, boxes, sizes)
    assert found.largest.shape == (len(THRESHOLDS),) and found.any.shape == (len(LEVELS), len(THRESHOLDS))
    counts = np.rint(24 * np.vstack([found.largest, found.any])).astype(int)
    assert counts.max(1).tolist() == PUBLIC_MAXIMA
    assert counts.sum(1).tolist() == PUBLIC_SUMS


def test_pixels_equal_wsolevaluation() -> None:
    """Measured with the public `MaskEvaluator`, likewise."""
    maps, _, _, masks = scenes()
    assert pixel_average_precision(maps, masks) == pytest.approx(PUBLIC_PXAP, abs=1e-9)


def square(x0: int, y0: int, x1: int, y1: int, value: float = 1.0) -> NDArray[np.float64]:
    heat = np.zeros((SIDE, SIDE))
    heat[y0:y1, x0:x1] = value
    return heat


def test_a_map_that_is_the_box_is_right_at_every_threshold() -> None:
    found = box_accuracy([square(60, 20, 180, 100)], np.array([[120.0, 20, 360, 100]]), np.array([[448.0, 224]]))
    assert (found.largest == 1).all() and (found.any == 1).all()
    assert found.max_box_acc == 1 and found.max_box_acc_v2 == 1


def test_maxboxacc_takes_the_largest_outline_and_v2_any() -> None:
    heat = square(0, 0, 150, 150, 0.8) + square(180, 180, 220, 220)
    found = box_accuracy([heat], np.array([[180.0, 180, 220, 220]]), np.array([[SIDE, SIDE]]))
    assert not found.largest[:790].any() and found.largest[810:].all()
    assert found.any.all()


def test_a_threshold_of_other_images_is_no_oracle() -> None:
    small, wide = np.array([[80.0, 80, 140, 140]]), np.array([[20.0, 20, 200, 200]])
    heat = square(20, 20, 200, 200, 0.5) + square(80, 80, 140, 140, 0.5)
    size = np.array([[SIDE, SIDE]])
    right_low, right_high = box_accuracy([heat], wide, size), box_accuracy([heat], small, size)
    assert right_low.max_box_acc == right_high.max_box_acc == 1
    assert right_high.at_threshold_of(right_low) == (0, 0)
    assert right_low.at_threshold_of(right_low) == (1, 1)


def test_of_equally_good_thresholds_the_middle_one_is_taken() -> None:
    validation = np.zeros(1000)
    validation[100:201] = 0.5
    measured = np.arange(1000) / 1000
    found = BoxAccuracy(measured, np.stack([measured] * 3)).at_threshold_of(
        BoxAccuracy(validation, np.stack([validation] * 3))
    )
    assert found == (pytest.approx(0.150), pytest.approx(0.150))


@pytest.mark.parametrize("value", [0.0, 3.0, np.nan])
def test_a_flat_map_finds_nothing(value: float) -> None:
    assert (score_map(np.full((7, 7), value)) == 0).all()
    found = box_accuracy([np.full((7, 7), value)], np.array([[0.0, 0, 10, 10]]), np.array([[10.0, 10]]))
    assert not found.largest.any() and not found.any.any()


def test_a_perfect_map_has_precision_one() -> None:
    mask = square(30, 40, 90, 100).astype(int)
    assert pixel_average_precision([mask.astype(float)], [mask]) == pytest.approx(1.0)
    unknown = np.where(square(0, 0, SIDE, 120) > 0, 255, mask)
    with pytest.raises(DataError, match="no mask shows an object"):
        pixel_average_precision([mask.astype(float)], [unknown])
    with pytest.raises(DataError, match="224"):
        pixel_average_precision([mask.astype(float)], [mask[:100]])


def test_no_map_and_unequal_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="Received 1 score maps, 2 boxes"):
        box_accuracy([np.eye(3)], np.zeros((2, 4)), np.ones((2, 2)))
    with pytest.raises(DataError, match="at least one image"):
        box_accuracy([], np.zeros((0, 4)), np.zeros((0, 2)))
    assert BoxAccuracy(np.zeros(1000), np.zeros((3, 1000))).max_box_acc == 0
