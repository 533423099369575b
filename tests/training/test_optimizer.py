from __future__ import annotations

from typing import Any

import pytest
import torch
from stub_network import StubNetwork
from torch import nn

from tlaam.config.learning import learning
from tlaam.config.sections import ModelConfig, TrainingConfig
from tlaam.errors import ConfigError
from tlaam.models.architecture import Architecture
from tlaam.models.build import build_model
from tlaam.training.optimizer import build_optimizer, freeze_stages, parameter_groups, set_lr


def test_every_parameter_has_its_rate_and_decay() -> None:
    model: Any = StubNetwork(3)
    groups = parameter_groups(model, training(lr=0.1, classifier_lr=0.5, weight_decay=1e-3))
    of = {id(p): group for group in groups for p in group["params"]}
    assert len(of) == len(list(model.parameters()))
    convolution, norm = model.backbone[0], model.backbone[1]
    for parameter, lr, decay in (
        (convolution.weight, 0.1, 1e-3),
        (convolution.bias, 0.1, 0.0),
        (norm.weight, 0.1, 0.0),
        (model.classifier.weight, 0.5, 1e-3),
        (model.classifier.bias, 0.5, 0.0),
    ):
        assert (of[id(parameter)]["lr"], of[id(parameter)]["weight_decay"]) == (lr, decay)


def test_frozen_parameters_are_left_out() -> None:
    model: Any = StubNetwork(3)
    model.backbone.requires_grad_(False)
    assert all(group["lr"] == 0.5 for group in parameter_groups(model, training(lr=0.1, classifier_lr=0.5)))


def test_optimisers_and_rates() -> None:
    model: Any = StubNetwork(3)
    sgd = build_optimizer(model, training(lr=0.2, momentum=0.8))
    assert isinstance(sgd, torch.optim.SGD)
    assert not sgd.param_groups[0]["nesterov"] and {group["momentum"] for group in sgd.param_groups} == {0.8}
    assert {group["lr"] for group in sgd.param_groups} == {0.2}
    assert isinstance(build_optimizer(model, training(optimizer="adamw")), torch.optim.AdamW)
    both = build_optimizer(model, training(lr=0.2, classifier_lr=1.0))
    set_lr(both, 0.5)
    set_lr(both, 0.5)  # does not accumulate
    assert sorted({group["lr"] for group in both.param_groups}) == [0.1, 0.5]


def test_stages_nearer_to_the_input_learn_more_slowly() -> None:
    model = small_network()
    settings = training(lr=1.0, classifier_lr=4.0, backbone_lr_ratio=0.5, layer_decay=0.1)
    rate = {id(p): group["lr"] for group in parameter_groups(model, settings) for p in group["params"]}
    network: Any = model.backbone.network
    assert rate[id(network.layer4[0].conv1.weight)] == pytest.approx(0.5)
    assert rate[id(network.layer3[1].bn2.weight)] == pytest.approx(0.05)
    assert rate[id(network.layer1[0].conv1.weight)] == pytest.approx(0.0005)
    assert rate[id(network.conv1.weight)] == pytest.approx(0.00005)
    assert {rate[id(p)] for p in model.head_parameters()} == {4.0}


def test_frozen_stages_take_no_part() -> None:
    model = small_network()
    freeze_stages(model, 2)
    network: Any = model.backbone.network
    assert not any(p.requires_grad for part in (network.conv1, network.bn1, network.layer1) for p in part.parameters())
    assert all(p.requires_grad for part in (network.layer2, network.layer4) for p in part.parameters())
    with pytest.raises(ConfigError, match="frozen_stages is 6; resnet18 has 5 stages"):
        freeze_stages(model, 6)


def test_all_stages_may_be_frozen() -> None:
    model: Any = small_network()
    freeze_stages(model, 5)
    assert not any(p.requires_grad for p in model.backbone.network.parameters())
    assert all(p.requires_grad for p in model.classifier.parameters())


def test_a_localiser_learns_ten_times_as_fast_as_the_head_and_the_backbone_by_its_ratio() -> None:
    model: Any = StubNetwork(3)
    model.localizer_parameters = lambda: iter([model.backbone[0].weight])
    groups = parameter_groups(model, training(lr=0.1, classifier_lr=0.5, backbone_lr_ratio=0.25))
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rate[id(model.backbone[0].weight)] == pytest.approx(5.0)
    assert rate[id(model.backbone[0].bias)] == pytest.approx(0.025)
    assert rate[id(model.classifier.weight)] == 0.5


def test_stages_that_timm_does_not_know_matter_only_where_they_are_asked_for() -> None:
    model: Any = small_network()
    model.backbone.network = nn.Conv2d(3, 4, 1)
    assert parameter_groups(model, training(lr=0.1, layer_decay=1.0))
    freeze_stages(model, 0)
    with pytest.raises(ConfigError, match="does not tell the stages of resnet18 apart"):
        freeze_stages(model, 1)
    with pytest.raises(ConfigError, match="does not tell the stages"):
        parameter_groups(model, training(lr=0.1, layer_decay=0.9))


def training(**options: Any) -> TrainingConfig:
    """Settings, those left open as they are resolved for SGD."""
    return TrainingConfig(**{**learning("resnet18", "sgd", probed=False), **options})


def small_network() -> Architecture:
    config = ModelConfig(backbone="resnet18", image_size=64, source_size=64, part_size=32, pretrained="none")
    return build_model(config, 3)
