"""CAM, Grad-CAM and Grad-CAM++ against their papers' definitions, differentiated in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tlaam.models.heatmaps import LinearHead, class_gradient, object_heatmap
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
