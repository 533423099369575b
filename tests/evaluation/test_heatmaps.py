"""MaxBoxAccV2 and the pointing game on maps whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlaam.evaluation.heatmaps import GRID, heatmap_report


def test_a_map_that_is_the_box_reaches_every_level() -> None:
    heat = np.zeros((GRID, GRID))
    heat[20:60, 30:90] = 1.0
    report = heatmap_report([heat], torch.tensor([[60.0, 20.0, 180.0, 60.0]]), torch.tensor([[2 * GRID, GRID]]))
    assert report is not None
    assert report.max_box_acc == {0.3: 1.0, 0.5: 1.0, 0.7: 1.0} and report.max_box_acc_v2 == 1.0
    assert report.pointing_game == 1.0


def test_any_component_counts_and_the_threshold_is_shared() -> None:
    two = np.zeros((GRID, GRID))
    two[0:80, 0:80] = 0.5  # larger, but not the object
    two[90:110, 90:110] = 1.0
    inside = torch.tensor([[90.0, 90.0, 110.0, 110.0]])
    sizes = torch.tensor([[GRID, GRID]])
    both = heatmap_report([two], inside, sizes)
    assert both is not None and both.max_box_acc_v2 == 1.0
    wide = np.zeros((GRID, GRID))
    wide[40:60, 40:60] = 1.0
    wide[20:80, 20:80] = np.maximum(wide[20:80, 20:80], 0.3)
    box = torch.tensor([[40.0, 40.0, 60.0, 60.0], [20.0, 20.0, 80.0, 80.0]])
    report = heatmap_report([wide, wide], box, torch.tensor([[GRID, GRID]] * 2))
    assert report is not None
    # Above 0.3 the small box is right, below it the large one: never both at one threshold.
    assert report.max_box_acc[0.5] == 0.5


def test_what_misses_is_counted() -> None:
    heat = np.zeros((7, 7))
    heat[0, 0] = 1.0
    boxes = torch.tensor([[60.0, 60.0, 100.0, 100.0], [0.0, 0.0, 20.0, 20.0]])
    report = heatmap_report([heat, heat], boxes, torch.tensor([[GRID, GRID]] * 2))
    assert report is not None and report.pointing_game == 0.5
    assert report.max_box_acc[0.7] == pytest.approx(0.5)


def test_flat_maps_and_absent_boxes_are_handled() -> None:
    none = torch.full((1, 4), torch.nan)
    assert heatmap_report([np.ones((3, 3))], none, torch.tensor([[10, 10]])) is None
    whole = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    report = heatmap_report([np.ones((3, 3))], whole, torch.tensor([[10, 10]]))
    assert report is not None and report.max_box_acc_v2 == 1.0  # all cells reach the threshold 0: the whole image
