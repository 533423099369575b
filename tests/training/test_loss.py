from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tlaam.model.output import TLAAMOutput
from tlaam.training.loss import TwoLevelLoss


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
