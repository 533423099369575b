"""Folded networks answer as unfolded ones, view by view, and what cannot be folded is left alone."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from tlaam.inference.folding import FoldedConv2d, fold_norms
from tlaam.models.norm import ViewNorm2d, fix_statistics, select_view, split_statistics

NETWORKS = ["tf_efficientnet_lite0", "resnet18", "resnet50", "mobilenetv3_small_100", "densenet121", "regnety_002"]


def with_statistics(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
    return network


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, (nn.BatchNorm2d, ViewNorm2d)) for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("views", [1, 3])
def test_a_folded_network_answers_as_before(name: str, views: int) -> None:
    network = with_statistics(name)
    if views > 1:
        split_statistics(network, views)
        for norm in network.modules():
            if isinstance(norm, ViewNorm2d):
                norm.means += torch.randn(norm.means.shape) * 0.1
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = []
        for view in range(views):
            select_view(network, view)
            before.append(network.forward_features(x))  # type: ignore[operator]
        count = norms(network)
        folded = fold_norms(network)
        assert folded > 0 and norms(network) == count - folded
        if name != "densenet121":  # which normalises before it convolves, all but its first layers
            assert norms(network) == 0
        for view in range(views):
            select_view(network, view)
            after = network.forward_features(x)  # type: ignore[operator]
            torch.testing.assert_close(after, before[view], rtol=1e-4, atol=1e-4 * float(before[view].abs().max()))
    assert views == 1 or not torch.allclose(before[0], before[1], rtol=1e-2)


def test_one_set_of_statistics_serves_every_view() -> None:
    network = with_statistics("resnet18")
    fix_statistics(network)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = network.forward_features(x)  # type: ignore[operator]
        assert fold_norms(network) == 20
        select_view(network, 2)
        torch.testing.assert_close(network.forward_features(x), before, rtol=1e-4, atol=1e-4)  # type: ignore[operator]


class Shared(nn.Module):
    """Its convolution's output is also used as it is, which no pair of modules shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        nn.init.normal_(self.norm.running_mean)  # type: ignore[arg-type]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        normalised: torch.Tensor = self.norm(x)
        return normalised + x


def test_what_would_answer_otherwise_is_put_back() -> None:
    network = Shared().eval()
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        before = network.forward_features(x)
        assert fold_norms(network) == 0
        assert torch.equal(network.forward_features(x), before)
    assert isinstance(network.conv, nn.Conv2d) and not any(isinstance(m, FoldedConv2d) for m in network.modules())


def test_a_network_without_batch_normalisation_is_left_alone() -> None:
    assert fold_norms(timm.create_model("test_vit", num_classes=0).eval(), 160) == 0
