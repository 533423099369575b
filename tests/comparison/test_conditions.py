"""What a comparison says of whose weights it measured."""

from __future__ import annotations

from typing import Any

import pytest

from tlaam.comparison.conditions import conditions


@pytest.mark.parametrize(
    ("epochs", "said", "not_said"),
    [
        ({"probe": 0, "probe-object": 0}, "nothing was trained", "epoch that was best"),
        ({"plain": 8, "probe": 0}, "best on the validation images (protocol validation); not trained", "nothing was"),
        ({"plain": 8, "tlaam": 8}, "best on the validation images (protocol validation)", "not trained"),
    ],
)
def test_weights_are_of_an_epoch_where_there_was_one(epochs: dict[str, int], said: str, not_said: str) -> None:
    shared = {"backbone": "resnet18", "pretrained": "none", "image_size": 64, "source_size": 96, "epochs": 8}
    record: dict[str, Any] = {
        "data": "photos", "counts": {"classes": 3, "train": 18, "val": 0}, "images": ["a"], "split": "test",
        "protocol": "validation", "settings": shared, "systems": {n: {"epochs": e} for n, e in epochs.items()},
        "runs": [{"seed": 0}], "machine": {"gpu": None, "processor": "x", "threads": 1}, "versions": {"tlaam": "1"},
    }  # fmt: skip
    weights = dict(conditions(record))["weights"]
    assert said in weights and not_said not in weights
