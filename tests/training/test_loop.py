"""Steps of the loop beside the same steps computed by hand, in NumPy."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from stub_network import StubNetwork
from torch import Tensor, nn

from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.models.joined_norm import JoinedConv2d, join_norms
from tlaam.models.output import TLAAMOutput
from tlaam.training import loop, run
from tlaam.training.checkpoint import Checkpoints
from tlaam.training.dataset import training_images
from tlaam.training.run import resume, train

SIDE, CLASSES, EPOCHS = 32, 3, 4
SETTINGS: dict[str, Any] = {
    "backbone": "stub", "localizer": "oaam", "image_size": SIDE, "source_size": SIDE, "epochs": EPOCHS,
    "raw_epochs": 0, "batch_size": 27, "lr": 2.0, "momentum": 0.9, "weight_decay": 0.01, "warmup_epochs": 2.0,
    "gradient_clip": 0.05, "ema_decay": 0.6, "jitter": 0.5, "flip": False, "val_fraction": 0.0, "keep": "last",
    "accelerator": "cpu", "workers": 0, "precision": "32-true", "probe_first": False,
}  # fmt: skip
Weights = NDArray[np.float64]


class LinearNetwork(StubNetwork):
    """One linear layer on all pixels: its gradient is short to write down."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.backbone = nn.Sequential(nn.Flatten())
        self.classifier = nn.Linear(3 * SIDE * SIDE, classes)
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, images: Tensor, labels: Tensor | None = None, raw_only: bool = False) -> TLAAMOutput:
        pixels = images if images.is_floating_point() else images / 255
        logits = self.classifier(self.backbone(pixels))
        return TLAAMOutput(logits.softmax(-1), logits, None, None, None, None, None)


@pytest.fixture
def linear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "build_model", lambda config, classes, *, load_pretrained: LinearNetwork(classes))
    monkeypatch.setattr(run, "require_intact", lambda folder: None)
    monkeypatch.setattr(run, "save_model", lambda folder, model, *_: torch.save(model.state_dict(), folder / "kept.pt"))


def by_hand(photographs: Path, config: Config) -> tuple[Weights, Weights]:
    """Return the weights ``(C, D)`` after all steps, and their moving average."""
    samples = open_dataset(photographs).split("train")
    images, training = training_images(samples, config), config.training
    parameters = [np.zeros((CLASSES, 3 * SIDE * SIDE)), np.zeros(CLASSES)]
    velocity, average = [np.zeros_like(p) for p in parameters], [p.copy() for p in parameters]
    for step in range(EPOCHS):  # one step an epoch
        items = [images[step, index] for index in range(len(samples))]
        x = np.stack([lit(item.input_image.numpy(), *item.color_jitter.tolist()) for item in items])
        labels = np.array([int(item.label) for item in items])
        scores = x @ parameters[0].T + parameters[1]
        chances = np.exp(scores - scores.max(1, keepdims=True))
        wrong = (chances / chances.sum(1, keepdims=True) - np.eye(CLASSES)[labels]) / len(x)
        gradients = [wrong.T @ x, wrong.sum(0)]
        norm = math.sqrt(sum((g**2).sum() for g in gradients))
        assert norm > training.gradient_clip  # or the test says nothing of clipping
        gradients = [g * training.gradient_clip / (norm + 1e-6) for g in gradients]
        gradients[0] += training.weight_decay * parameters[0]  # biases are not decayed
        rate = training.lr * ((step + 1) / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / 2)))
        velocity = [training.momentum * v + g for v, g in zip(velocity, gradients, strict=True)]
        parameters = [p - rate * v for p, v in zip(parameters, velocity, strict=True)]
        decay = min(training.ema_decay, 1 - (1 + step) ** (-2 / 3))
        average = [decay * a + (1 - decay) * p for a, p in zip(average, parameters, strict=True)]
    return parameters[0], average[0]


def lit(image: NDArray[np.uint8], brightness: float, contrast: float) -> Weights:
    """Brightness, then contrast around the mean grey, as the docs say."""
    bright = np.minimum(image / 255 * brightness, 1)
    grey = np.tensordot([0.299, 0.587, 0.114], bright, 1).mean()
    lit_image: Weights = np.clip((bright - grey) * contrast + grey, 0, 1).ravel()
    return lit_image


def test_steps_are_those_computed_by_hand(photographs: Path, tmp_path: Path, linear: None) -> None:
    """Rate, momentum, decay, clipping, light and moving average: each of them changes the weights."""
    config = Config.from_flat(SETTINGS)
    train(photographs, tmp_path / "run", config, progress=False)
    learnt, average = by_hand(photographs, config)
    state = Checkpoints(tmp_path / "run" / "checkpoints").newest().state
    assert state is not None
    np.testing.assert_allclose(state["model"]["classifier.weight"].numpy(), learnt, atol=2e-6)
    kept = torch.load(tmp_path / "run" / "kept.pt", weights_only=True)["classifier.weight"].numpy()
    np.testing.assert_allclose(kept, average, atol=2e-6)
    assert np.abs(learnt - average).max() > 1e-3 and np.abs(learnt).max() > 1e-2


