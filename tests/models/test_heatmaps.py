"""OAAM's heat map: the closed form against autograd in float64, and autograd against the definition written by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tlaam.config.sections import ModelConfig
from tlaam.errors import ModelError
from tlaam.models.build import build_model
from tlaam.models.crops import crop_and_resize, whole_image_boxes
from tlaam.models.heatmaps import (
    LinearHead,
    autograd_heatmap,
    class_gradient,
    closed_form_heatmap,
    object_heatmap,
    start_small,
)

# One of each family: convolutional maps, channels-last maps, token grids with class and register tokens.
FAMILIES = {
    "resnet": ("resnet18", 64),
    "efficientnet": ("tf_efficientnet_lite0", 64),
    "mobilenetv3": ("mobilenetv3_small_050", 64),
    "convnext": ("test_convnext", 64),
    "swin": ("swin_tiny_patch4_window7_224", 96),
    "vit": ("test_vit", 96),
    "deit": ("deit_tiny_patch16_224", 64),
    "dinov2": ("vit_small_patch14_reg4_dinov2", 112),
    "dinov3": ("vit_small_patch16_dinov3", 96),
}


def definition(features: Tensor, gradient: Tensor) -> Tensor:
    """The equations of docs/how-it-works.md, 2, as they stand there, loop by loop."""
    maps = []
    for a, g in zip(features, gradient, strict=True):
        heat = torch.zeros_like(a[0])
        for a_k, g_k in zip(a, g, strict=True):
            denominator = 2 * g_k**2 + a_k.sum() * g_k**3
            alpha = torch.where(g_k == 0, 0, g_k**2 / torch.where(g_k == 0, 1, denominator))
            heat = heat + (alpha * g_k.relu()).sum() * a_k
        maps.append(heat.relu())
    return torch.stack(maps)


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_form_equals_the_autograd_definition_in_float64(family: str) -> None:
    name, size = FAMILIES[family]
    torch.manual_seed(0)
    config = ModelConfig(backbone=name, image_size=size, pretrained="none", attention="none", parts="none")
    model = build_model(config, 7).double().eval()
    nn.init.normal_(model.classifier.weight)
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    classes = torch.tensor([3, 5])
    with torch.no_grad():
        features = model.backbone(images)
    features.requires_grad_()
    scores = model.classifier(features)
    (gradient,) = torch.autograd.grad(scores.gather(1, classes[:, None]).sum(), features)
    expected = definition(features.detach(), gradient)
    found = object_heatmap(features, classes, model.classifier)
    assert expected.max() > 0
    assert (found - expected).abs().max() <= 1e-10 * max(1.0, expected.max().item())


@pytest.mark.parametrize(("name", "size", "layer"), [
    ("resnet18", 64, "layer3"),
    ("swin_tiny_patch4_window7_224", 96, "layers.1"),
    ("test_vit", 96, "blocks.2"),
])  # fmt: skip
def test_an_earlier_layer_takes_the_autograd_path(name: str, size: int, layer: str) -> None:
    torch.manual_seed(1)
    config = ModelConfig(
        backbone=name, image_size=size, source_size=size, pretrained="none", attention="none", parts="none",
        heatmap_layer=layer,
    )  # fmt: skip
    model = build_model(config, 5).double().eval()
    nn.init.normal_(model.classifier.weight)
    images = torch.rand(2, 3, size, size, dtype=torch.float64)
    with torch.no_grad():
        output = model(images)
    x = crop_and_resize((images - model.mean) / model.std, whole_image_boxes(images)[:, None], size)
    with model.backbone.capture(layer, x) as maps:
        scores = model.classifier(model.backbone(x))
    (gradient,) = torch.autograd.grad(scores.max(1).values.sum(), maps[0])
    expected = definition(maps[0].detach(), gradient)
    assert output.heatmaps is not None
    assert output.heatmaps.shape == expected.shape
    torch.testing.assert_close(output.heatmaps, expected, rtol=1e-6, atol=1e-12 * expected.max().item())
    assert not any(tap.maps or tap.x is not None for tap in model.backbone._taps.values()), "maps were kept"


def test_a_head_that_is_not_linear_is_differentiated() -> None:
    torch.manual_seed(2)
    features = torch.rand(3, 6, 4, 5, dtype=torch.float64)
    head = nn.Sequential(nn.Flatten(), nn.Linear(120, 9), nn.Tanh(), nn.Linear(9, 4)).double()
    classes = torch.tensor([0, 3, 1])
    found = object_heatmap(features, classes, head)
    inputs = features.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(head(inputs).gather(1, classes[:, None]).sum(), inputs)
    torch.testing.assert_close(found, definition(features, gradient), rtol=1e-9, atol=1e-12)


def test_it_is_float32_under_autocast_and_needs_no_gradient() -> None:
    head = LinearHead(8, 3)
    features = torch.rand(2, 8, 3, 3)
    classes = torch.tensor([0, 2])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = object_heatmap(features.bfloat16(), classes, head)
    assert found.dtype == torch.float32
    expected = closed_form_heatmap(features.bfloat16().float(), classes, head.weight)
    assert torch.equal(found, expected)


def test_the_pole_of_negative_features_stays_finite() -> None:
    features = torch.full((1, 1, 2, 2), -1.0)
    weight = torch.tensor([[2.0]])  # 2 + V · mean = 0, which counts as a hair above it
    heat = closed_form_heatmap(features, torch.tensor([0]), weight)
    assert heat.isfinite().all() and not heat.any()
    both = torch.cat([features, -features], 1)  # and a channel that is 1 everywhere
    heat = closed_form_heatmap(both, torch.tensor([0]), torch.tensor([[2.0, 4.0]]))
    assert heat.isfinite().all() and not heat.any(), "the first channel outweighs the second"


def test_gradients_of_one_count_as_others_do() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    found = autograd_heatmap(maps, maps.sum((2, 3)), torch.tensor([0]))  # α = 1 / (2 + 10), of four cells
    torch.testing.assert_close(found, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]) * 4 / 12)


def test_the_graph_is_kept_unless_it_shall_not_be() -> None:
    maps = torch.rand(1, 2, 3, 3, requires_grad=True)
    scores = maps.square().sum((2, 3))
    for differentiate in (autograd_heatmap, class_gradient):
        first = differentiate(maps, scores, torch.tensor([1]))
        assert torch.equal(first, differentiate(maps, scores, torch.tensor([1])))
    autograd_heatmap(maps, scores, torch.tensor([1]), retain_graph=False)
    with pytest.raises(RuntimeError, match="second time"):
        scores.sum().backward()


def test_it_is_made_in_float32_under_autocast_where_it_is_differentiated() -> None:
    maps = torch.rand(2, 3, 4, 4, requires_grad=True)
    scores, classes = maps.square().sum((2, 3)), torch.tensor([1, 2])
    gradient = torch.zeros_like(maps)
    gradient[[0, 1], classes] = 2 * maps[[0, 1], classes]
    with torch.autocast("cpu", torch.bfloat16):
        found = autograd_heatmap(maps, scores, classes)
    torch.testing.assert_close(found, definition(maps.detach(), gradient.detach()), rtol=1e-5, atol=1e-6)
    finer = closed_form_heatmap(maps, classes - 1, torch.rand(2, 3, dtype=torch.float64))
    assert finer.dtype == torch.float32


def test_the_head_is_linear_in_the_means() -> None:
    torch.manual_seed(0)
    head, features = LinearHead(6, 4), torch.rand(3, 6, 2, 5)
    expected = features.mean((2, 3)) @ head.weight.T + head.bias
    for mode in (True, False):  # nothing is dropped unless asked
        torch.testing.assert_close(head.train(mode)(features), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(head(features), expected)
        assert head(features.bfloat16()).dtype == torch.float32
    assert head.double()(features).dtype == head.pooled(features).dtype == torch.float64


def test_the_head_drops_means_while_training_alone() -> None:
    head, features = LinearHead(400, 1, drop=0.75), torch.ones(1, 400, 1, 1)
    nn.init.ones_(head.weight)
    torch.manual_seed(0)
    kept = (float(head(features).detach()) - float(head.bias)) / 4  # what is kept counts 1 / (1 - 0.75) times
    assert kept == pytest.approx(round(kept), abs=1e-3) and 70 < kept < 130
    assert float(head.eval()(features).detach()) == pytest.approx(400 + float(head.bias))


def test_classifiers_start_small_and_others_as_they_are() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(LinearHead(500, 40), nn.Linear(500, 40))
    other = network[1].weight.clone()
    assert start_small(network) is network
    assert float(network[0].weight.std()) == pytest.approx(0.01, rel=0.05) and not network[0].bias.any()
    assert abs(float(network[0].weight.mean())) < 3e-4
    assert torch.equal(network[1].weight, other) and network[1].bias.any()


def test_scores_without_a_graph_are_refused() -> None:
    with pytest.raises(ModelError, match="no graph"):
        autograd_heatmap(torch.rand(1, 2, 3, 3), torch.rand(1, 4), torch.tensor([0]))
