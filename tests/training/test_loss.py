from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tlaam.models.output import TLAAMOutput
from tlaam.training.loss import TwoLevelLoss, distillation_loss, foreground_loss


def _output(raw: Tensor, of_object: Tensor | None, parts: Tensor | None) -> TLAAMOutput:
    return TLAAMOutput(raw.softmax(-1), raw, of_object, parts, None, None, None)


def _slow(logits: Tensor, label: int, smoothing: float) -> Tensor:
    logs = logits - logits.exp().sum().log()
    return -(1 - smoothing) * logs[label] - smoothing * logs.mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_a_slow_loop(smoothing: float) -> None:
    torch.manual_seed(0)
    raw, of_object, parts = torch.randn(4, 5), torch.randn(4, 5), torch.randn(4, 3, 5)
    labels = torch.tensor([0, 4, 2, 2])
    losses = TwoLevelLoss(smoothing)(_output(raw, of_object, parts), labels)
    images = range(4)
    slow_raw = sum(_slow(raw[i], int(labels[i]), smoothing) for i in images) / 4
    slow_object = sum(_slow(of_object[i], int(labels[i]), smoothing) for i in images) / 4
    slow_parts = sum(_slow(parts[i, n], int(labels[i]), smoothing) for i in images for n in range(3)) / 12
    assert losses.object is not None and losses.parts is not None
    torch.testing.assert_close(losses.raw, slow_raw)
    torch.testing.assert_close(losses.object, slow_object)
    torch.testing.assert_close(losses.parts, slow_parts)
    torch.testing.assert_close(losses.total, slow_raw + slow_object + slow_parts)


def test_absent_branches_do_not_count() -> None:
    losses = TwoLevelLoss()(_output(torch.randn(2, 3), None, None), torch.tensor([0, 1]))
    assert losses._replace(total=None, raw=None) == (None,) * 8
    assert torch.equal(losses.total, losses.raw)


def test_labels_are_not_smoothed_unless_asked() -> None:
    raw = torch.tensor([[0.0, 2.0]])
    losses = TwoLevelLoss()(_output(raw, None, None), torch.tensor([0]))
    torch.testing.assert_close(losses.total, _slow(raw[0], 0, 0.0))


def test_the_joint_classifier_and_a_network_s_own_loss_are_added() -> None:
    torch.manual_seed(0)
    raw, joint, own = torch.randn(3, 4), torch.randn(3, 4), torch.tensor(0.75)
    labels = torch.tensor([1, 3, 0])
    losses = TwoLevelLoss(0.1)(_output(raw, None, None)._replace(joint_logits=joint, own_loss=own), labels)
    slow = sum(_slow(joint[i], int(labels[i]), 0.1) for i in range(3)) / 3
    assert losses.joint is not None and losses.own is own
    torch.testing.assert_close(losses.joint, slow)
    torch.testing.assert_close(losses.total, losses.raw + slow + 0.75)


def test_foreground_is_compared_with_the_share_of_each_cell_that_masks_cover() -> None:
    torch.manual_seed(1)
    logits, masks = torch.randn(2, 3, 2), (torch.rand(2, 12, 12) < 0.5).to(torch.uint8) * 255
    raw = torch.randn(2, 4)
    losses = TwoLevelLoss()(_output(raw, None, None)._replace(foreground_logits=logits), torch.tensor([0, 3]), masks)
    slow = torch.tensor(0.0)
    for image in range(2):
        for y in range(3):
            for x in range(2):
                share = (masks[image, 4 * y : 4 * y + 4, 6 * x : 6 * x + 6] > 0).float().mean()
                probability = 1 / (1 + (-logits[image, y, x]).exp())
                slow -= (share * probability.log() + (1 - share) * (1 - probability).log()) / 12
    assert losses.foreground is not None
    torch.testing.assert_close(losses.foreground, slow)
    torch.testing.assert_close(losses.total, losses.raw + slow)


def test_without_masks_or_without_a_learning_localiser_there_is_no_loss_of_the_foreground() -> None:
    raw, labels, masks = torch.randn(1, 4), torch.tensor([0]), torch.zeros(1, 4, 4, dtype=torch.uint8)
    output = _output(raw, None, None)
    for losses in (TwoLevelLoss()(output._replace(foreground_logits=torch.zeros(1, 2, 2)), labels),
                   TwoLevelLoss()(output, labels, masks)):  # fmt: skip
        assert losses.foreground is None and torch.equal(losses.total, losses.raw)


def test_a_cell_counts_by_what_is_decided_of_it() -> None:
    """Cells of 2×2 pixels: all decided, a quarter foreground; a half decided, all foreground; nothing decided."""
    masks = torch.tensor([[[255, 0, 255, 100, 9, 9], [0, 0, 255, 200, 9, 9]]], dtype=torch.uint8)
    logits = torch.tensor([[[0.5, -1.0, 3.0]]])
    p, q = (1 / (1 + (-logits[0, 0, cell]).exp()) for cell in (0, 1))
    quarter = -(0.25 * p.log() + 0.75 * (1 - p).log())
    torch.testing.assert_close(foreground_loss(logits, masks), (quarter - 0.5 * q.log()) / 1.5)
    undecided = torch.full((1, 2, 6), 77, dtype=torch.uint8)
    assert float(foreground_loss(logits, undecided)) == 0


def test_where_little_is_decided_it_counts_as_much() -> None:
    masks = torch.full((1, 8, 8), 77, dtype=torch.uint8)
    masks[0, 0, 0] = 255
    loss = foreground_loss(torch.tensor([[[-2.0, 1.0], [1.0, 1.0]]]), masks)
    torch.testing.assert_close(loss, torch.tensor(2.0).exp().log1p())


def test_distillation_works_on_the_whole_image_alone() -> None:
    raw, of_object = torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    found = TwoLevelLoss(distillation=1.0)(_output(raw, of_object, None), torch.tensor([0])).distilled
    target = of_object[0].softmax(0)
    torch.testing.assert_close(found, (target * (target.log() - raw[0].log_softmax(0))).sum())


def test_distillation_pulls_at_raw_image_and_parts_and_not_at_the_object() -> None:
    torch.manual_seed(0)
    scores = [torch.randn(4, 5), torch.randn(4, 5), torch.randn(4, 2, 5)]
    raw, of_object, of_parts = (value.requires_grad_() for value in scores)
    output = TLAAMOutput(raw.softmax(-1), raw, of_object, of_parts, None, None, None)
    labels = torch.arange(4)
    plain, distilled = TwoLevelLoss()(output, labels), TwoLevelLoss(distillation=0.5)(output, labels)
    assert plain.distilled is None and distilled.distilled is not None
    target = of_object.detach().softmax(-1)
    apart = [(target * (target / pupil.softmax(-1)).log()).sum(-1).mean() for pupil in (raw, *of_parts.unbind(1))]
    torch.testing.assert_close(distilled.distilled, apart[0] + (apart[1] + apart[2]) / 2)
    torch.testing.assert_close(distilled.total, plain.total + 0.5 * distilled.distilled)
    distilled.distilled.backward()
    assert of_object.grad is None and raw.grad is not None and of_parts.grad is not None
    assert float(distillation_loss(raw[:, None], raw)) == pytest.approx(0.0, abs=1e-6)
