from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou as matrix_iou

from tlaam.errors import DataError
from tlaam.evaluation.localization import box_iou, localization_report, pointing_game, trivial_boxes

KEYS = ["mean_iou", "gt_known_0.3", "gt_known_0.5", "gt_known_0.7", "top1_loc_0.5"]
NO_BOX = [math.nan] * 4


def random_boxes(count: int, seed: int, side: float = 100.0) -> Tensor:
    corners = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(seed)).double() * side
    return torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)


@pytest.mark.parametrize("count", [0, 1, 3, 200])
def test_iou_is_the_diagonal_of_the_matrix(count: int) -> None:
    a, b = random_boxes(count, 1), random_boxes(count, 2)
    torch.testing.assert_close(box_iou(a, b), matrix_iou(a, b).diagonal())
    torch.testing.assert_close(box_iou(a, b), box_iou(b, a))
    torch.testing.assert_close(box_iou(a, a), torch.ones(count).double())


def test_iou_counts_pixels() -> None:
    boxes = torch.randint(0, 20, (100, 2, 4), generator=torch.Generator().manual_seed(3)).sort(dim=2).values
    a, b = boxes[:, 0][:, [0, 1, 2, 3]], boxes[:, 1][:, [0, 1, 2, 3]]
    for first, second, received in zip(a.tolist(), b.tolist(), box_iou(a, b).tolist(), strict=True):
        pixels = [{(x, y) for x in range(x0, x1) for y in range(y0, y1)} for x0, y0, x1, y1 in (first, second)]
        union = pixels[0] | pixels[1]
        assert received == pytest.approx(len(pixels[0] & pixels[1]) / len(union) if union else 0.0)


def test_degenerate_boxes_meet_nothing() -> None:
    whole = [0.0, 0.0, 10.0, 10.0]
    a = torch.tensor([[5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0], [8.0, 8.0, 2.0, 2.0], [8.0, 2.0, 2.0, 8.0], whole])
    b = torch.tensor([[5.0, 5.0, 5.0, 5.0], whole, whole, whole, [20.0, 20.0, 30.0, 30.0]])
    assert box_iou(a, b).tolist() == [0.0] * 5


def test_trivial_boxes() -> None:
    boxes = trivial_boxes(torch.tensor([[100, 200], [1, 1]]))
    assert list(boxes) == ["full", "center_0.7"]
    torch.testing.assert_close(boxes["full"], torch.tensor([[0.0, 0.0, 100.0, 200.0], [0.0, 0.0, 1.0, 1.0]]))
    torch.testing.assert_close(boxes["center_0.7"], torch.tensor([[15.0, 30.0, 85.0, 170.0], [0.15, 0.15, 0.85, 0.85]]))


def test_report_of_known_boxes() -> None:
    sizes = torch.full((5, 2), 100.0)
    true_boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0]] * 4 + [NO_BOX])
    # IoU 1, exactly 0.5, 0.3 and 0.1; the fifth image has no true box.
    boxes = torch.tensor([[0.0, 0.0, 100.0, height] for height in (100.0, 50.0, 30.0, 10.0, 100.0)])
    report = localization_report(boxes, true_boxes, torch.tensor([True, False, True, True, True]), sizes)
    assert report is not None
    assert report.images == 4
    summary = report.summary()
    trivial = summary.pop("trivial")
    assert list(summary) == KEYS
    assert summary == pytest.approx(dict(zip(KEYS, [0.475, 0.75, 0.5, 0.25, 0.25], strict=True)))
    assert isinstance(trivial, dict)
    assert list(trivial) == ["full", "center_0.7"]
    assert trivial["full"] == pytest.approx(dict(zip(KEYS, [1.0, 1.0, 1.0, 1.0, 0.75], strict=True)))
    assert trivial["center_0.7"] == pytest.approx(dict(zip(KEYS, [0.49, 1.0, 0.0, 0.0, 0.0], strict=True)))
    with pytest.raises(FrozenInstanceError):
        report.mean_iou = 1.0  # type: ignore[misc]


def test_report_equals_a_slow_loop() -> None:
    boxes, true_boxes = random_boxes(300, 4), random_boxes(300, 5)
    true_boxes[::7] = math.nan
    correct = torch.rand(300, generator=torch.Generator().manual_seed(6)) < 0.6
    report = localization_report(boxes, true_boxes, correct, torch.full((300, 2), 100))
    assert report is not None
    rows = [i for i in range(300) if i % 7]
    ious = [matrix_iou(boxes[i : i + 1], true_boxes[i : i + 1]).item() for i in rows]
    assert report.images == len(rows)
    assert report.mean_iou == pytest.approx(sum(ious) / len(ious))
    for level in (0.3, 0.5, 0.7):
        assert report.measures()[f"gt_known_{level}"] == pytest.approx(sum(i >= level for i in ious) / len(ious))
    hits = sum(iou >= 0.5 and bool(correct[row]) for iou, row in zip(ious, rows, strict=True))
    assert report.top1_loc == pytest.approx(hits / len(rows))


def test_no_true_box_gives_no_report() -> None:
    missing = torch.tensor([NO_BOX, NO_BOX])
    sizes, correct = torch.full((2, 2), 10.0), torch.ones(2, dtype=torch.bool)
    assert localization_report(torch.zeros(2, 4), missing, correct, sizes) is None
    assert localization_report(torch.zeros(0, 4), torch.zeros(0, 4), correct[:0], sizes[:0]) is None
    assert pointing_game(torch.zeros(2, 2), missing) is None


def test_a_failed_prediction_without_a_true_box_is_harmless() -> None:
    boxes = torch.tensor([NO_BOX, [0.0, 0.0, 5.0, 5.0]])
    true_boxes = torch.tensor([NO_BOX, [0.0, 0.0, 5.0, 5.0]])
    report = localization_report(boxes, true_boxes, torch.ones(2, dtype=torch.bool), torch.full((2, 2), 5.0))
    assert report is not None
    assert report.mean_iou == 1.0


def test_refuses_what_it_cannot_measure() -> None:
    box, correct, size = torch.tensor([[0.0, 0.0, 5.0, 5.0]]), torch.tensor([True]), torch.tensor([[9, 9]])
    with pytest.raises(DataError, match="must be finite"):
        localization_report(torch.tensor([NO_BOX]), box, correct, size)
    with pytest.raises(DataError, match="True box 0"):
        localization_report(box, torch.tensor([[0.0, 0.0, math.nan, 5.0]]), correct, size)
    with pytest.raises(DataError, match=r"\(1, 2\)"):
        localization_report(box, box, size, size)
    with pytest.raises(DataError, match=r"\(1, 4\)"):
        pointing_game(box, box)


def test_pointing_game_excludes_the_far_edge() -> None:
    points = torch.tensor([[2.0, 3.0], [6.0, 3.0], [5.9, 6.9], [0.0, 0.0], [1.0, 1.0]])
    true_boxes = torch.tensor([[2.0, 3.0, 6.0, 7.0]] * 4 + [NO_BOX])
    assert pointing_game(points, true_boxes) == 0.5
