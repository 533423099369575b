"""Any timm network: pooled features are timm's own or the difference is said, and one without a map is refused."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from tlaam.errors import ModelError
from tlaam.models.backbone import Backbone
from tlaam.models.heatmaps import LinearHead, autograd_heatmap, closed_form_heatmap
from tlaam.models.pooled_norm import PooledNorm
from tlaam.models.pretrained import _load_by_name
from tlaam.models.timm_network import parameter_count


def pair(name: str, size: int) -> tuple[Backbone, nn.Module]:
    """Return a backbone and timm's own network with the same weights, which do not begin as zeros and ones."""
    torch.manual_seed(0)
    sized = name.startswith(("test_vit", "eva"))
    own = timm.create_model(name, **({"img_size": size} if sized else {}))
    for parameter in own.parameters():
        with torch.no_grad():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    backbone = Backbone(name, size)
    _load_by_name(backbone, own.state_dict(), None)  # type: ignore[arg-type]
    return backbone.eval(), own.eval()


@pytest.mark.parametrize(
    ("name", "size"),
    [("test_resnet", 64), ("test_efficientnet", 64), ("test_byobnet", 64), ("test_nfnet", 64), ("test_convnext", 64),
     ("test_convnext2", 64), ("test_vit2", 96), ("test_vit4", 96), ("test_vit_relpos", 160), ("edgenext_xx_small", 64),
     ("tf_efficientnet_lite0", 64), ("resnet18", 64), ("eva02_tiny_patch14_224", 112), ("tiny_vit_5m_224", 224)],
)  # fmt: skip
def test_pooled_features_are_timms_own(name: str, size: int) -> None:
    backbone, own = pair(name, size)
    x = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = own.forward_head(own.forward_features(x), pre_logits=True)
        found = backbone(x).mean((2, 3))
    assert backbone.remarks == [] and backbone.channels == expected.shape[1]
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "size", "why"),
    [("test_vit", 96, "class token"), ("deit_tiny_patch16_224", 64, "class token"), ("test_vit3", 96, "attn_pool"),
     ("mobilenetv3_small_050", 64, "conv_head"), ("inception_next_atto", 64, "head.fc1"),
     ("coat_lite_tiny", 64, "class token")],
)  # fmt: skip
def test_what_differs_from_timms_own_features_is_said(name: str, size: int, why: str) -> None:
    (remark,) = Backbone(name, size).remarks
    assert why in remark and name in remark


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [("coat_tiny", 64, "coat_tiny puts out 3 sets of features"), ("efficientvim_m1", 64, "puts out 4 sets"),
     ("crossvit_tiny_240", 240, "puts out 2 sets"), ("pit_ti_224", 224, "class token alone"),
     ("pit_ti_distilled_224", 224, "class token"),
     ("halonet26t", 224, "cannot take 224 pixel images.*give image_size 256")],
)  # fmt: skip
def test_a_network_without_a_map_is_refused_in_a_line_with_another(name: str, size: int, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        Backbone(name, size)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "norm",
    [
        nn.LayerNorm(6),
        nn.LayerNorm(6, elementwise_affine=False),
        nn.GroupNorm(1, 6),
        timm.layers.RmsNorm(6),
        timm.layers.LayerNorm2d(6),
    ],
)
def test_a_norm_laid_over_a_map_is_that_of_its_mean(norm: nn.Module) -> None:
    torch.manual_seed(0)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(3, 6, 4, 5, dtype=torch.float64) * 5 + 2
    norm = norm.double()
    pooled = x.mean((2, 3))
    expected = norm(pooled[:, :, None, None]).flatten(1) if "2d" in type(norm).__name__ else norm(pooled)
    assert PooledNorm.fits(norm)
    torch.testing.assert_close(PooledNorm(norm)(x).mean((2, 3)), expected)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(6), nn.GroupNorm(2, 6), nn.Linear(6, 6), nn.Identity()])
def test_other_modules_are_not_laid_over_a_map(norm: nn.Module) -> None:
    assert not PooledNorm.fits(norm)


@pytest.mark.parametrize("name", ["test_vit2", "test_convnext"])
def test_the_closed_form_holds_behind_a_norm(name: str) -> None:
    torch.manual_seed(0)
    backbone, head = Backbone(name, 96).double().eval(), LinearHead(64, 5).double()
    with torch.no_grad():
        features = backbone(torch.randn(2, 3, 96, 96, dtype=torch.float64))
    features.requires_grad_()
    classes = torch.tensor([1, 4])
    expected = autograd_heatmap(features, head(features), classes)
    torch.testing.assert_close(closed_form_heatmap(features, classes, head.weight), expected, rtol=0, atol=1e-9)


def test_models_that_0_1_0_saved_answer_as_they_did() -> None:
    """ConvNeXt's norm stood at each position, under `norm`; the one of other families was not there."""
    x = torch.randn(2, 3, 96, 96)
    for name in ("test_convnext", "test_vit2"):
        backbone = Backbone(name, 96).eval()
        norm = copy.deepcopy(backbone.pooled_norm.norm)
        nn.init.normal_(norm.weight)
        state = {key: value for key, value in backbone.state_dict().items() if key.startswith("network.")}
        if name == "test_convnext":
            state |= {f"norm.{key}": value for key, value in norm.state_dict().items()}
        backbone.load_state_dict(state)
        with torch.no_grad():
            maps = backbone.network.forward_features(x)
            expected = norm(maps) if name == "test_convnext" else maps.transpose(1, 2)[:, :, 1:].unflatten(2, (6, 6))
            torch.testing.assert_close(backbone(x), expected)
        again = Backbone(name, 96).eval()
        again.load_state_dict(backbone.state_dict())  # saved once more, it is still what it was
        assert torch.equal(again(x), backbone(x))


def test_weights_that_are_read_without_a_call_stay() -> None:
    """The rotary positions of a mixed ViT are parameters of a module that is asked, not called."""
    network = Backbone("vit_small_patch16_rope_mixed_224", 64).network
    assert any("freqs" in name for name, _ in network.named_parameters())


def test_a_count_of_parameters_takes_no_memory() -> None:
    assert parameter_count("resnet18", 64) == sum(p.numel() for p in Backbone("resnet18", 64).network.parameters())
