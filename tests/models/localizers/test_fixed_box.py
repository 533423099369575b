"""The trivial localisers are the trivial boxes of the evaluation."""

from __future__ import annotations

import pytest
import torch

from tlaam.evaluation.localization import trivial_boxes
from tlaam.models.heatmaps import LinearHead
from tlaam.models.localizers.base import Evidence
from tlaam.models.localizers.fixed_box import CENTER_SHARE, FixedBox


@pytest.mark.parametrize(("share", "name"), [(1.0, "full"), (CENTER_SHARE, "center_0.7")])
def test_it_is_the_evaluations_box(share: float, name: str) -> None:
    features = torch.rand(3, 2, 10, 20)
    found = FixedBox(share)(Evidence(features, torch.rand(3, 2), torch.zeros(3).long(), LinearHead(2, 2)), 200)
    torch.testing.assert_close(found.boxes, trivial_boxes(torch.full((3, 2), 200.0))[name])
    assert found.heatmaps.shape == (3, 10, 20)
    assert (found.heatmaps.mean() - share**2).abs() < 0.12
    assert found.heatmaps[0, 5, 10] == 1 and bool(found.heatmaps[0, 0, 0]) is (share == 1)
