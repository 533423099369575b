"""Views' statistics against one plain batch normalisation a view."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from tlaam.models.norm import ViewNorm2d, select_view, split_statistics


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
