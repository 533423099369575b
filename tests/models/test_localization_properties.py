"""Boxes of any map lie within the image and have an area, whatever the numbers; maps do not touch their neighbours."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as some

from tlaam.models.localization import heatmap_boxes

_VALUES = some.one_of(
    some.floats(width=32),
    some.sampled_from([0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan"), 3.4e38, 1e-45]),
)


@some.composite
def maps(draw: some.DrawFn) -> torch.Tensor:
    height, width = draw(some.integers(1, 9)), draw(some.integers(1, 9))
    values = draw(some.lists(_VALUES, min_size=2 * height * width, max_size=2 * height * width))
    return torch.tensor(values).reshape(2, height, width)


@settings(max_examples=200, deadline=None)
@given(
    heatmaps=maps(),
    size=some.tuples(some.integers(1, 600), some.integers(1, 600)),
    threshold=some.floats(0, 3),
    rule=some.sampled_from(["mean", "max", "value"]),
    upsample=some.sampled_from([1, 2, 4]),
    half=some.booleans(),
)
def test_boxes_lie_within_the_image(
    heatmaps: torch.Tensor, size: tuple[int, int], threshold: float, rule: str, upsample: int, half: bool
) -> None:
    heatmaps = heatmaps.half() if half else heatmaps
    options = {"threshold": threshold, "rule": rule, "upsample": upsample}
    boxes = heatmap_boxes(heatmaps, size, **options)  # type: ignore[arg-type]
    for x0, y0, x1, y1 in boxes.tolist():
        assert 0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]
    if not half:
        assert torch.equal(heatmap_boxes(heatmaps[1:], size, **options)[0], boxes[1])  # type: ignore[arg-type]
