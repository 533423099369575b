"""What a run says of itself before its first epoch."""

from __future__ import annotations

from pathlib import Path

from tlaam.config.defaults import resolve
from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.training.header import header

SETTINGS = {"backbone": "resnet18", "pretrained": "none", "image_size": 64, "source_size": 96, "epochs": 3}


def test_it_names_data_network_and_training(photos: Path) -> None:
    images = open_dataset(photos)
    data, network, training, *rest = header(images, resolve(Config.from_flat(SETTINGS), images), resumed=True)
    assert "images: " in data and "the checkpoint" in network and "64 px" in network and "3 epochs" in training
    assert rest.pop(0) == "Classes: crow 6, jay 6, wren 6"
    assert rest == ["There are no validation images, so the weights of the last epoch are kept."]


def test_options_of_a_module_that_is_not_there_are_named(photos: Path) -> None:
    chosen = {"localizer": "none", "zoom_steps": 3, "threshold": 0.4, "attention": "none", "attention_kernel": 5}
    images = open_dataset(photos)
    lines = header(images, resolve(Config.from_flat({**SETTINGS, **chosen}), images), resumed=True)
    assert lines[-1] == "Of no use here: zoom_steps, threshold, attention_kernel."


def test_it_says_that_unequal_classes_are_balanced(photos: Path) -> None:
    images = open_dataset(photos)
    lines = header(images, resolve(Config.from_flat({**SETTINGS, "balance": "logits"}), images), resumed=True)
    assert any("recognised equally well (balance=logits)" in line for line in lines)
