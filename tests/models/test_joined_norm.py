"""Convolutions that do the work of the fixed normalisation behind them."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from tlaam.models.joined_norm import JoinedConv2d, join_norms, separate_norms
from tlaam.models.norm import FixedNorm2d, fix_statistics, split_statistics


def fixed(name: str) -> nn.Module:
    """Return a small network in double precision whose fixed statistics matter."""
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).double()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert norm.running_mean is not None and norm.running_var is not None
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
    assert fix_statistics(network)
    return network


def gradients(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    network.zero_grad()
    maps: Tensor = network.forward_features(x)  # type: ignore[operator]
    maps.square().sum().backward()  # type: ignore[no-untyped-call]
    return {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18"])
def test_maps_and_gradients_are_the_same_and_so_are_names(name: str) -> None:
    network = fixed(name).eval()  # dropping paths would draw other numbers
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    before, named = gradients(network, x), {k: v.shape for k, v in network.state_dict().items()}
    norms = sum(isinstance(module, FixedNorm2d) for module in network.modules())
    assert join_norms(network, 64) == norms
    assert sum(isinstance(module, JoinedConv2d) for module in network.modules()) == norms
    after = gradients(network, x)
    assert after.keys() == before.keys()
    for parameter, gradient in before.items():
        torch.testing.assert_close(after[parameter], gradient, rtol=1e-9, atol=1e-9)
    assert {k: v.shape for k, v in network.state_dict().items()} == named

    twin = copy.deepcopy(network)
    with torch.no_grad():
        for norm in twin.modules():
            if isinstance(norm, FixedNorm2d):
                norm.weight.zero_()
        assert not torch.equal(twin.forward_features(x), network.forward_features(x)), "a copy uses its own"
    torch.testing.assert_close(gradients(network, x)["conv_stem.weight" if "lite" in name else "conv1.weight"],
                               before["conv_stem.weight" if "lite" in name else "conv1.weight"])  # fmt: skip

    separate_norms(network)
    assert not any(isinstance(module, JoinedConv2d) for module in network.modules())
    plain = gradients(network, x)
    assert all(torch.equal(plain[parameter], gradient) for parameter, gradient in before.items())


def test_modes_stay() -> None:
    network = fixed("resnet18").train()
    network.layer1.eval()
    before = {name: module.training for name, module in network.named_modules()}
    assert join_norms(network, 64)
    assert {name: module.training for name, module in network.named_modules()} == before


def test_statistics_that_are_not_fixed_are_left() -> None:
    for prepare in (lambda network: None, lambda network: split_statistics(network, 3)):
        network = timm.create_model("resnet18", num_classes=0)
        prepare(network)
        assert join_norms(network, 64) == 0
        assert not any(isinstance(module, JoinedConv2d) for module in network.modules())


def test_a_network_that_would_answer_otherwise_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fixed("resnet18").eval()
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        before = network.forward_features(x)
        honest = FixedNorm2d.scale_and_shift
        monkeypatch.setattr(FixedNorm2d, "scale_and_shift", lambda self: (honest(self)[0], honest(self)[1] + 1))
        assert join_norms(network, 64) == 0
        torch.testing.assert_close(network.forward_features(x), before, rtol=0, atol=0)