def test_batches_added_up_are_the_step_computed_by_hand(photographs: Path, tmp_path: Path, linear: None) -> None:
    """One step of 27 images in batches of 6, 6, 6, 6 and 3; schedule, clipping and average go by steps."""
    config = Config.from_flat({**SETTINGS, "batch_size": 6, "accumulate": 5})
    train(photographs, tmp_path / "run", config, progress=False)
    learnt, average = by_hand(photographs, config)
    state = Checkpoints(tmp_path / "run" / "checkpoints").newest().state
    assert state is not None and state["step"] == EPOCHS
    np.testing.assert_allclose(state["model"]["classifier.weight"].numpy(), learnt, atol=2e-6)
    kept = torch.load(tmp_path / "run" / "kept.pt", weights_only=True)["classifier.weight"].numpy()
    np.testing.assert_allclose(kept, average, atol=2e-6)


def test_batches_added_up_equal_larger_batches(photographs: Path, tmp_path: Path, linear: None) -> None:
    """Steps of 8, 8, 8 and 3 images; the last has fewer batches."""
    found = []
    for name, sizes in {"whole": {"batch_size": 8}, "added up": {"batch_size": 4, "accumulate": 2}}.items():
        config = Config.from_flat({**SETTINGS, **sizes, "val_fraction": 0.0})
        train(photographs, tmp_path / name, config, progress=False)
        rows = list(csv.DictReader((tmp_path / name / "history.csv").open()))
        assert [int(row["step"]) for row in rows] == [4, 8, 12, 16]
        kept = torch.load(tmp_path / name / "kept.pt", weights_only=True)["classifier.weight"].numpy()
        found.append((kept, [[float(row[column]) for column in ("lr", "loss", "top1")] for row in rows]))
    np.testing.assert_allclose(found[1][0], found[0][0], atol=2e-6)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-5)


def test_a_share_of_the_start_is_in_what_is_kept(photographs: Path, tmp_path: Path, linear: None) -> None:
    config = Config.from_flat({**SETTINGS, "ema_decay": 0.0, "start_share": 0.25})
    train(photographs, tmp_path / "run", config, progress=False)
    learnt, _ = by_hand(photographs, config)
    kept = torch.load(tmp_path / "run" / "kept.pt", weights_only=True)["classifier.weight"].numpy()
    np.testing.assert_allclose(kept, 0.75 * learnt, atol=2e-6)  # it starts from 0


def test_it_ends_when_it_is_out_of_patience(photographs: Path, tmp_path: Path, linear: None) -> None:
    """At a rate of 0 no epoch is better than the first."""
    options = {**SETTINGS, "lr": 0.0, "epochs": 9, "val_fraction": 0.2, "patience": 3, "keep": "best", "ema_decay": 0.0}
    train(photographs, tmp_path / "run", Config.from_flat(options), progress=False)
    rows = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + 1 + 3  # a header, the first epoch, and three that were no better
    assert resume(tmp_path / "run", progress=False) == tmp_path / "run"
    assert (tmp_path / "run" / "history.csv").read_text().splitlines() == rows


def test_fixed_normalisations_are_joined_while_it_trains_and_the_weights_are_the_same(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pt")
    config = Config.from_flat(
        {
            **SETTINGS, "backbone": "test_resnet", "pretrained": str(tmp_path / "weights.pt"), "epochs": 2, "lr": 0.01,
            "norm_statistics": "pretrained", "image_size": 64, "source_size": 64, "gradient_clip": 1.0,
        }
    )  # fmt: skip
    joined: list[int] = []
    separated: list[bool] = []

    def join(network: nn.Module, size: int) -> int:
        joined.append(join_norms(network, size))
        return joined[-1]

    def kept(folder: Path, model: nn.Module, *_: Any) -> None:
        separated.append(not any(isinstance(module, JoinedConv2d) for module in model.modules()))
        torch.save(model.state_dict(), folder / "kept.pt")

    monkeypatch.setattr(run, "require_intact", lambda folder: None)
    monkeypatch.setattr(run, "save_model", kept)
    monkeypatch.setattr(loop, "join_norms", join)
    train(photographs, tmp_path / "joined", config, progress=False)
    monkeypatch.setattr(loop, "join_norms", lambda network, size: 0)
    train(photographs, tmp_path / "plain", config, progress=False)
    assert joined[0] > 10 and separated == [True, True]
    one, other = (torch.load(tmp_path / name / "kept.pt") for name in ("joined", "plain"))
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-4)
