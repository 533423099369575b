"""What a picture of a prediction says in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tlaam.inference.prediction as module
from tlaam.inference.prediction import Prediction, Predictions
from tlaam.reference.ood_detector import Verdict


@pytest.mark.parametrize(
    ("verdict", "title"),
    [
        (None, "most probable: jay 90\N{NO-BREAK SPACE}%"),
        ("sure", "jay 90\N{NO-BREAK SPACE}%"),
        ("unsure", "unsure: jay 90\N{NO-BREAK SPACE}%"),
        ("stranger", "unlike what the model learnt from: jay 90\N{NO-BREAK SPACE}%"),
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
    assert (said["title"], said["subtitle"]) == (title, "wrong, it is crow · crow 10\N{NO-BREAK SPACE}%")


def test_without_a_verdict_a_notebook_is_told_so(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    answered = Prediction(
        str(tmp_path / "a.png"),
        size=(8, 6),
        classes=("crow", "jay"),
        probabilities={"fused": np.array([0.1, 0.9], np.float32)},
    )
    judged, failed = replace(answered, verdict="sure"), Prediction("b.png", error="no image")
    note = "This model cannot tell images of something else"
    for unjudged in (answered, Predictions([judged, answered, failed])):
        shown = unjudged._repr_html_()
        assert note in shown and ("sure" in shown) == isinstance(unjudged, list)
    for told in (judged, failed, Predictions([judged, failed])):
        assert note not in told._repr_html_()
    assert "sure" not in repr(answered)
