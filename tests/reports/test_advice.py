"""What to do next: from what was measured, in order of worth."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tlaam.evaluation.classification import classification_report
from tlaam.evaluation.report import EvaluationReport, ImageResult
from tlaam.reports.advice import advice_of

CLASSES = ("crow", "jay", "wren")
CURVE = [[4.0, 0.6], [8.0, 0.8], [16.0, 0.9]]
"""Errors that halve with twice the images."""


def report(*answers: tuple[int, int, float, float]) -> EvaluationReport:
    """Return a report of images: label, answer, its probability, and the label's."""
    chances = torch.zeros(len(answers), 3)
    for row, (_, answer, *_) in enumerate(answers):  # what is advised is read from the results
        chances[row, answer] = 1
    labels = torch.tensor([label for label, *_ in answers])
    results = [
        ImageResult(f"{number}.jpg", label, {"fused": answer}, score, None, None, of_label)
        for number, (label, answer, score, of_label) in enumerate(answers)
    ]
    found = classification_report(chances, labels, CLASSES)
    return EvaluationReport("birds", "val", len(answers), CLASSES, {"fused": found}, per_image=results)


def rows(*arguments: Any) -> list[tuple[str, str, str]]:
    (table,) = advice_of(*arguments)
    return [(str(what), str(worth), str(why).replace("\N{NO-BREAK SPACE}", " ")) for what, worth, why in table.rows]


RIGHT = [(number % 3, number % 3, 0.9, 0.9) for number in range(15)]


def test_what_is_worth_most_comes_first_and_stands_on_measured_figures() -> None:
    jays = [(1, 0, 0.6, 0.3)] * 3  # three of its images are taken for crows
    found = rows(
        report(*RIGHT, *jays, (2, 0, 0.97, 0.01), (2, 1, 0.5, 0.4)), {"jay": 12}, {"probe": {"curve": CURVE}}, [], 0
    )
    assert [what for what, *_ in found] == [
        "Photograph jay twice as often",
        "Photograph every class twice as often (32 images a class)",
        "Look at labels",
        "Photograph wren twice as often",
    ]
    assert found[0][1:] == (
        "7.5 points",  # half of 3 in 20 images
        "3 of its 8 held-out images were named otherwise, most of them taken for crow; training had 12 of it.",
    )
    assert found[1][1] == "5.0 points"
    assert found[1][2] == (
        "a probe of these data has 60 % with 4 a class, 80 % with 8 a class, 90 % with 16 a class right, out of fold; "
        "half the mistakes would need about 32 a class."
    )
    assert found[2][1:] == (
        "5.0 points",
        "1 image was named otherwise with at least 90 %: 18.jpg (wren, or crow?). tlaam clean DATA shows them all.",
    )


def test_without_a_curve_the_worth_of_photographs_is_not_known() -> None:
    found = rows(report(*RIGHT, *[(1, 0, 0.6, 0.3)] * 2), {}, {}, [], 0)
    assert found == [
        (
            "Photograph jay twice as often",
            "not known",
            "2 of its 7 held-out images were named otherwise, most of them taken for crow.",
        )
    ]


def test_a_curve_that_does_not_rise_says_so() -> None:
    flat = {"probe": {"curve": [[4.0, 0.8], [8.0, 0.8], [16.0, 0.8]]}}
    assert rows(None, {}, flat, [], 0)[0][:2] == ("Leave the number of photographs as it is", "0.0 points")


def epochs(*tops: float, best: int) -> list[dict[str, float | None]]:
    return [{"val_top1_fused": top, "best": 1.0 if number == best else None} for number, top in enumerate(tops)]


@pytest.mark.parametrize(
    ("history", "status", "expected"),
    [
        (epochs(0.5, 0.6, 0.75, best=2), {}, ("Train longer (--epochs 6)", "15.0 points")),
        (epochs(0.5, 0.7, 0.7, best=1), {}, None),
        (epochs(0.5, 0.4, 0.3, best=9), {"kept": "probe"}, ("Do not train longer", "0.0 points")),
        (epochs(0.5, best=0), {}, None),
        ([], {}, None),
    ],
)
def test_more_epochs_are_advised_where_the_last_was_the_best(
    history: list[dict[str, float | None]], status: dict[str, str], expected: tuple[str, str] | None
) -> None:
    found = advice_of(None, {}, status, history, 3)
    assert (found == []) is (expected is None)
    if expected is not None:
        assert tuple(found[0].rows[0][:2]) == expected


def test_of_answers_that_are_all_right_there_is_nothing_to_say() -> None:
    assert advice_of(report(*RIGHT), {}, {}, [], 0) == []


def test_classes_of_next_to_nothing_are_named() -> None:
    counts = {"crow": 2, "jay": 4, "wren": 5, "owl": 1, "tit": 3}
    found = rows(report(*RIGHT), counts, {}, [], 0)
    assert found == [(
        "Photograph more of owl (1), crow (2), tit (3) and 1 more", "not known",
        "they have fewer than 5 training images, too few to learn from and to measure by.",
    )]  # fmt: skip
