"""Forward and training step are one graph without breaks, and so never wait for the host; recomputing changes nothing.

A step that read a value on the host (``.item()``, a box as a Python number) would break the graph.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tlaam.config.schema import Config
from tlaam.models.architecture import Architecture
from tlaam.models.backbone import Backbone
from tlaam.models.build import build_model
from tlaam.models.norm import ViewNorm2d
from tlaam.training.loss import Losses, TwoLevelLoss
from tlaam.training.memory import kept_for_backward
from tlaam.training.transforms import jitter_colors

CLASSES, SIDE = 4, 96
OPTIONS: list[dict[str, Any]] = [
    {"localizer": "foreground"},
    {"localizer": "oaam", "zoom_steps": 2},
    {"localizer": "aolm", "parts": "appm"},
    {"localizer": "gradcam++", "parts": "random"},
    {"localizer": "scda", "attention": "none"},
    {"localizer": "cam", "norm_statistics": "shared"},
    {"localizer": "center", "attention": "se"},
    {"localizer": "none"},
]


def model(**options: Any) -> Architecture:
    torch.manual_seed(0)
    settings = {"backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": SIDE, "part_size": 32}
    return build_model(Config.from_flat({**settings, **options}).model, CLASSES)


def batch() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    masks = torch.randint(0, 2, (3, 16, 16), dtype=torch.uint8) * 255
    return torch.randint(0, 256, (3, 3, SIDE, SIDE), dtype=torch.uint8), torch.tensor([0, 3, 1]), masks


def losses(network: Any, localizer: str = "foreground") -> Losses:
    images, labels, masks = batch()
    output = network(jitter_colors(images, torch.tensor([[1.1, 0.9]] * 3)), labels)
    made: Losses = TwoLevelLoss(0.0)(output, labels, masks if localizer == "foreground" else masks[:, :0, :0])
    return made


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_is_one_graph(options: dict[str, Any]) -> None:
    network = model(**options)
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    images = batch()[0]
    torch._dynamo.reset()
    network.eval()
    with torch.no_grad():
        for expected, found in zip(network(images), compiled(images), strict=True):
            if expected is not None:
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    network.train()
    losses(compiled, options["localizer"]).total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.backbone.parameters())


@pytest.mark.parametrize("statistics", ["own", "shared"])
@pytest.mark.parametrize("localizer", ["foreground", "oaam", "aolm"])
def test_recomputing_changes_memory_and_nothing_else(localizer: str, statistics: str) -> None:
    gradients, buffers, kept = [], [], []
    for recompute in (False, True):
        network = model(localizer=localizer, norm_statistics=statistics).train()
        for module in network.modules():
            if isinstance(module, Backbone):
                module.recompute = recompute
        with kept_for_backward() as sizes:
            made = losses(network, localizer)
        made.total.backward()
        gradients.append([p.grad for p in network.parameters() if p.grad is not None])
        buffers.append([b for name, b in network.named_buffers() if "num_batches" not in name])
        kept.append(sum(sizes.values()))
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(buffers[1], buffers[0])
    norms = [module for module in network.modules() if isinstance(module, ViewNorm2d)]
    assert statistics == "shared" or any((norm.means[0] != norm.means[2]).any() for norm in norms)
    # The raw pass of AOLM is listened to, and so kept.
    assert kept[1] < kept[0] * (0.75 if localizer == "aolm" else 0.5)
