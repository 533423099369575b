"""The pointing game, and that images without a box are left out; `test_wsol` has the boxes drawn on maps."""

from __future__ import annotations

import numpy as np
import torch

from tlaam.evaluation.heatmaps import heatmap_report


def test_the_maximum_points_at_the_object_in_pixels_of_the_image() -> None:
    heat = np.zeros((7, 7))
    heat[1, 5] = 1.0  # right, near the top
    boxes = torch.tensor([[250.0, 10.0, 350.0, 50.0], [0.0, 0.0, 100.0, 200.0], [torch.nan] * 4])
    report = heatmap_report([heat] * 3, boxes, torch.tensor([[400, 200]] * 3))
    assert report is not None and report.pointing_game == 0.5
    assert report.summary() == {
        "max_box_acc": report.accuracy.max_box_acc,
        "max_box_acc_v2": report.accuracy.max_box_acc_v2,
        "pointing_game": 0.5,
    }


def test_a_peak_at_the_edge_points_at_the_middle_of_its_cell() -> None:
    heat = np.zeros((7, 7))
    heat[3, 0] = 1.0  # its cell's middle is at x = 16 of 224
    for box, pointed in (([10.0, 100.0, 60.0, 130.0], 0.0), ([4.0, 100.0, 60.0, 130.0], 1.0)):
        report = heatmap_report([heat], torch.tensor([box]), torch.tensor([[224, 224]]))
        assert report is not None and report.pointing_game == pointed


def test_a_map_that_is_the_box_reaches_every_level() -> None:
    heat = np.zeros((112, 112))
    heat[20:60, 30:90] = 1.0
    report = heatmap_report([heat], torch.tensor([[60.0, 20.0, 180.0, 60.0]]), torch.tensor([[224, 112]]))
    assert report is not None
    assert report.accuracy.max_box_acc == 1.0 and report.accuracy.max_box_acc_v2 == 1.0


def test_without_any_box_there_is_no_report() -> None:
    assert heatmap_report([np.ones((3, 3))], torch.full((1, 4), torch.nan), torch.tensor([[10, 10]])) is None
