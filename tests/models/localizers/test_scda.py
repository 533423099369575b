"""SCDA against scikit-image and a slow loop."""

from __future__ import annotations

import numpy as np
import torch
from skimage.measure import label

from tlaam.models.heatmaps import LinearHead
from tlaam.models.localizers.base import Evidence
from tlaam.models.localizers.scda import SCDA, scda_descriptor, scda_masks


def test_masks_and_boxes_equal_a_slow_loop() -> None:
    features = torch.randn(8, 5, 9, 6, generator=torch.Generator().manual_seed(0))
    masks = scda_masks(features)
    boxes = SCDA()(Evidence(features, torch.zeros(8, 2), torch.zeros(8).long(), LinearHead(5, 2)), 90).boxes
    for image, maps in enumerate(features.double().sum(1).numpy()):
        components = label(maps > maps.mean(), connectivity=2)
        areas = np.bincount(components.ravel())
        areas[0] = 0
        expected = components == areas.argmax()
        assert np.array_equal(masks[image].numpy(), expected)
        rows, columns = np.where(expected)
        box = [columns.min() * 15, rows.min() * 10, (columns.max() + 1) * 15, (rows.max() + 1) * 10]
        assert boxes[image].tolist() == box


def test_the_descriptor_pools_the_selected_cells_alone() -> None:
    features = torch.rand(3, 4, 6, 6, generator=torch.Generator().manual_seed(1))
    found = scda_descriptor(features)
    assert found.shape == (3, 8)
    for image, mask in enumerate(scda_masks(features)):
        cells = features[image][:, mask]
        mean, largest = cells.mean(1), cells.max(1).values
        torch.testing.assert_close(found[image], torch.cat([mean / mean.norm(), largest / largest.norm()]))


def test_a_flat_map_selects_everything() -> None:
    found = scda_descriptor(torch.ones(1, 4, 3, 3))
    torch.testing.assert_close(found, torch.full((1, 8), 0.5))
    assert scda_descriptor(torch.zeros(1, 4, 3, 3)).tolist() == [[0.0] * 8]
