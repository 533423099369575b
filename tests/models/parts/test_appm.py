"""APPM against a slow loop; windows on fine, coarse and one-cell maps; non-maximum suppression at its edges."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from tlaam.errors import ModelError
from tlaam.models.parts.appm import (
    APPM,
    CUB_COUNTS,
    CUB_WINDOWS,
    VEHICLE_COUNTS,
    VEHICLE_WINDOWS,
    sliding_windows,
    strongest_apart,
    window_cells,
    window_scores,
)

Box = tuple[int, int, int, int]
CPU = torch.device("cpu")


def area(box: Box) -> int:
    return max(0, box[2] - box[0]) * max(0, box[3] - box[1])


def overlap(a: Box, b: Box) -> Fraction:
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return Fraction(shared, area(a) + area(b) - shared)


def reference(heat: list[list[float]], appm: APPM, size: int) -> list[list[float]]:
    """One image's part boxes from its channel sum, written out; overlaps in exact fractions."""
    height, width = len(heat), len(heat[0])
    parts: list[list[float]] = []
    for scale, count in zip(appm.windows, appm.counts, strict=True):
        scored: dict[Box, float] = {}
        for share_high, share_wide in scale:
            high = min(height, max(1, int(round(share_high * 14) * height / 14 + 0.5)))
            wide = min(width, max(1, int(round(share_wide * 14) * width / 14 + 0.5)))
            for y in range(height - high + 1):
                for x in range(width - wide + 1):
                    cells = [heat[y + i][x + j] for i in range(high) for j in range(wide)]
                    scored[x, y, x + wide, y + high] = sum(cells) / len(cells)
        left = sorted(scored, key=lambda box: -scored[box])
        chosen: list[Box] = []
        while left and len(chosen) < count:
            chosen.append(left[0])
            left = [box for box in left if overlap(box, chosen[-1]) < Fraction(1, 4)]
        chosen += chosen[-1:] * (count - len(chosen))
        parts += [[x0 * size / width, y0 * size / height, x1 * size / width, y1 * size / height]
                  for x0, y0, x1, y1 in chosen]  # fmt: skip
    return parts


@pytest.mark.parametrize(("windows", "counts"), [(CUB_WINDOWS, CUB_COUNTS), (VEHICLE_WINDOWS, VEHICLE_COUNTS)])
@pytest.mark.parametrize(("height", "width"), [(14, 14), (7, 7), (5, 9), (13, 11), (2, 3), (1, 4), (1, 1)])
def test_parts_equal_a_slow_loop(windows: object, counts: tuple[int, ...], height: int, width: int) -> None:
    appm = APPM(windows, counts)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    # float64, so that no rounding decides between windows; in every second image what is bright is next to each other.
    features = torch.randn(4, 6, height, width, generator=generator, dtype=torch.float64)
    features[1::2] = torch.nn.functional.avg_pool2d(features[1::2], 5, stride=1, padding=2)
    found = appm(features, 448)
    assert found.shape == (4, appm.count, 4) and found.dtype == torch.float32
    expected = [reference(maps.sum(0).tolist(), appm, 448) for maps in features]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-6, atol=0)


def test_windows_of_the_paper_in_cells() -> None:
    cells = [[(4, 4), (3, 5), (5, 3)], [(6, 6), (5, 7), (7, 5)],
             [(8, 8), (6, 10), (10, 6), (7, 9), (9, 7), (7, 10), (10, 7)]]  # fmt: skip
    assert [window_cells(scale, 14, 14) for scale in CUB_WINDOWS] == cells
    twice = [[(2 * high, 2 * wide) for high, wide in scale] for scale in cells]
    assert [window_cells(scale, 28, 28) for scale in CUB_WINDOWS] == twice
    assert APPM().count == 7 and APPM().reach == 10 / 14
    vehicles = APPM(VEHICLE_WINDOWS, VEHICLE_COUNTS)
    assert vehicles.count == 6 and vehicles.reach == 12 / 14


def test_windows_on_a_coarse_map_are_rounded_and_counted_once() -> None:
    assert [window_cells(scale, 7, 7) for scale in CUB_WINDOWS] == [
        [(2, 2), (2, 3), (3, 2)],
        [(3, 3), (3, 4), (4, 3)],
        [(4, 4), (3, 5), (5, 3), (4, 5), (5, 4)],
    ]
    assert [window_cells(scale, 1, 1) for scale in CUB_WINDOWS] == [[(1, 1)]] * 3
    assert window_cells([(1.0, 0.01)], 5, 9) == [(5, 1)]


def test_windows_and_scores_are_in_the_same_order() -> None:
    sides = [(2, 1), (1, 3)]
    boxes = sliding_windows(sides, 2, 4, CPU)
    assert boxes.tolist() == [[0, 0, 1, 2], [1, 0, 2, 2], [2, 0, 3, 2], [3, 0, 4, 2],
                              [0, 0, 3, 1], [1, 0, 4, 1], [0, 1, 3, 2], [1, 1, 4, 2]]  # fmt: skip
    heat = torch.arange(8.0).reshape(1, 2, 4)
    assert window_scores(heat, sides).tolist() == [[2, 3, 4, 5, 1, 2, 5, 6]]


