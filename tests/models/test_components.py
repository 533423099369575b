"""Several components of a map: as a slow loop finds them, the largest first."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from tlaam.models.components import map_components


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (9, 9), (16, 13)])
def test_they_are_those_of_a_slow_labelling(height: int, width: int) -> None:
    random = np.random.default_rng(height * width)
    maps = random.random((4, height, width)).astype(np.float32)
    maps[3] = 0
    most = 5
    found = map_components(torch.from_numpy(maps), (10 * height, 100 * width), threshold=0.7, most=most)
    assert found.boxes.shape == (4, most, 4) and found.areas.shape == found.peaks.shape == found.means.shape == (
        4,
        most,
    )
    for row, values in enumerate(maps):
        labels, count = ndimage.label(values > 0.7, np.ones((3, 3)))
        wanted = []
        for number, (y, x) in enumerate(ndimage.find_objects(labels), start=1):
            inside = values[labels == number]
            box = (100 * x.start, 10 * y.start, 100 * x.stop, 10 * y.stop)
            wanted.append((len(inside), box, inside.max(), inside.mean()))
        wanted.sort(key=lambda each: -each[0])
        np.testing.assert_allclose(
            found.areas[row], [*(each[0] / values.size for each in wanted), *[0] * most][:most], rtol=1e-6
        )
        by_box = {each[1]: each[2:] for each in wanted}
        for place in range(min(most, count)):
            peak, mean = by_box[tuple(found.boxes[row, place].round().int().tolist())]
            assert found.peaks[row, place] == pytest.approx(peak) and found.means[row, place] == pytest.approx(mean)
        assert (found.peaks[row, count:] == 0).all() and (found.means[row, count:] == 0).all()


def test_a_map_that_is_one_component_fills_the_image() -> None:
    found = map_components(torch.ones(1, 4, 6), (40, 60), threshold=0.5, most=2, upsample=2)
    assert found.boxes[0, 0].tolist() == [0, 0, 60, 40] and found.areas.tolist() == [[1, 0]]


def test_values_that_are_no_numbers_are_no_component() -> None:
    maps = torch.full((1, 3, 3), float("nan"))
    maps[0, 1, 1] = 0.9
    found = map_components(maps, (3, 3), threshold=0.5, most=3)
    assert found.areas[0].tolist() == pytest.approx([1 / 9, 0, 0]) and found.boxes[0, 0].tolist() == [1, 1, 2, 2]
    assert found.means[0, 0] == pytest.approx(0.9)
