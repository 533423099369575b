"""A run to send to the hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tlaam.training.run import train


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with half of `photos` held out, from weights in a file of this machine."""
    from safetensors.torch import save_file

    from tlaam.models.backbone import Backbone

    weights = tmp_path_factory.mktemp("home") / "secret-folder" / "start.safetensors"
    weights.parent.mkdir()
    network = Backbone("resnet18", 64).network
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    settings = {
        "backbone": "resnet18", "pretrained": str(weights), "image_size": 64, "source_size": 96, "part_size": 32,
        "localizer": "oaam", "epochs": 2, "raw_epochs": 1, "batch_size": 6, "workers": 0, "accelerator": "cpu",
        "val_fraction": 0.5, "cache": str(tmp_path_factory.mktemp("secret-cache")),
    }  # fmt: skip
    return train(photos, tmp_path_factory.mktemp("runs") / "run", settings, progress=False)
