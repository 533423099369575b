"""The rows of classes: which tensors have them, and how they move into a network of other classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tlaam.config.sections import ModelConfig
from tlaam.errors import ModelError
from tlaam.models.build import build_model
from tlaam.models.network import TLAAM
from tlaam.training import class_rows
from tlaam.training.class_rows import LOW, carry_over, class_axes, rejoin

TINY = {"backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96, "part_size": 32}

SYSTEMS: list[dict[str, Any]] = [
    {"localizer": "oaam", "fusion": "joint"},
    {"localizer": "none", "parts": "none"},
    {"architecture": "macnn", "localizer": "none", "parts": "none", "attention": "none"},
    {"architecture": "racnn", "localizer": "none", "parts": "none", "attention": "none"},
]


@pytest.mark.parametrize("options", SYSTEMS)
def test_rows_follow_their_classes_whatever_the_architecture(options: dict[str, Any]) -> None:
    config = ModelConfig(**{**TINY, **options})
    source, target = build_model(config, 3), build_model(config, 4)
    for value in source.state_dict().values():
        if value.is_floating_point():
            value.normal_()
    before, own = source.state_dict(), {name: value.clone() for name, value in target.state_dict().items()}
    axes = class_axes(config, target, 4)
    assert axes and all("classifier" in name or name.startswith("joint") for name in axes) and set(axes.values()) == {0}
    carry_over(source, target, config, [2, None, 0, None])
    for name, value in target.state_dict().items():
        if name not in axes:
            assert torch.equal(value, before[name]), name
            continue
        assert torch.equal(value[0], before[name][2]) and torch.equal(value[2], before[name][0]), name
        new = value[[1, 3]]
        lowest = before[name].min() - LOW if value.ndim == 1 else torch.tensor(0.0)
        assert torch.equal(new, lowest.expand_as(new)), name
    carry_over(source, target, config, [None] * 4)
    again = target.state_dict()
    assert all(not torch.equal(again[name], own[name]) for name in axes), "they stay as the target had them before"
    target.load_state_dict(own)
    carry_over(source, target, config, [None] * 4)
    assert all(torch.equal(target.state_dict()[name], own[name]) for name in axes)


@pytest.mark.parametrize("shared", [[0, 2], []])
def test_kept_rows_stand_to_the_shared_ones_as_they_did(shared: list[int]) -> None:
    config = ModelConfig(**TINY, localizer="oaam", fusion="joint")
    target, solved = build_model(config, 5), build_model(config, 3)
    assert isinstance(target, TLAAM) and isinstance(solved, TLAAM)
    for network in (target, solved):
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.normal_()
    features = torch.randn(7, target.classifier.in_features)

    def gap(rows: Any, known: Any, of: Any) -> Tensor:
        """Scores of classes 3 and 4 less the mean of the shared ones."""
        scores, others = features @ rows.weight.T + rows.bias, features @ known.weight.T + known.bias
        return scores[:, 3:] - (others[:, of].mean(1, keepdim=True))

    anchor = shared or [0, 1, 2]
    before = gap(target.classifier, target.classifier, shared or [3, 4])
    old_kept = target.classifier.weight[3:].clone()
    rejoin(target, solved, shared)
    after = gap(target.classifier, solved.classifier, anchor)
    assert torch.allclose(before, after, atol=1e-4)
    assert not torch.equal(target.classifier.weight[3:], old_kept)
    for name, value in solved.state_dict().items():
        found = target.state_dict()[name]
        assert torch.equal(found[:3] if found.shape != value.shape else found, value), name


def test_rows_may_lie_along_any_axis_and_a_tensor_of_several_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Network(nn.Module):
        def __init__(self, classes: int, square: bool) -> None:
            super().__init__()
            self.kept = nn.Parameter(torch.randn(4))
            self.columns = nn.Parameter(torch.randn(2, classes, 3))
            self.pairs = nn.Parameter(torch.randn(classes, classes if square else 5))

    def built(config: Any, classes: int, *, load_pretrained: bool) -> Network:
        assert not load_pretrained
        return Network(classes, config)

    monkeypatch.setattr(class_rows, "build_model", built)
    source, target = Network(2, False), Network(3, False)
    settings: Any = False
    assert class_axes(settings, target, 3) == {"columns": 1, "pairs": 0}  # type: ignore[arg-type]
    carry_over(source, target, settings, [None, 1, 0])  # type: ignore[arg-type]
    assert torch.equal(target.kept, source.kept)
    assert torch.equal(target.columns[:, 1:], source.columns.flip(1)) and not target.columns[:, 0].any()
    settings = True
    with pytest.raises(ModelError, match="'pairs' of this network"):
        class_axes(settings, Network(3, True), 3)  # type: ignore[arg-type]


def test_a_new_class_s_bias_lies_below_the_lowest() -> None:
    assert LOW == 1.0
    config = ModelConfig(**TINY, localizer="none", parts="none")
    source, target = build_model(config, 2), build_model(config, 3)
    assert isinstance(source, TLAAM) and isinstance(target, TLAAM)
    with torch.no_grad():
        source.classifier.bias.copy_(torch.tensor([0.5, -2.0]))
    carry_over(source, target, config, [1, None, 0])
    assert target.classifier.bias.tolist() == [-2.0, -3.0, 0.5]
