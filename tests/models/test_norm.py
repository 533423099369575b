"""Views' statistics against one plain batch normalisation a view."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from tlaam.models.norm import FixedNorm2d, ViewNorm2d, fix_statistics, select_view, split_statistics, statistics_kept


@pytest.mark.parametrize("momentum", [0.1, 0.3])
def test_each_view_is_a_batch_normalisation_of_its_own(momentum: float) -> None:
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(5, momentum=momentum)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    apart = [copy.deepcopy(plain) for _ in range(3)]
    together = ViewNorm2d(plain, 3)
    for step in range(7):
        view = step % 3
        x = torch.randn(4, 5, 3, 3) * (view + 1) + view
        together.view = view
        torch.testing.assert_close(together(x), apart[view](x))
    together.eval()
    x = torch.randn(2, 5, 3, 3)
    for view, norm in enumerate(apart):
        together.view = view
        torch.testing.assert_close(together(x), norm.eval()(x))
    assert set(together.state_dict()) == {"weight", "bias", "means", "variances"}


def nested() -> nn.Sequential:
    """Two normalisations, one of them inside, and a third that keeps no statistics."""
    torch.manual_seed(1)
    inner = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, momentum=0.25, eps=1e-2))
    network = nn.Sequential(nn.BatchNorm2d(4), inner, nn.BatchNorm2d(4, track_running_stats=False))
    for norm in (network[0], inner[1]):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.normal_(norm.weight)
    return network


def test_a_new_norm_begins_with_the_first_view_and_keeps_activation_and_dropout() -> None:
    norm = nn.BatchNorm2d(3)
    assert ViewNorm2d(norm, 2).view == 0
    norm.drop, norm.act = nn.Dropout2d(1.0), nn.ReLU()
    for successor in (ViewNorm2d(norm, 2), FixedNorm2d(norm)):
        x = torch.randn(4, 3, 2, 2)
        torch.testing.assert_close(successor.eval()(x), (x / (1 + norm.eps) ** 0.5).relu())
        assert not successor.train()(x).any(), "all dropped"


def test_fixed_statistics_stay_and_are_used_while_training() -> None:
    network = nested()
    expected = copy.deepcopy(network).eval()
    assert fix_statistics(network) == 2
    assert isinstance(network[0], FixedNorm2d) and isinstance(network[1][1], FixedNorm2d)
    assert isinstance(network[2], nn.BatchNorm2d)
    x = torch.randn(6, 4, 3, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    torch.testing.assert_close(network.train()(x), expected(x))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    network(x).square().sum().backward()
    assert network[0].weight.grad is not None and network[1][1].bias.grad is not None


def test_a_norm_that_is_replaced_stays_in_its_mode() -> None:
    network = nested()
    network[0].eval()
    assert split_statistics(network, 3) == 2
    assert not network[0].training and network[1][1].training
    assert network[0].means.shape == network[1][1].variances.shape == (3, 4)


def test_statistics_are_kept_for_as_long_as_asked_also_when_it_fails() -> None:
    network = nested()[:2]  # the second is left a plain one
    network[0] = ViewNorm2d(network[0], 2)
    select_view(network, 1)
    assert network[0].view == 1
    x = torch.randn(6, 4, 3, 3)

    def moved() -> list[bool]:
        before = [network[0].means.clone(), network[1][1].running_mean.clone()]
        network(x)
        return [
            not torch.equal(new, old)
            for new, old in zip((network[0].means, network[1][1].running_mean), before, strict=True)
        ]

    with pytest.raises(KeyError), statistics_kept(network):
        assert moved() == [False, False]
        raise KeyError
    assert (network[0].momentum, network[1][1].momentum) == (0.1, 0.25)
    assert moved() == [True, True]
    select_view(network, 0)
    untouched = network[0].means[1].clone()
    network(x)
    assert torch.equal(network[0].means[1], untouched)


@pytest.mark.parametrize(("name", "some"), [("tf_efficientnet_lite0", True), ("resnet18", True), ("test_vit", False)])
def test_a_split_network_answers_as_before_whatever_the_view(name: str, some: bool) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=3).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
    x = torch.randn(2, 3, *network.default_cfg["input_size"][1:])
    with torch.no_grad():
        before = network(x)
        assert (split_statistics(network, 2) > 0) is some
        for view in range(2):
            select_view(network, view)
            torch.testing.assert_close(network(x), before)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
