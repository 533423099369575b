"""Localisers and part proposers as graphs, by themselves: the same boxes to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tlaam.models.heatmaps import LinearHead
from tlaam.models.localizers.aolm import AOLM
from tlaam.models.localizers.base import Evidence
from tlaam.models.localizers.cam import CAM
from tlaam.models.localizers.fixed_box import FixedBox
from tlaam.models.parts.appm import APPM
from tlaam.models.parts.mpalm import MPALM

pytestmark = pytest.mark.usefixtures("exporting")

onnxruntime = pytest.importorskip("onnxruntime")


class Pieces(nn.Module):
    """Boxes of what stands between a backbone's maps and the next crops."""

    def __init__(self) -> None:
        super().__init__()
        self.head = LinearHead(16, 5)
        self.localizers = nn.ModuleDict(
            {"cam": CAM(threshold=0.2, upsample=2), "aolm": AOLM("earlier"), "centre": FixedBox(0.7)}
        )
        self.proposers = nn.ModuleDict({"mpalm": MPALM(2, distinct=True), "appm": APPM()})

    def forward(self, features: Tensor, earlier: Tensor) -> tuple[Tensor, ...]:
        logits = self.head(features)
        evidence = Evidence(features, logits, logits.argmax(1), self.head, layer_maps=earlier)
        found = [localizer(evidence, 64).boxes for localizer in self.localizers.values()]
        return tuple(found + [proposer(features, 64) for proposer in self.proposers.values()])


def maps(batch: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(batch)
    last, earlier = torch.rand(batch, 16, 7, 7, generator=random), torch.rand(batch, 12, 14, 14, generator=random)
    last = (last - 0.6).relu().clamp(max=0.3)  # with ties, as behind ReLU6
    last[0] = 0.5 if batch > 1 else last[0]  # a flat map
    return last, earlier


def test_the_same_boxes_in_onnx_runtime() -> None:
    torch.manual_seed(0)
    pieces = Pieces().eval()
    nn.init.normal_(pieces.head.weight)
    free = {0: torch.export.Dim("batch", min=1, max=64)}
    with torch.no_grad():
        program = torch.onnx.export(
            pieces, maps(2), dynamic_shapes=(free, free), opset_version=18, dynamo=True, verbose=False
        )
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [given.name for given in session.get_inputs()]
    for batch in (1, 7):
        found = session.run(None, dict(zip(names, (given.numpy() for given in maps(batch)), strict=True)))
        for boxes, expected in zip(found, pieces(*maps(batch)), strict=True):
            np.testing.assert_array_equal(boxes, expected.numpy())
