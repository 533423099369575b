"""What only a GPU shows; skipped where there is none, and listed as pending in benchmarks/README.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from measuring import measured

from tlaam.config.schema import Config
from tlaam.config.sections import ModelConfig
from tlaam.inference.backend import Precision
from tlaam.inference.pytorch import TorchModel
from tlaam.inference.store import load_model
from tlaam.models.build import build_model
from tlaam.training.run import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


LOCALIZERS = pytest.mark.parametrize("localizer", ["foreground", "oaam", "aolm"])


def _config(localizer: str) -> ModelConfig:
    values = {"backbone": "resnet18", "image_size": 64, "source_size": 128, "pretrained": "none"}
    return ModelConfig.model_validate({**values, "localizer": localizer})


@LOCALIZERS
def test_forward_and_backward_never_wait_for_the_host(localizer: str) -> None:
    config = _config(localizer)
    model = build_model(config, 5).cuda().train()
    images = torch.randint(0, 256, (4, 3, 128, 128), dtype=torch.uint8, device="cuda")
    labels = torch.arange(4, device="cuda")
    model(images, labels)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        output = model(images, labels)
        assert output.object_logits is not None and output.part_logits is not None
        (output.raw_logits.sum() + output.object_logits.sum() + output.part_logits.sum()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@LOCALIZERS
def test_the_gpu_gives_the_cpus_boxes_and_scores(localizer: str) -> None:
    torch.manual_seed(0)
    model = build_model(_config(localizer), 5).double().eval()
    images = torch.randint(0, 256, (4, 3, 128, 128), dtype=torch.uint8)
    with torch.no_grad():
        on_cpu = model(images)
        on_gpu = model.cuda()(images.cuda())
    for expected, found in zip(on_cpu, on_gpu, strict=True):
        if expected is None:  # only a localiser that learns has logits
            assert found is None
            continue
        torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_it_trains_in_every_precision(photos: Path, tmp_path: Path, precision: str) -> None:
    options = {"backbone": "resnet18", "pretrained": "none", "image_size": 64, "epochs": 3, "raw_epochs": 1}
    options |= {"localizer": "foreground", "pseudo_mask_size": 96}
    run = train(photos, tmp_path / "run", Config.from_flat({**options, "workers": 0, "precision": precision}))
    assert 0 <= measured(run, photos).classification["fused"].top1 <= 1


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_compiled_it_answers_as_before_from_cuda_graphs(precision: Precision) -> None:
    torch.manual_seed(0)
    config = _config("oaam")
    trained = TorchModel(build_model(config, 5).eval(), config, tuple("abcde"), 128).ready("cuda", precision)
    inputs = np.random.default_rng(0).integers(0, 256, (6, 3, 128, 128), dtype=np.uint8)
    expected = [trained.answer(inputs[:4]), trained.answer(inputs[4:])]
    compiled = trained.compiled(batch_size=4)
    found = [compiled.answer(inputs[:4]), compiled.answer(inputs[4:])]  # the first is not overwritten by the second
    for one, other in zip(expected, found, strict=True):
        atol = 1e-4 if precision == "32-true" else 0.05
        np.testing.assert_allclose(other.probabilities["raw"], one.probabilities["raw"], atol=atol)


def test_it_trains_in_shards(photos: Path, tmp_path: Path) -> None:
    options = {"backbone": "resnet18", "pretrained": "none", "image_size": 64, "epochs": 2, "raw_epochs": 1}
    options |= {"localizer": "oaam", "workers": 0, "devices": "1"}
    runs = [
        train(photos, tmp_path / strategy, Config.from_flat({**options, "strategy": strategy}))
        for strategy in ("auto", "fsdp")
    ]
    whole, sharded = (load_model(run).network.state_dict() for run in runs)
    for name, value in whole.items():
        torch.testing.assert_close(sharded[name], value, rtol=1e-2, atol=1e-3)
