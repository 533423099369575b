"""MA-CNN: its groups, maps, losses and turns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tlaam.models.backbone import Backbone
from tlaam.models.baselines.macnn import (
    MACNN,
    PARTS,
    cluster,
    grouping_loss,
    part_features,
    part_maps,
    peak_of,
    spread_out,
)


def small() -> MACNN:
    torch.manual_seed(0)
    return MACNN(Backbone("resnet18", 64), 4, image_size=64)


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def spots(*places: tuple[int, int], size: int = 9) -> Tensor:
    maps = torch.zeros(1, len(places), size, size)
    for part, (x, y) in enumerate(places):
        maps[0, part, y, x] = 1
    return maps


def test_the_loss_is_its_definition() -> None:
    maps = torch.rand(2, 3, 4, 5, dtype=torch.float64)
    expected = 0.0
    for image in maps:
        for part, own in enumerate(image):
            y_peak, x_peak = divmod(int(own.argmax()), 5)
            for y in range(4):
                for x in range(5):
                    distance = ((x - x_peak) / 5) ** 2 + ((y - y_peak) / 4) ** 2
                    others = max(float(image[other, y, x]) for other in range(3) if other != part)
                    expected += float(own[y, x]) * (distance + 2 * max(0.0, others - 0.02)) / 20 / 2
    assert grouping_loss(maps).item() == pytest.approx(expected)


def test_parts_that_are_compact_and_apart_cost_nothing() -> None:
    assert grouping_loss(spots((1, 1), (6, 2), (3, 7))) == 0
    assert grouping_loss(spots((1, 1), (1, 1), (3, 7))) > 0
    assert grouping_loss(spots((1, 1), (6, 2)) + spots((8, 8), (6, 2))) > 0


def test_features_are_averaged_under_the_map() -> None:
    features = torch.rand(1, 6, 9, 9)
    found = part_features(features, spots((2, 3), (8, 0)))
    torch.testing.assert_close(found[0], torch.stack([features[0, :, 3, 2], features[0, :, 0, 8]]))
    torch.testing.assert_close(peak_of(spots((2, 3)))[0, 0], torch.tensor([2.5 / 9, 3.5 / 9]))


def test_maps_follow_the_channels_of_their_group() -> None:
    features = spots((1, 1), (6, 2), (3, 7))
    weights = torch.eye(3)[None]
    torch.testing.assert_close(peak_of(part_maps(features, weights)), peak_of(features))


def test_channels_that_peak_together_are_one_group_whichever_way_images_are_mirrored() -> None:
    random = torch.Generator().manual_seed(0)
    truth = torch.arange(4).repeat(10)
    apart = torch.zeros(40, 40)
    medoids = None
    for step in range(30):
        # Every image has its parts elsewhere: only that they peak together tells channels' groups.
        places = torch.rand(4, 2, generator=random)[truth] + 0.02 * torch.randn(40, 2, generator=random)
        if step % 2:
            places[:, 0] = 1 - places[:, 0]
        apart += torch.cdist(places, places).square()
        if step == 9:
            medoids = spread_out(apart, 4)
        if medoids is not None:
            groups, medoids = cluster(apart, medoids)
            assert len({(int(a), int(b)) for a, b in zip(truth, groups, strict=True)}) == 4
            if step == 9:
                first = groups
            assert torch.equal(groups, first)  # a part stays the same part


def test_channels_that_all_peak_in_one_place_are_no_groups() -> None:
    groups, medoids = cluster(torch.zeros(8, 8), spread_out(torch.zeros(8, 8), 4))
    assert groups.unique().numel() == 1 and ((medoids >= 0) & (medoids < 8)).all()


def test_the_grouping_is_shown_its_task_first() -> None:
    model = small().train()
    model.begin_epoch(0, 12, True)
    images, labels = pictures(4), torch.arange(4)
    optimizer = torch.optim.Adam(model.grouping.parameters(), lr=0.003)
    losses = []
    for _ in range(40):
        loss = model(images, labels, raw_only=True).own_loss
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 < losses[0]


@pytest.mark.parametrize(("epoch", "grouping"), [(0, False), (2, True), (3, False)])
def test_network_and_grouping_learn_in_turns(epoch: int, grouping: bool) -> None:
    model = small().train()
    model.begin_epoch(epoch, 12, False)
    labels = torch.arange(4)
    output = model(pictures(4), labels)
    assert output.part_logits is not None and output.part_logits.shape == (4, PARTS, 4)
    loss = functional.cross_entropy(output.raw_logits, labels)
    loss = loss + functional.cross_entropy(output.part_logits.flatten(0, 1), labels.repeat_interleave(PARTS))
    assert (output.own_loss is not None) is grouping
    (loss if output.own_loss is None else loss + output.own_loss).backward()
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved and all(name.startswith("grouping") is grouping for name in moved)


def test_windows_lie_inside_the_image() -> None:
    with torch.no_grad():
        output = small().eval()(pictures(3))
    assert output.part_boxes is not None and output.part_boxes.shape == (3, PARTS, 4)
    assert output.part_boxes.min() >= 0 and output.part_boxes.max() <= 128
