from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tlaam.models.output import TLAAMOutput
from tlaam.training.loss import TwoLevelLoss, distillation_loss


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
    assert losses.object is None and losses.parts is None
    assert torch.equal(losses.total, losses.raw)


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
