"""The learning localiser: it learns a mask, boxes what it marks, and leaves the backbone alone."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tlaam.config.sections import ModelConfig
from tlaam.evaluation.localization import box_iou
from tlaam.models.backbone import Backbone
from tlaam.models.build import build_model
from tlaam.models.heatmaps import LinearHead
from tlaam.models.localization import heatmap_boxes
from tlaam.models.localizers.base import Evidence, Localization
from tlaam.models.localizers.foreground import Foreground
from tlaam.training.finder import fit_localizer
from tlaam.training.loss import foreground_loss


def squares(count: int) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """Return two maps that a square brightens, its masks ``(count, 16, 16)`` and its boxes in 64 pixels."""
    random = torch.Generator().manual_seed(0)
    masks = torch.zeros(count, 16, 16)
    boxes = torch.zeros(count, 4)
    for image in range(count):
        x, y, side = (int(torch.randint(low, high, (), generator=random)) for low, high in ((0, 9), (0, 9), (5, 8)))
        masks[image, y : y + side, x : x + side] = 1
        boxes[image] = 4 * torch.tensor([x, y, x + side, y + side])
    fine = masks[:, None] * torch.tensor([1.0, -1.0, 0.0])[None, :, None, None]
    fine = fine + 0.3 * torch.randn(count, 3, 16, 16, generator=random)
    coarse = torch.nn.functional.avg_pool2d(fine, 2)
    return (fine, coarse), (masks * 255).to(torch.uint8), boxes


def localize(localizer: Foreground, pyramid: tuple[Tensor, ...], size: int) -> Localization:
    classes = torch.zeros(len(pyramid[0]), dtype=torch.long)
    found = localizer(
        Evidence(pyramid[-1], torch.zeros(len(classes), 1), classes, LinearHead(3, 1), None, pyramid), size
    )
    assert isinstance(found, Localization)
    return found


def test_it_learns_what_masks_show() -> None:
    torch.manual_seed(0)
    pyramid, masks, boxes = squares(64)
    localizer = Foreground((3, 3), threshold=0.25, upsample=1)
    optimizer = torch.optim.SGD(localizer.parameters(), lr=0.1, momentum=0.9)
    for _ in range(60):
        loss = foreground_loss(localizer.foreground_logits(pyramid), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = localize(localizer.eval(), pyramid, 64)
    assert found.heatmaps.shape == (64, 16, 16) and found.heatmaps.min() >= 0 and found.heatmaps.max() <= 1
    assert (found.boxes - boxes).abs().max() <= 4  # a cell
    assert not found.heatmaps.requires_grad and not found.boxes.requires_grad


def test_undecided_cells_count_for_nothing() -> None:
    logits = torch.tensor([[[2.0, -1.0], [0.5, 3.0]]])
    masks = torch.tensor([[[255, 0], [160, 96]]], dtype=torch.uint8)
    wanted = functional.binary_cross_entropy_with_logits(logits[0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(foreground_loss(logits, masks), wanted)
    assert foreground_loss(logits, torch.full((1, 2, 2), 128, dtype=torch.uint8)) == 0


def test_a_cell_is_foreground_by_its_decided_share() -> None:
    masks = torch.tensor([[[255, 0, 255, 255], [255, 128, 255, 255]]], dtype=torch.uint8)  # cells of 2 × 2
    logits = torch.tensor([[[0.3, -0.4]]])
    each = functional.binary_cross_entropy_with_logits(logits[0, 0], torch.tensor([2 / 3, 1.0]), reduction="none")
    torch.testing.assert_close(foreground_loss(logits, masks), (3 * each[0] + 4 * each[1]) / 7)


def test_a_head_of_an_earlier_version_has_the_threshold_of_its_settings() -> None:
    torch.manual_seed(0)
    old = Foreground((3, 3), threshold=0.25, upsample=1).state_dict()
    del old["threshold"]
    head = Foreground((3, 3), threshold=0.3, upsample=1)
    head.load_state_dict(old)
    assert float(head.threshold) == pytest.approx(0.3)
    chosen = Foreground((3, 3), upsample=1)
    chosen.threshold.fill_(0.45)
    other = Foreground((3, 3), upsample=1)
    other.load_state_dict(chosen.state_dict())
    assert float(other.threshold) == pytest.approx(0.45)


@pytest.mark.parametrize(("given", "chosen"), [(None, True), (0.25, False)])
def test_the_threshold_is_where_boxes_agree_with_masks(given: float | None, chosen: bool) -> None:
    """Objects of which masks show the bright core alone, in a halo that the head cannot tell from it well."""
    torch.manual_seed(0)
    fine, masks = torch.zeros(16, 1, 16, 16), torch.zeros(16, 16, 16, dtype=torch.uint8)
    fine[:, :, 4:12, 4:12], fine[:, :, 6:10, 6:10] = 0.6, 1.0
    fine += 0.3 * torch.randn(fine.shape)
    masks[:, 6:10, 6:10] = 255
    head = Foreground((1,), threshold=given, upsample=1)
    fit_localizer(head, iter([[fine]]), masks.numpy(), seed=0)
    probabilities = head.eval().foreground_logits([fine]).detach().sigmoid()

    def agreement(threshold: float) -> float:
        boxes = heatmap_boxes(probabilities, (16, 16), threshold=threshold, rule="value")
        return box_iou(boxes, torch.tensor([[6.0, 6.0, 10.0, 10.0]]).expand(16, 4)).mean().item()

    best = max(agreement(number / 20) for number in range(2, 14))
    if chosen:
        assert agreement(float(head.threshold)) == pytest.approx(best, abs=0.02)
    else:
        assert float(head.threshold) == pytest.approx(0.25)


def test_its_loss_does_not_pull_at_the_backbone() -> None:
    config = ModelConfig(
        backbone="resnet18", image_size=64, source_size=64, pretrained="none", localizer="foreground", attention="none"
    )
    model = build_model(config, 3).train()
    output = model(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8), torch.zeros(4, dtype=torch.long), True)
    assert output.object_logits is None and output.foreground_logits is not None  # it learns in raw epochs too
    foreground_loss(output.foreground_logits, torch.zeros(4, 8, 8, dtype=torch.uint8)).backward()
    assert all(p.grad is not None for p in model.localizer_parameters())
    assert all(p.grad is None for p in model.backbone.parameters())


@pytest.mark.parametrize(
    "name",
    ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_050", "test_convnext", "swin_tiny_patch4_window7_224",
     "test_vit", "regnety_002", "densenet121"],
)  # fmt: skip
def test_the_pyramids_last_map_is_the_networks(name: str) -> None:
    torch.manual_seed(0)
    size = 224 if "swin" in name else 96
    backbone = Backbone(name, size).eval()
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        features, pyramid = backbone.pyramid(x)
        torch.testing.assert_close(features, backbone(x))
    assert len(pyramid) == 2 and all(maps.ndim == 4 and len(maps) == 2 for maps in pyramid)
    assert pyramid[1].shape[2:] == features.shape[2:]  # the last stage's grid
    assert pyramid[0].shape[2] >= pyramid[1].shape[2]


def test_a_network_without_listed_stages_has_its_last_map_alone() -> None:
    backbone = Backbone("resnet18", 64).eval()
    backbone.network.feature_info = []  # type: ignore[assignment]
    with torch.no_grad():
        features, pyramid = backbone.pyramid(torch.randn(1, 3, 64, 64))
    assert len(pyramid) == 1 and torch.equal(pyramid[0], features)


@pytest.mark.parametrize(
    ("name", "block"),
    [("resnet18", "layer4.0"), ("resnet50", "layer4.1"), ("tf_efficientnet_lite0", "blocks.5.3"),
     ("test_vit", "blocks.4"), ("test_convnext", "stages.3.blocks.0"),
     ("swin_tiny_patch4_window7_224", "layers.3.blocks.0")],
)  # fmt: skip
def test_the_block_before_the_last_is_found(name: str, block: str) -> None:
    backbone = Backbone(name, 224 if "swin" in name else 96)
    found = backbone.earlier_block()
    assert found == block and isinstance(dict(backbone.network.named_modules())[found], nn.Module)
