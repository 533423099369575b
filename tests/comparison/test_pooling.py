"""Folds pooled: every image once, and measures as of one run over all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tlaam.comparison.pooling import pooled
from tlaam.comparison.results import RunResult, cell, summary
from tlaam.errors import RunError
from tlaam.evaluation.classification import classification_report
from tlaam.evaluation.log_loss import log_loss

IMAGES = [f"{number}.png" for number in range(30)]
RANDOM = np.random.default_rng(0)
PROBABILITIES = RANDOM.dirichlet(np.ones(4), 30)
LABELS = RANDOM.integers(0, 4, 30)
FOLDS = RANDOM.permutation(30) % 3 + 1


def fold(number: int, **more: float) -> RunResult:
    places = np.flatnonzero(number == FOLDS)[::-1]  # in an order of its own
    predicted = PROBABILITIES.argmax(1)
    right = (predicted == LABELS)[places].tolist()
    answers = {
        "label": LABELS[places].tolist(),
        "predicted": predicted[places].tolist(),
        "score": PROBABILITIES.max(1)[places].tolist(),
        "label_score": PROBABILITIES[places, LABELS[places]].tolist(),
    }
    measures = {"minutes": 2.0, "memory": float(number), **more}
    names = [IMAGES[place] for place in places]
    return RunResult("a", 0, measures, {"fused": right, "raw": right}, names, "last", number, answers, {"box": number})


def test_measures_are_those_of_all_answers_together() -> None:
    found = pooled([fold(number, **{"box.mean_iou": number / 10}) for number in (1, 2, 3)], IMAGES)
    expected = classification_report(torch.tensor(PROBABILITIES), torch.tensor(LABELS), list("abcd"))
    assert found.images == IMAGES and found.fold == 0 and found.protocol == "last"
    assert found.right["fused"] == (PROBABILITIES.argmax(1) == LABELS).tolist()
    for name, value in {
        "fused.top1": expected.top1, "raw.top1": expected.top1, "fused.macro_f1": expected.macro_f1,
        "fused.ece": expected.ece, "fused.debiased_calibration_error": expected.debiased_calibration_error,
        "fused.nll": -np.log(PROBABILITIES[np.arange(30), LABELS]).mean(), "minutes": 6.0, "memory": 3.0,
        "box.mean_iou": (0.1 * 1 + 0.2 * 2 + 0.3 * 3) / 6,
    }.items():  # fmt: skip
        assert found.measures[name] == pytest.approx(value, abs=1e-12), name
    assert "parts.hit" not in found.measures


def test_an_image_that_has_two_answers_or_none_is_refused() -> None:
    folds = [fold(number) for number in (1, 2, 3)]
    for wrong, images in ((folds[:2], IMAGES), ([*folds, folds[0]], IMAGES), (folds, IMAGES[:-1])):
        with pytest.raises(RunError, match="each has to have one"):
            pooled(wrong, images)
    assert len(pooled(folds[:2], IMAGES, skipped=True).images) == 20  # those of the third cannot be read


def test_a_folds_result_survives_json_and_a_log_loss_is_finite() -> None:
    assert RunResult.from_dict(fold(2).to_dict()) == fold(2) and fold(2).name == "a-0-fold2"
    whole = replace(fold(2), fold=0)
    assert not {"fold", "answers", "counts"} & set(whole.to_dict()) and whole.name == "a-0"
    assert 0 < log_loss([0.0, 1.0]) < 14
    (spreads,) = summary([pooled([fold(n) for n in (1, 2, 3)], IMAGES)]).values()
    assert cell("fused.nll", spreads["fused.nll"]) == f"{spreads['fused.nll'].mean:.3f}"
