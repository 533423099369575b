"""What all networks share: pixels as the backbone knows them, parameters that start from nothing, taking turns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tlaam.models.architecture import Architecture, TakesTurns
from tlaam.models.attention.se import SE


class Eye(nn.Module):
    """A backbone in name: what images are normalised by, and a channel attention."""

    mean, std = (0.5, 0.25, 0.125), (0.5, 0.25, 2.0)
    remarks = ("it sees little",)

    def __init__(self) -> None:
        super().__init__()
        self.attention = SE(4)
        self.convolution = nn.Conv2d(3, 4, 1)


class Small(Architecture):
    def __init__(self) -> None:
        eye: Any = Eye()
        super().__init__(eye, 32)
        self.classifier = nn.Linear(4, 2)
        self.classifier_of_parts = nn.Linear(4, 2)
        self.other = nn.Linear(4, 2)


class Turns(TakesTurns):
    attention = "gaze"

    def __init__(self) -> None:
        eye: Any = Eye()
        super().__init__(eye, 32)
        self.gaze = nn.Sequential(nn.Linear(4, 4), nn.Dropout())
        self.classifier = nn.Linear(4, 2)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 3, 5, 5)])
def test_bytes_and_fractions_are_normalised_channel_by_channel(shape: tuple[int, ...]) -> None:
    model = Small()
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    expected = torch.stack(
        [(pixels[:, c] / 255 - mean) / std for c, (mean, std) in enumerate(zip(Eye.mean, Eye.std, strict=True))], dim=1
    )
    for images in (pixels, pixels / 255):
        found = model.normalise(images)
        assert found.shape == shape and found.dtype == torch.float32
        torch.testing.assert_close(found, expected)


def test_in_a_graph_they_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, pixels = Small(), torch.randint(0, 256, (2, 3, 4, 6), dtype=torch.uint8)
    expected = model.normalise(pixels)
    assert expected.stride() == (72, 1, 3, 12), "columns lie one behind the other, each pixel's colours together"
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for images in (pixels, pixels / 255):
        found = model.normalise(images)
        torch.testing.assert_close(found, expected)
        assert found.is_contiguous(), "as they came"


def test_normalisation_travels_with_the_weights() -> None:
    model = Small()
    assert model.image_size == 32 and model.remarks == ("it sees little",) and not model.draws_maps
    state = model.state_dict()
    assert state["mean"].shape == state["std"].shape == (1, 3, 1, 1), "as in files of earlier versions"
    assert state["mean"].flatten().tolist() == list(Eye.mean) and state["std"].flatten().tolist() == list(Eye.std)


def test_classifiers_and_channel_attention_start_from_nothing() -> None:
    model: Any = Small()
    of_head = {id(p) for p in model.head_parameters()}
    expected = [model.classifier, model.classifier_of_parts, model.backbone.attention]
    assert of_head == {id(p) for module in expected for p in module.parameters()}
    assert list(model.localizer_parameters()) == []
    turns: Any = Turns()
    of_head = {id(p) for p in turns.head_parameters()}
    expected = [turns.classifier, turns.backbone.attention, turns.gaze]
    assert of_head == {id(p) for module in expected for p in module.parameters()}


def learning(model: nn.Module) -> set[str]:
    return {name for name, child in model.named_children() if all(p.requires_grad for p in child.parameters())}


def in_training(model: nn.Module) -> set[str]:
    return {name for name, child in model.named_children() if all(m.training for m in child.modules())}


EVERYTHING = {"backbone", "gaze", "classifier"}


def test_every_third_epoch_is_attention_s_but_not_the_last() -> None:
    model = Turns().train()
    turns = []
    for epoch in range(9):
        model.begin_epoch(epoch, 9, raw_only=False)
        turns.append(model.attention_turn)
        expected = {"gaze"} if model.attention_turn else EVERYTHING - {"gaze"}
        assert learning(model) == expected
        assert in_training(model) == ({"gaze"} if model.attention_turn else EVERYTHING)
        assert not any(p.requires_grad for name in EVERYTHING - expected for p in getattr(model, name).parameters())
        assert not any(m.training for name in EVERYTHING - in_training(model) for m in getattr(model, name).modules())
    assert turns == [False, False, True, False, False, True, False, False, False]
    model.begin_epoch(5, 7, raw_only=False)
    assert model.attention_turn, "the last but one may be attention's"


def test_in_the_first_epochs_both_learn_and_asking_in_between_changes_nothing() -> None:
    model = Turns()
    assert model.attention_turn is False
    model.begin_epoch(2, 9, raw_only=True)
    assert not model.attention_turn and learning(model) == EVERYTHING and in_training(model) == EVERYTHING
    model.begin_epoch(2, 9, raw_only=False)
    assert model.attention_turn and model.training and in_training(model) == {"gaze"}
    assert model.eval() is model and in_training(model) == set() and not model.training
    assert model.train() is model and in_training(model) == {"gaze"} and model.training
    model.eval()
    model.begin_epoch(5, 9, raw_only=False)
    assert not model.training and in_training(model) == set()
