"""RA-CNN: its squares, its mask, its turns."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tlaam.models.backbone import Backbone
from tlaam.models.baselines.racnn import RACNN, AttentionProposal, boxcar, first_squares, rank_loss, square_boxes


def small() -> RACNN:
    torch.manual_seed(0)
    backbones = [Backbone("resnet18", 64) for _ in range(3)]
    proposals = [AttentionProposal(512, (2, 2)) for _ in range(2)]
    return RACNN(backbones, proposals, 4, image_size=64)


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_squares_lie_inside_and_have_a_third_of_the_side_at_least() -> None:
    proposal = AttentionProposal(8, (4, 4))
    torch.nn.init.normal_(proposal.square.weight, std=30)
    boxes = square_boxes(proposal(torch.randn(200, 8, 4, 4)))
    sides = boxes[:, 2:] - boxes[:, :2]
    assert boxes.min() >= -1e-6 and boxes.max() <= 1 + 1e-6
    assert sides.min() >= 1 / 3 - 1e-6 and sides.min() < 0.4 and sides.max() > 0.9
    torch.testing.assert_close(sides[:, 0], sides[:, 1])


def test_the_mask_is_nearly_one_and_pulls_the_edges_outwards() -> None:
    squares = torch.tensor([[0.5, 0.5, 0.25]], requires_grad=True)
    mask = boxcar(squares, 64)
    assert mask.shape == (1, 1, 64, 64) and (mask[:, :, 2:-2, 2:-2] > 0.999).all() and (mask <= 1).all()
    mask.sum().backward()
    assert squares.grad is not None and squares.grad[0, 2] > 0  # a larger square covers more
    assert squares.grad[0, :2].abs().max() < 1e-2 * squares.grad[0, 2]  # no side is preferred
    squares.grad = None
    boxcar(squares, 64)[..., -4:].sum().backward()  # what lies on the right is worth something
    assert squares.grad[0, 0] > 0


def test_first_squares_stand_around_the_peak() -> None:
    features = torch.zeros(2, 3, 8, 8)
    features[0, :, 3, 5] = 1
    features[1, :, 0, 7] = 1  # in the corner: shifted inside
    torch.testing.assert_close(first_squares(features), torch.tensor([[5.5 / 8, 3.5 / 8, 0.25], [0.75, 0.25, 0.25]]))


def test_rank_loss_asks_the_finer_scale_to_be_more_certain() -> None:
    coarse, fine = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    label = torch.tensor([0])
    expected = coarse.softmax(1)[0, 0] - 0.5 + 0.05
    torch.testing.assert_close(rank_loss([coarse, fine], label), expected)
    assert rank_loss([fine, coarse], label) == 0
    torch.testing.assert_close(rank_loss([coarse, fine, coarse], label), expected)
    scales = [torch.zeros(1, 2, requires_grad=True) for _ in range(3)]
    rank_loss(scales, label).backward()
    assert scales[0].grad is None  # nothing is asked of the raw image, and of every finer scale to be more certain
    assert scales[1].grad is not None and scales[2].grad is not None
    assert scales[1].grad[0, 0] < 0 and torch.equal(scales[1].grad, scales[2].grad)


@pytest.mark.parametrize(("epoch", "proposals"), [(0, False), (1, False), (2, True), (3, False), (5, True)])
def test_networks_and_proposals_learn_in_turns(epoch: int, proposals: bool) -> None:
    model = small().train()
    model.begin_epoch(epoch, 12, False)
    images, labels = pictures(3), torch.tensor([0, 1, 2])
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    output = model(images, labels)
    loss = sum(
        torch.nn.functional.cross_entropy(logits, labels)
        for logits in (output.raw_logits, output.object_logits, output.part_logits[:, 0])  # type: ignore[index,arg-type]
    )
    if proposals:
        assert output.own_loss is not None
        loss = loss + output.own_loss
    else:
        assert output.own_loss is None
    assert isinstance(loss, Tensor)
    loss.backward()
    statistics = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}
    assert bool(statistics) is not proposals
    moved = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert moved and all(name.startswith("proposals") is proposals for name in moved)


def test_the_last_epoch_is_never_the_proposals() -> None:
    model = small().train()
    for epochs in range(1, 14):
        model.begin_epoch(epochs - 1, epochs, False)
        assert not model.attention_turn
    model.begin_epoch(2, 4, False)
    assert model.attention_turn and model.eval().train().proposals.training and not model.backbone.training
    model.begin_epoch(3, 4, False)
    assert model.backbone.training


def test_the_first_epochs_show_the_squares() -> None:
    model = small().train()
    model.begin_epoch(0, 12, False)
    model.begin_epoch(0, 12, True)
    output = model(pictures(2), torch.tensor([0, 1]), raw_only=True)
    assert output.own_loss is not None
    output.own_loss.backward()
    assert all(p.grad is not None for p in model.proposals.parameters())
    assert all(p.grad is None for p in model.backbone.parameters())


def test_every_scale_is_cut_from_the_source_within_the_last() -> None:
    model = small().eval()
    with torch.no_grad():
        output = model(pictures(3))
    outer, inner = output.object_boxes, output.part_boxes
    assert outer is not None and inner is not None and inner.shape == (3, 1, 4)
    assert outer.min() >= -1e-3 and outer.max() <= 128 + 1e-3
    assert (inner[:, 0, :2] >= outer[:, :2] - 1e-3).all() and (inner[:, 0, 2:] <= outer[:, 2:] + 1e-3).all()
    torch.testing.assert_close(output.probabilities.sum(1), torch.ones(3))
