"""Pages of a measurement show what was measured."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from measuring import measured
from PIL import Image

from tlaam.data.open import open_dataset
from tlaam.data.sample import Box
from tlaam.inference.engine import load_engine
from tlaam.inference.prediction import Prediction
from tlaam.reports.evaluation_report import write_evaluation_report


def test_pictures_and_true_boxes_are_without_the_banner(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = open_dataset(photos)
    data = opened.with_samples([replace(sample, box=(5, 6, 70, 55), banner=20) for sample in opened.samples])
    seen: list[tuple[tuple[int, int], tuple[int, int], Box | None]] = []

    def views(prediction: Prediction, *, true_box: Box | None = None) -> dict[str, Image.Image]:
        seen.append((prediction.image().size, prediction.size, true_box))
        return {"boxes": Image.new("RGB", (8, 8))}

    monkeypatch.setattr(Prediction, "views", views)
    write_evaluation_report(tmp_path / "page.html", load_engine(run), data, measured(run, data), count=2)
    assert seen == [((80, 40), (80, 40), (5, 6, 70, 40))] * 2


def test_it_says_what_answers_are_worth(run: Path, exported_run: Path, photos: Path, tmp_path: Path) -> None:
    for model, words in ((run, False), (exported_run, True)):
        engine, report = load_engine(model), measured(model, photos)
        text = write_evaluation_report(tmp_path / "page.html", engine, photos, report, count=1).read_text("utf-8")
        assert "Can its probabilities be believed?" in text and "Calibration error: " in text
        told = engine.tells_strangers
        assert told == words and ("cannot tell images of something else" in text) == (not told)
        assert bool(re.search(r"\bsure\b", text)) == told
        assert not told or f"was chosen on {engine.detector.chosen_on}" in text  # type: ignore[union-attr]
