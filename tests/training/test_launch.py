"""What Fabric is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from tlaam.config.defaults import resolve_machine
from tlaam.config.schema import Config
from tlaam.training import launch


def test_apples_gpu_is_asked_for_as_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    class Recorded:
        def __init__(self, **options: Any) -> None:
            asked.update(options)

        def launch(self) -> None:
            pass

    monkeypatch.setattr(launch, "Fabric", Recorded)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    monkeypatch.setattr("torch.backends.mps.is_macos_or_newer", lambda major, minor: True)
    launch.launched(resolve_machine(Config.from_flat({"devices": "mps"})))
    assert asked == {
        "accelerator": "mps", "devices": "1", "num_nodes": 1, "strategy": "auto", "precision": "bf16-mixed"
    }  # fmt: skip
