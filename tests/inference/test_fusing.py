"""Networks with fused convolutions answer as before: any size, batch and view, with gradients, copied, in bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from tlaam.inference import fusing
from tlaam.inference.engine import load_engine
from tlaam.inference.folding import FoldedConv2d, fold_norms
from tlaam.inference.fusing import FusedConv2d, fuse_activations
from tlaam.models.norm import ViewNorm2d, select_view, split_statistics

NETWORKS = ["tf_efficientnet_lite0", "resnet18", "resnet50", "mobilenetv3_small_100", "densenet121", "regnety_002"]


def folded(name: str, views: int = 1) -> nn.Module:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.normal_(norm.bias, std=0.1)
    if views > 1:
        split_statistics(network, views)
        for norm in network.modules():
            if isinstance(norm, ViewNorm2d):
                norm.means += torch.randn(norm.means.shape) * 0.1
    assert fold_norms(network) > 0
    return network


def maps(network: nn.Module, x: Tensor, view: int = 0) -> Tensor:
    select_view(network, view)
    with torch.no_grad():
        found: Tensor = network.forward_features(x)  # type: ignore[operator]
    return found.float()


def activations(network: nn.Module) -> int:
    inside = {id(m.act) for m in network.modules() if isinstance(m, FusedConv2d)}
    kinds = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish)
    return sum(isinstance(m, kinds) and id(m) not in inside for m in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_stay_the_same_for_every_size_and_view(name: str) -> None:
    network = folded(name, views=3)
    images = [torch.randn(shape) for shape in ((2, 3, 64, 64), (5, 3, 96, 64), (1, 3, 64, 64))]
    before = [[maps(network, x, view) for x in images] for view in range(3)]
    apart = activations(network)
    count = sum(isinstance(m, FoldedConv2d) for m in network.modules())
    assert fuse_activations(network) == count > 0
    assert activations(network) < apart
    for view in (2, 0, 1):
        for x, expected in zip(images, before[view], strict=True):
            scale = float(expected.abs().max())
            torch.testing.assert_close(maps(network, x, view), expected, rtol=1e-4, atol=1e-4 * scale)


def test_in_bfloat16_it_errs_no_more_than_the_plain_network() -> None:
    network = folded("resnet18")
    x = torch.randn(2, 3, 64, 64)
    exact = maps(network, x)
    plain = copy.deepcopy(network).to(torch.bfloat16)
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():  # asked of oneDNN itself, not of what is tested
        pytest.skip("this processor has no instructions for bfloat16 convolutions")
    assert fuse_activations(network, dtype=torch.bfloat16)
    assert maps(network, x).sub(exact).abs().mean() <= 1e-4 * exact.abs().mean()  # packed in float32 first
    network.to(torch.bfloat16)
    allowed = 1.5 * maps(plain, x.to(torch.bfloat16)).sub(exact).abs().mean()
    assert maps(network, x).sub(exact).abs().mean() <= allowed


def test_gradients_pass_and_copies_answer_the_same() -> None:
    network = folded("resnet18")
    x = torch.randn(1, 3, 64, 64, requires_grad=True)
    (expected,) = torch.autograd.grad(network.forward_features(x).square().sum(), x)  # type: ignore[operator]
    fuse_activations(network)
    answer = maps(network, x)
    torch.testing.assert_close(maps(copy.deepcopy(network), x), answer)
    (found,) = torch.autograd.grad(network.forward_features(x).square().sum(), x)  # type: ignore[operator]
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


class Shared(nn.Module):
    """What its convolution puts out is also used as it is, which no pair of modules shows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        activated: Tensor = self.act(x)
        return activated + x


def test_a_network_that_would_answer_otherwise_is_left_alone() -> None:
    network = Shared().eval()
    assert fold_norms(network) == 1
    x = torch.randn(1, 3, 64, 64)
    before = maps(network, x)
    assert fuse_activations(network) == 0
    assert isinstance(network.act, nn.ReLU) and isinstance(network.conv, FoldedConv2d)
    torch.testing.assert_close(maps(network, x), before)


def test_who_listens_to_an_activation_goes_on_hearing_it() -> None:
    network = folded("resnet18")
    heard: list[Tensor] = []
    network.layer1[0].act1.register_forward_hook(lambda _m, _i, output: heard.append(output))  # type: ignore[index,union-attr]
    fuse_activations(network)
    maps(network, torch.randn(1, 3, 64, 64))
    assert heard and all(float(x.min()) >= 0 for x in heard)


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[torch.dtype], None]]:
    """A processor without the instructions for a precision, as oneDNN says it."""

    def lack(dtype: torch.dtype) -> None:
        def refused(weight: Tensor, conv: nn.Conv2d, shape: torch.Size) -> Tensor:
            if weight.dtype == dtype:
                raise RuntimeError("mkldnn_reorder_conv2d_weight: bf16 path needs the cpu support avx_ne_convert")
            return reordered(weight, conv, shape)

        monkeypatch.setattr(fusing, "_reordered", refused)
        fusing._available.cache_clear()

    reordered = fusing._reordered
    fusing._available.cache_clear()
    yield lack
    fusing._available.cache_clear()


def test_what_the_processor_lacks_is_not_used(lacking: Callable[[torch.dtype], None]) -> None:
    lacking(torch.float32)
    network = folded("resnet18")
    assert fuse_activations(network) == fuse_activations(network, dtype=torch.bfloat16) == 0
    assert not any(isinstance(m, FusedConv2d) for m in network.modules())


def test_a_processor_without_bfloat16_fuses_in_float32_alone_and_answers_in_both(
    lacking: Callable[[torch.dtype], None], run: Path, photos: Path
) -> None:
    lacking(torch.bfloat16)
    assert fuse_activations(folded("resnet18"), dtype=torch.bfloat16) == 0
    assert fuse_activations(folded("resnet18")) > 0
    for precision in ("32-true", "bf16-mixed"):
        engine = load_engine(run, precision=precision, device="cpu")  # type: ignore[arg-type]
        (answer,) = engine.predict([photos / "jay" / "0.png"])
        assert answer.error is None and engine.model.precision == precision
        fused = any(isinstance(m, FusedConv2d) for m in engine.model.network.modules())  # type: ignore[attr-defined]
        assert fused is (precision == "32-true")


def test_a_release_without_the_operators_is_not_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> Tensor:
        raise AttributeError("'_OpNamespace' 'mkldnn' object has no attribute '_convolution_pointwise'")

    monkeypatch.setattr(fusing, "_convolved", missing)
    fusing._available.cache_clear()
    try:
        assert fuse_activations(folded("resnet18")) == 0
    finally:
        fusing._available.cache_clear()
