"""What a picture of a prediction says in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tlaam.inference.prediction as module
from tlaam.inference.prediction import Prediction
from tlaam.reference.ood_detector import Verdict


@pytest.mark.parametrize(
    ("verdict", "title"),
    [
        (None, "jay 90%"),
        ("sure", "jay 90%"),
        ("unsure", "unsure: jay 90%"),
        ("stranger", "unlike what the model learnt from: jay 90%"),
    ],
)
def test_doubt_is_said_before_the_name(
    verdict: Verdict | None, title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, Any] = {}

    def prediction_panel(image: Image.Image, *_: object, **texts: Any) -> Image.Image:
        said.update(texts)
        return image

    monkeypatch.setattr(module, "prediction_panel", prediction_panel)
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    prediction = Prediction(
        str(tmp_path / "a.png"),
        size=(8, 6),
        classes=("crow", "jay"),
        probabilities={"fused": np.array([0.1, 0.9], np.float32)},
        verdict=verdict,
    )
    prediction.plot(label="crow")
    assert (said["title"], said["subtitle"]) == (title, "wrong, it is crow · crow 10%")