def test_a_bright_place_gets_the_window_of_its_shape() -> None:
    features = torch.zeros(1, 3, 14, 14)
    features[0, 1, 1:4, 8:13] = 1.0
    assert APPM()(features, 448)[0, 0].tolist() == [8 * 32, 1 * 32, 13 * 32, 4 * 32]


def test_a_flat_map_gives_the_first_windows_that_are_apart() -> None:
    boxes = APPM()(torch.ones(2, 4, 14, 14), 448)
    assert torch.equal(boxes[0], boxes[1])
    # 4×4 cells in row 0: three cells further, 4 of 28 cells are shared, two cells further 8 of 24.
    assert boxes[0, :2].tolist() == [[0, 0, 128, 128], [96, 0, 224, 128]]


def test_a_one_cell_map_repeats_the_whole_image() -> None:
    boxes = APPM()(torch.randn(3, 4, 1, 1, generator=torch.Generator().manual_seed(1)), 224)
    assert torch.equal(boxes, torch.tensor([0.0, 0.0, 224.0, 224.0]).expand(3, 7, 4))


def test_too_few_windows_apart_repeat_the_last() -> None:
    boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [1.0, 0.0, 5.0, 4.0], [9.0, 0.0, 13.0, 4.0]])
    scores = torch.tensor([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [-3.0, -1.0, -2.0]])
    assert strongest_apart(scores, boxes, 4, 0.25).tolist() == [[0, 2, 2, 2], [2, 1, 1, 1], [1, 2, 2, 2]]


def test_an_overlap_of_exactly_the_threshold_suppresses() -> None:
    boxes = torch.tensor([[0.0, 0.0, 5.0, 3.0], [2.0, 1.0, 7.0, 4.0], [3.0, 1.0, 8.0, 4.0]])  # IoU with the first:
    assert [overlap((0, 0, 5, 3), other) for other in [(2, 1, 7, 4), (3, 1, 8, 4)]] == [Fraction(1, 4), Fraction(2, 13)]
    scores = torch.tensor([[3.0, 2.0, 1.0]])
    assert strongest_apart(scores, boxes, 2, 0.25).tolist() == [[0, 2]]
    assert strongest_apart(scores, boxes, 2, 0.26).tolist() == [[0, 1]]


def test_of_equal_scores_the_first_is_chosen() -> None:
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 3.0, 1.0], [4.0, 0.0, 5.0, 1.0]])
    assert strongest_apart(torch.tensor([[1.0, 2.0, 2.0]]), boxes, 3, 0.25).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("side", [7, 13, 14])
def test_every_window_is_inside_whatever_the_features_are(side: int) -> None:
    features = torch.randn(6, 8, side, side, generator=torch.Generator().manual_seed(2))
    features[1, :, 2, 2], features[2], features[3, 0, 0] = torch.nan, torch.nan, torch.inf
    boxes = APPM()(features, 100)
    assert boxes.min() >= 0 and boxes.max() <= 100
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_one_image_is_its_row_in_a_batch() -> None:
    features = torch.randn(9, 16, 14, 14, generator=torch.Generator().manual_seed(3))
    appm = APPM()
    together = appm(features, 448)
    assert torch.equal(together, torch.cat([appm(maps[None], 448) for maps in features]))
    assert len(together.unique(dim=0)) == 9


def test_half_precision_features_give_float32_boxes_without_gradient() -> None:
    features = torch.randn(2, 8, 7, 7, generator=torch.Generator().manual_seed(4)).to(torch.bfloat16)
    boxes = APPM()(features.requires_grad_(), 224)
    assert boxes.dtype == torch.float32 and not boxes.requires_grad
    assert torch.equal(boxes, APPM()(features.detach().float(), 224))


def test_no_step_depends_on_data() -> None:
    # Tensors without data: reading one raises.
    assert APPM()(torch.empty(2, 8, 7, 7, device="meta"), 224).shape == (2, 7, 4)


@pytest.mark.parametrize(
    ("windows", "counts", "iou", "message"),
    [
        ([[(0.5, 0.5)]], [1, 2], 0.25, "one count a scale"),
        ([], [], 0.25, "one count a scale"),
        ([[]], [1], 0.25, "at least one"),
        ([[(0.5, 1.5)]], [1], 0.25, "at most 1"),
        ([[(0.0, 0.5)]], [1], 0.25, "above 0"),
        ([[(0.5, 0.5)]], [0], 0.25, "at least 1"),
        ([[(0.5, 0.5)]], [1], 0.0, "IoU of 0.0"),
        ([[(0.5, 0.5)]], [1], 25.0, "IoU of 25.0"),
    ],
)
def test_impossible_settings_are_refused(
    windows: list[list[tuple[float, float]]], counts: list[int], iou: float, message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        APPM(windows, counts, iou)
