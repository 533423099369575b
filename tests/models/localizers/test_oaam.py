"""OAAM: the heat map of the class it is asked for, and its component's box, from the last map or an earlier one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage.measure import label, regionprops
from torch import Tensor, nn

from tlaam.models.heatmaps import LinearHead
from tlaam.models.localizers.base import Evidence
from tlaam.models.localizers.oaam import OAAM

CLASSES = torch.tensor([2, 0])


def scene() -> tuple[Tensor, LinearHead]:
    torch.manual_seed(0)
    head = LinearHead(6, 4)
    nn.init.normal_(head.weight)
    return torch.rand(2, 6, 5, 7, requires_grad=True), head


def slow_heatmaps(maps: Tensor, scores: Tensor) -> Tensor:
    """The definition (docs/how-it-works.md, 2), image by image and channel by channel."""
    heat = torch.zeros(maps.shape[0], *maps.shape[2:])
    for image, wanted in enumerate(CLASSES.tolist()):
        (gradient,) = torch.autograd.grad(scores[image, wanted], maps, retain_graph=True)
        for channel in range(maps.shape[1]):
            g, a = gradient[image, channel], maps[image, channel].detach()
            alpha = g**2 / (2 * g**2 + a.sum() * g**3)
            heat[image] += (alpha.nan_to_num() * g.relu()).sum() * a
    return heat.relu()


def slow_box(heat: Tensor, level: float) -> list[float]:
    """Of the largest component above a level, in pixels of an image of 70×70 pixels."""
    regions = regionprops(label(heat.numpy() > level, connectivity=2))
    y0, x0, y1, x1 = max(regions, key=lambda region: region.area).bbox
    return [x0 * 70 / 7, y0 * 70 / 5, x1 * 70 / 7, y1 * 70 / 5]


@pytest.mark.parametrize(("rule", "threshold"), [("mean", 1.0), ("mean", 1.3), ("max", 0.6), ("max", 0.8)])
def test_the_last_map_s_box_is_that_of_the_largest_component(rule: Any, threshold: float) -> None:
    features, head = scene()
    scores = head(features)
    found = OAAM(threshold=threshold, rule=rule, upsample=1)(
        Evidence(features.detach(), scores.detach(), CLASSES, head), 70
    )
    expected = slow_heatmaps(features, scores)
    torch.testing.assert_close(found.heatmaps, expected)
    for heat, box in zip(expected, found.boxes, strict=True):
        level = threshold * float(heat.mean() if rule == "mean" else heat.max())
        np.testing.assert_allclose(box, slow_box(heat, level), rtol=1e-6)
    assert not found.boxes.requires_grad and found.foreground_logits is None


def test_the_mean_is_the_rule_that_is_left_unsaid_and_one_zoom_the_number() -> None:
    features, head = scene()
    evidence = Evidence(features.detach(), head(features).detach(), CLASSES, head)
    plain = OAAM(threshold=1.2, upsample=1)
    assert torch.equal(plain(evidence, 70).boxes, OAAM(threshold=1.2, rule="mean", upsample=1)(evidence, 70).boxes)
    assert plain.layer is None and plain.zoom_steps == 1 and plain.needs_gradient
    assert OAAM("layer3", threshold=1.2, upsample=1).layer == "layer3"
    assert OAAM(threshold=1.2, upsample=1, zoom_steps=3).zoom_steps == 3


def test_upsampling_makes_boxes_finer_than_cells() -> None:
    features, head = scene()
    evidence = Evidence(features.detach(), head(features).detach(), CLASSES, head)
    fine = OAAM(threshold=1.0, upsample=4)(evidence, 70).boxes
    cells = fine[:, [0, 2]] / (70 / 28)  # a map of 20×28 cells
    torch.testing.assert_close(cells, cells.round())
    assert (fine[:, [0, 2]] != OAAM(threshold=1.0, upsample=1)(evidence, 70).boxes[:, [0, 2]]).any()


@pytest.mark.parametrize("learning", [True, False])
def test_an_earlier_map_is_explained_by_differentiating_what_follows(learning: bool) -> None:
    maps, head = scene()
    layer = nn.Conv2d(6, 6, 3)
    features = layer(maps).relu()
    scores = head(features)
    expected = slow_heatmaps(maps, scores)
    assert not torch.allclose(expected[:, 1:-1, 1:-1], slow_heatmaps(features, scores), rtol=0.1)
    with torch.set_grad_enabled(learning):
        found = OAAM("layer", threshold=1.0, upsample=1)(
            Evidence(features.detach(), scores, CLASSES, head, layer_maps=maps), 70
        )
    torch.testing.assert_close(found.heatmaps, expected)
    for heat, box in zip(expected, found.boxes, strict=True):
        np.testing.assert_allclose(box, slow_box(heat, float(heat.mean())), rtol=1e-6)
    if learning:  # the loss goes back through the same graph
        scores.sum().backward()
        assert layer.weight.grad is not None and layer.weight.grad.abs().max() > 0
    else:  # nothing follows, and the graph's memory is free again
        with pytest.raises(RuntimeError, match="second time"):
            scores.sum().backward()
