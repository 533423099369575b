"""A network made ready for answering answers as before, and stays apart from the one it was made of."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import Tensor

from tlaam.config.schema import Config
from tlaam.inference.folding import FoldedConv2d
from tlaam.inference.pytorch import TorchModel, asked_in, best_precision, infer, prepared
from tlaam.models.architecture import Architecture
from tlaam.models.build import build_model, memory_format

CANVASES = torch.randint(0, 256, (3, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(**options: object) -> Architecture:
    torch.manual_seed(0)
    settings = {"backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96, "part_size": 32}
    made = build_model(Config.from_flat({**settings, "localizer": "oaam", **options}).model, 4).train()
    for _ in range(3):  # statistics that are not those it began with, each view's its own
        made(torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8), torch.arange(4))
    return made.eval()


@pytest.mark.parametrize(
    "options",
    [{}, {"localizer": "foreground"}, {"localizer": "aolm"}, {"heatmap_layer": "layer3"}, {"backbone": "test_vit"},
     {"architecture": "tasn", "localizer": "none", "parts": "none", "attention": "none"}],
    ids=str,
)  # fmt: skip
def test_prepared_it_answers_as_before(options: dict[str, object]) -> None:
    given = network(**options)
    state = {name: value.clone() for name, value in given.state_dict().items()}
    before = infer(given, CANVASES)
    ready = prepared(given, "cpu")
    assert any(isinstance(m, FoldedConv2d) for m in ready.modules()) is (options.get("backbone") != "test_vit")
    for expected, found in zip(before, infer(ready, CANVASES), strict=True):
        if expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    for expected, found in zip(before, infer(given, CANVASES), strict=True):
        assert expected is None or torch.equal(expected, found)
    assert all(torch.equal(value, state[name]) for name, value in given.state_dict().items())


def test_in_bfloat16_backbones_compute_in_it_and_scores_stay_close() -> None:
    given = network()
    before = infer(given, CANVASES)
    ready = prepared(given, "cpu", "bf16-mixed")
    seen: list[torch.dtype] = []
    handle = ready.backbone.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    with asked_in("cpu", "bf16-mixed"):
        found = infer(ready, CANVASES)
    handle.remove()
    assert seen and set(seen) == {torch.bfloat16}
    assert found.raw_logits.dtype == torch.float32
    torch.testing.assert_close(found.raw_logits, before.raw_logits, rtol=0.05, atol=0.05)
    assert not torch.equal(found.raw_logits, before.raw_logits)


def test_what_is_best_is_known_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert best_precision("cpu") == "32-true" and best_precision("mps") == "32-true"
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert best_precision("cpu") == ("bf16-mixed" if torch.backends.mkldnn.is_available() else "32-true")  # type: ignore[no-untyped-call]


@pytest.mark.skipif(shutil.which("g++") is None, reason="PyTorch's compiler needs a C++ compiler")
def test_compiled_it_answers_as_before_for_batches_of_any_size() -> None:
    given = network()
    config = Config.from_flat({"image_size": 64, "source_size": 96}).model
    trained = TorchModel(given, config, ("a", "b", "c", "d"), 96).ready("cpu", "32-true")
    inputs = CANVASES.numpy()
    before = [trained.answer(inputs), trained.answer(inputs[:1])]
    compiled = trained.compiled(batch_size=3)
    after = [compiled.answer(inputs), compiled.answer(inputs[:1])]
    for expected, found in zip(before, after, strict=True):
        assert found.probabilities.keys() == expected.probabilities.keys()
        for branch, values in found.probabilities.items():
            np.testing.assert_allclose(values, expected.probabilities[branch], atol=1e-4)
        assert found.object_boxes is not None and expected.object_boxes is not None
        np.testing.assert_allclose(found.object_boxes, expected.object_boxes, atol=0.01)


def test_apples_gpu_is_given_what_it_can_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """No float64, and no channels-last tensors; there is none here, so a device without memory stands for it."""
    assert memory_format("mps") == torch.contiguous_format
    assert memory_format("cpu") == memory_format("cuda:1") == torch.channels_last
    doubled: list[str] = []
    double = Tensor.double

    def noted(values: Tensor) -> Tensor:
        doubled.append(values.device.type)
        return double(values)

    given = network()
    monkeypatch.setattr(Tensor, "double", noted)
    there = prepared(given, "meta")
    assert {parameter.device.type for parameter in there.parameters()} == {"meta"}
    assert doubled and set(doubled) == {"cpu"}
