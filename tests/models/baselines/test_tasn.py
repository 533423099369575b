"""TASN: trilinear attention by loops, sampling by the inverse integral, distillation, and the wiring."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tlaam.models.backbone import Backbone
from tlaam.models.baselines.tasn import (
    TASN,
    distillation_loss,
    one_of,
    responding,
    sampling_positions,
    trilinear_attention,
)
from tlaam.models.crops import crop_and_resize, sample_grid, whole_image_boxes


def pictures(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def small() -> TASN:
    torch.manual_seed(0)
    return TASN(Backbone("resnet18", 64), Backbone("resnet18", 64), 4, image_size=64)


def test_attention_is_its_definition() -> None:
    features = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    found = trilinear_attention(features)
    for image, maps in zip(features.clamp(min=0).flatten(2).numpy(), found.flatten(2).numpy(), strict=True):
        inner = np.exp(7 * image) / np.exp(7 * image).sum(1, keepdims=True)
        alike = inner @ image.T
        alike = np.exp(alike) / np.exp(alike).sum(1, keepdims=True)
        np.testing.assert_allclose(maps, alike @ image)


def test_channels_without_response_neither_count_nor_are_chosen() -> None:
    features = torch.rand(2, 6, 4, 4)
    features[:, 1:4] = -1.0
    maps, alive = trilinear_attention(features), responding(features)
    assert alive.tolist() == [[1, 0, 0, 0, 1, 1]] * 2
    torch.testing.assert_close(maps[:, 1], maps[:, 2])  # the mean of the others, not 0
    living = {tuple(maps[0, k].flatten().tolist()) for k in (0, 4, 5)}
    drawn = {tuple(one_of(maps, alive)[0].flatten().tolist()) for _ in range(40)}
    assert drawn == living


def test_a_flat_map_samples_evenly_and_equals_the_resized_image() -> None:
    x, y = sampling_positions(torch.ones(2, 7, 7), 32)
    even = (torch.arange(32) + 0.5) / 32
    torch.testing.assert_close(x, even.expand(2, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(y, even.expand(2, -1), atol=1e-5, rtol=0)
    images = pictures(2).float()
    resized = crop_and_resize(images, whole_image_boxes(images)[:, None], 32)
    torch.testing.assert_close(sample_grid(images, x, y, 32), resized, atol=0.05, rtol=0)


def test_what_is_attended_gets_pixels_in_proportion_up_to_a_bound() -> None:
    heat = torch.full((1, 32, 32), 1.0)
    heat[:, :, :16] = 3.0
    x, y = sampling_positions(heat, 64)
    left = (x < 0.5).float().mean().item()
    assert abs(left - 0.75) < 0.03
    assert (x.diff() > 0).all() and (y.diff() > 0).all() and x.min() >= 0 and x.max() <= 1
    torch.testing.assert_close(y[0], (torch.arange(64) + 0.5) / 64, atol=1e-4, rtol=0)
    spot = torch.zeros(1, 32, 32)
    spot[:, 8, 20] = 1
    x, y = sampling_positions(spot, 64)
    assert x.diff().min() >= 1 / 64 / 4 * 0.9  # at most four times as dense
    assert ((x - 20.5 / 32).abs() < 2 / 32).float().mean() > 2 * 4 / 32  # evenly it would be 4 / 32


def test_the_student_learns_and_the_teacher_does_not() -> None:
    teacher, student = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    loss = distillation_loss(teacher, student)
    expected = -((teacher / 10).softmax(1) * (student / 10).log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert teacher.grad is None and student.grad is not None
    assert loss >= distillation_loss(teacher, teacher)


def test_every_net_learns_and_answers_can_be_repeated() -> None:
    model, images, labels = small().train(), pictures(3), torch.arange(3)
    output = model(images, labels)
    assert output.object_logits is not None and output.part_logits is not None and output.own_loss is not None
    losses = [functional.cross_entropy(x, labels) for x in (output.raw_logits, output.object_logits)]
    (losses[0] + losses[1] + functional.cross_entropy(output.part_logits[:, 0], labels) + output.own_loss).backward()
    assert all(p.grad is not None for p in model.parameters())
    heads = {id(p) for p in model.head_parameters()}
    assert {id(p) for n, p in model.named_parameters() if n.startswith("classifier")} == heads and len(heads) == 6
    with torch.no_grad():
        first, again = model.eval()(images), model(images)
    assert torch.equal(first.probabilities, again.probabilities) and first.own_loss is None
    assert first.object_boxes is not None and first.object_boxes.max() <= 128


def test_the_first_epochs_train_the_attention_network_alone() -> None:
    output = small().train()(pictures(2), torch.tensor([0, 1]), raw_only=True)
    assert output.object_logits is None and output.own_loss is None
    torch.testing.assert_close(output.probabilities, output.raw_logits.softmax(1))
