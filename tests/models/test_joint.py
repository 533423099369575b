"""The joint classifier: what it sees, its gradient, and that it decides the fused answer and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tlaam.config.sections import ModelConfig
from tlaam.models.build import build_model
from tlaam.models.joint import JointHead
from tlaam.models.network import TLAAM
from tlaam.training.loss import TwoLevelLoss

SMALL = ModelConfig(
    backbone="resnet18", image_size=64, source_size=128, pretrained="none", localizer="oaam", fusion="joint"
)


def built(**changes: object) -> TLAAM:
    torch.manual_seed(0)
    model = build_model(SMALL.model_copy(update=changes), 5)
    assert isinstance(model, TLAAM)
    return model


@pytest.mark.parametrize(
    ("changes", "views"),
    [({}, 3), ({"parts": "none"}, 2), ({"localizer": "none", "parts": "none"}, 1)],
)
def test_the_fused_answer_is_the_joint_classifiers(changes: dict[str, object], views: int) -> None:
    model = built(**changes).eval()
    images = torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8)
    with torch.no_grad():
        output = model(images)
        assert model.joint is not None and output.views is not None and output.views.shape == (3, views, 512)
        expected = torch.softmax(output.views.flatten(1) @ model.joint.weight.T + model.joint.bias, 1)
        torch.testing.assert_close(output.probabilities, expected)
        torch.testing.assert_close(output.raw_logits, output.views[:, 0] @ model.classifier.weight.T)
        of_mean = built(fusion="mean", **changes).eval()
        of_mean.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("joint")})
        other = of_mean(images)
    assert other.joint_logits is None
    torch.testing.assert_close(other.raw_logits, output.raw_logits)
    if views > 1:
        assert not torch.equal(other.probabilities, output.probabilities)


def test_it_learns_and_pulls_at_the_backbone() -> None:
    model = built().train()
    images, labels = torch.randint(0, 256, (4, 3, 128, 128), dtype=torch.uint8), torch.tensor([0, 1, 2, 3])
    losses = TwoLevelLoss()(model(images, labels), labels)
    assert losses.joint is not None and losses.total > losses.joint
    losses.joint.backward()
    assert model.joint is not None and model.joint.weight.grad is not None and model.joint.weight.grad.abs().sum() > 0
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.backbone.parameters())
    assert any(p is model.joint.weight for p in model.head_parameters())


def test_it_is_linear_in_the_views_one_behind_the_other() -> None:
    torch.manual_seed(0)
    head = JointHead(4, 2, 3)
    pooled = torch.randn(5, 2, 4)
    nn.init.normal_(head.bias)
    expected = pooled[:, 0] @ head.weight[:, :4].T + pooled[:, 1] @ head.weight[:, 4:].T + head.bias
    assert head.views == 2 and head(pooled).shape == (5, 3)
    torch.testing.assert_close(head(pooled), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(head(pooled), expected)
        assert head(pooled.bfloat16()).dtype == torch.float32


def test_it_starts_small_and_cools_without_another_answer() -> None:
    torch.manual_seed(0)
    head = JointHead(200, 3, 10)
    assert float(head.weight.std()) == pytest.approx(0.01, rel=0.05) and not head.bias.any()
    assert abs(float(head.weight.mean())) < 5e-4
    nn.init.normal_(head.bias)
    pooled = torch.randn(4, 3, 200)
    before = head(pooled)
    head.cool(2.5)
    torch.testing.assert_close(head(pooled), before / 2.5)
    assert head.weight.requires_grad and head.bias.requires_grad
