"""CAM, Grad-CAM and Grad-CAM++ against their papers' definitions, differentiated in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from skimage import measure
from torch import Tensor, nn

from tlaam.models.heatmaps import LinearHead, autograd_heatmap, class_gradient, object_heatmap
from tlaam.models.localizers.base import Evidence, Localizer
from tlaam.models.localizers.cam import CAM, GradCAM, GradCAMPlusPlus, cam_heatmap, gradcam_heatmap

LOCALIZERS = [
    CAM(threshold=0.2, upsample=4),
    GradCAM(threshold=0.15, upsample=4),
    GradCAMPlusPlus(threshold=0.25, upsample=4),
]


def scene(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, LinearHead]:
    torch.manual_seed(0)
    head = LinearHead(6, 4).to(dtype)
    nn.init.normal_(head.weight)
    return torch.rand(3, 6, 5, 7, dtype=dtype), torch.tensor([2, 0, 3]), head


def test_cam_weighs_the_map_with_the_classifier() -> None:
    features, classes, head = scene()
    heat = cam_heatmap(features, classes, head.weight)
    for image, label in enumerate(classes.tolist()):
        expected = sum(head.weight[label, k].item() * features[image, k] for k in range(6))
        torch.testing.assert_close(heat[image], torch.as_tensor(expected).relu())
    assert (heat > 0).any() and not heat.requires_grad


def test_gradcams_closed_form_is_its_definition() -> None:
    features, classes, head = scene()
    features.requires_grad_()
    scores = head(features)
    expected = gradcam_heatmap(features, class_gradient(features, scores, classes))
    found = GradCAM(threshold=0.15, upsample=4)(
        Evidence(features.detach(), scores.detach(), classes, head), 70
    ).heatmaps
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    assert (expected > 0).any()


def test_gradcam_averages_a_gradient_that_varies() -> None:
    features, classes, _ = scene()
    features.requires_grad_()
    scores = (features**2).mean((2, 3))[:, :4]
    heat = gradcam_heatmap(features, class_gradient(features, scores, classes))
    for image, label in enumerate(classes.tolist()):
        weight = (2 * features[image, label] / 35).mean()
        torch.testing.assert_close(heat[image], (weight * features[image, label]).relu().detach())


def test_gradcam_plus_plus_is_oaams_map_times_the_exponential_score() -> None:
    """The paper's own α: second and third derivatives of exp(Y), cell by cell."""
    features, classes, head = scene()
    found = object_heatmap(features, classes, head)
    for image, label in enumerate(classes.tolist()):

        def exponential(cell: Tensor, k: int, i: int, j: int, image: int = image, label: int = label) -> Tensor:
            changed = features[image].clone()
            changed[k, i, j] = cell
            return head(changed[None])[0, label].exp()

        weights = []
        for k in range(6):
            total = torch.zeros((), dtype=torch.float64)
            for i in range(5):
                for j in range(7):
                    cell = features[image, k, i, j].clone().requires_grad_()
                    (first,) = torch.autograd.grad(exponential(cell, k, i, j), cell, create_graph=True)
                    (second,) = torch.autograd.grad(first, cell, create_graph=True)
                    (third,) = torch.autograd.grad(second, cell)
                    alpha = second / (2 * second + features[image, k].sum() * third)
                    total = total + (alpha * first.relu()).detach()
            weights.append(total)
        expected = sum(w * a for w, a in zip(weights, features[image], strict=True))
        scale = head(features[image][None])[0, label].exp().detach()
        torch.testing.assert_close(found[image] * scale, torch.as_tensor(expected).relu(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("localizer", LOCALIZERS)
def test_the_box_is_what_exceeds_a_fraction_of_the_maximum(localizer: Localizer) -> None:
    features, _, head = scene(torch.float32)
    features = torch.zeros(1, 6, 7, 7)
    nn.init.ones_(head.weight)
    features[0, :, 2:5, 1:4] = 1.0
    features[0, :, 6, 6] = 0.05  # below every threshold
    found = localizer(Evidence(features, head(features), torch.tensor([1]), head), 224)
    x0, y0, x1, y1 = found.boxes[0].tolist()
    assert 16 <= x0 <= 32 and 128 <= x1 <= 144 and 48 <= y0 <= 64 and 160 <= y1 <= 176  # upsampling blurs half a cell


@pytest.mark.parametrize("localizer", LOCALIZERS)
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_a_flat_map_is_the_whole_image(localizer: Localizer, value: float) -> None:
    _, _, head = scene(torch.float32)
    features = torch.full((2, 6, 4, 4), value)
    found = localizer(Evidence(features, head(features), torch.tensor([1, 2]), head), 64)
    assert found.heatmaps.isfinite().all()
    assert found.boxes.tolist() == [[0, 0, 64, 64]] * 2


@pytest.mark.parametrize("made", [CAM, GradCAM, GradCAMPlusPlus])
@pytest.mark.parametrize("upsample", [1, 3])
def test_boxes_lie_around_the_largest_component_above_the_fraction(made: Any, upsample: int) -> None:
    features, classes, head = scene(torch.float32)
    features = features**4  # steep, so that the fraction matters
    nn.init.uniform_(head.weight)
    found = made(threshold=0.6, upsample=upsample)(Evidence(features, head(features), classes, head), 70)
    for heat, box in zip(found.heatmaps, found.boxes, strict=True):
        size = (5 * upsample, 7 * upsample)
        fine = nn.functional.interpolate(heat[None, None], size=size, mode="bilinear")[0, 0]
        regions = measure.regionprops(measure.label((fine > 0.6 * fine.max()).numpy(), connectivity=2))
        y0, x0, y1, x1 = max(regions, key=lambda region: region.area).bbox
        expected = [x0 * 70 / size[1], y0 * 70 / size[0], x1 * 70 / size[1], y1 * 70 / size[0]]
        torch.testing.assert_close(box, torch.tensor(expected))


@pytest.mark.parametrize("made", [GradCAM, GradCAMPlusPlus])
@pytest.mark.parametrize("learning", [True, False])
def test_an_earlier_map_is_explained_by_the_gradient(made: Any, learning: bool) -> None:
    maps, classes, head = scene(torch.float32)
    maps.requires_grad_()
    scores = head(nn.functional.conv2d(maps, torch.rand(6, 6, 3, 3) - 0.5).relu())
    gradient = class_gradient(maps, scores, classes)
    expected = gradcam_heatmap(maps, gradient) if made is GradCAM else autograd_heatmap(maps, scores, classes)
    evidence = Evidence(torch.zeros(3, 6, 3, 5), scores, classes, head, layer_maps=maps)
    with torch.set_grad_enabled(learning):
        found = made("layer", threshold=0.5, upsample=1)(evidence, 70)
    torch.testing.assert_close(found.heatmaps, expected)
    if learning:
        scores.sum().backward()
    else:
        with pytest.raises(RuntimeError, match="second time"):
            scores.sum().backward()


def test_settings_are_kept_and_one_zoom_is_the_number() -> None:
    for made in (GradCAM, GradCAMPlusPlus):
        plain, other = made(threshold=0.5, upsample=1), made("layer2", threshold=0.5, upsample=1, zoom_steps=2)
        assert (plain.layer, plain.zoom_steps, other.layer, other.zoom_steps) == (None, 1, "layer2", 2)
        assert plain.needs_gradient
    assert (
        CAM(threshold=0.5, upsample=1).zoom_steps == 1 and CAM(threshold=0.5, upsample=1, zoom_steps=2).zoom_steps == 2
    )


def test_maps_are_in_float32_under_autocast_and_where_weights_are_finer() -> None:
    features, classes, head = scene(torch.float32)
    gradient = torch.rand(3, 6, 5, 7)
    cam = torch.stack([(head.weight[c, :, None, None] * a).sum(0) for c, a in zip(classes, features, strict=True)])
    grad = torch.stack([(g.mean((1, 2))[:, None, None] * a).sum(0) for g, a in zip(gradient, features, strict=True)])
    with torch.autocast("cpu", torch.bfloat16):
        found, of_gradient = cam_heatmap(features, classes, head.weight), gradcam_heatmap(features, gradient)
    torch.testing.assert_close(found, cam.detach().relu(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(of_gradient, grad.relu(), rtol=1e-5, atol=1e-6)
    assert cam_heatmap(features, classes, head.weight.double()).dtype == torch.float32
