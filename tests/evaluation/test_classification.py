from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support
from torch import Tensor

from tlaam.errors import DataError
from tlaam.evaluation.classification import (
    EQUAL_BINS,
    calibration_bins,
    classification_report,
    debiased_calibration_error,
    expected_calibration_error,
    squared_calibration_error,
)

GRID = [(1, 2), (7, 2), (40, 3), (64, 6), (200, 17), (30, 100)]


def names(count: int) -> list[str]:
    return [f"class {index}" for index in range(count)]


def random_case(images: int, classes: int, *, ties: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(images * 1000 + classes)
    scores = torch.randn(images, classes, generator=generator)
    # Few distinct scores make most rows hold equal maxima.
    probabilities = (scores.sign() if ties else 2 * scores).softmax(dim=1)
    labels = torch.randint(classes, (images,), generator=generator)
    return probabilities, labels


def slow_top_k(probabilities: Tensor, labels: Tensor, k: int) -> float:
    hits = 0
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        best = sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]
        hits += label in best
    return hits / len(labels)


def slow_ece(confidences: list[float], correct: list[bool], bins: int = 15) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, c in enumerate(confidences) if b / bins < c <= (b + 1) / bins]
        if inside:
            accuracy = sum(correct[i] for i in inside) / len(inside)
            confidence = sum(confidences[i] for i in inside) / len(inside)
            total += len(inside) / len(confidences) * abs(accuracy - confidence)
    return total


@pytest.mark.parametrize(("images", "classes"), GRID)
@pytest.mark.parametrize("ties", [False, True])
def test_equals_independent_references(images: int, classes: int, ties: bool) -> None:
    probabilities, labels = random_case(images, classes, ties=ties)
    report = classification_report(probabilities, labels, names(classes))
    predictions = probabilities.numpy().argmax(axis=1)
    truth = labels.numpy()

    assert report.images == images
    assert report.top1 == pytest.approx((predictions == truth).mean())
    assert report.top1 == pytest.approx(slow_top_k(probabilities, labels, 1))
    assert report.top5 == pytest.approx(slow_top_k(probabilities, labels, 5))
    # scikit-learn's default set of classes is also: those among the labels or the predictions.
    assert report.macro_f1 == pytest.approx(f1_score(truth, predictions, average="macro", zero_division=0))
    assert report.ece == pytest.approx(
        slow_ece(probabilities.double().amax(dim=1).tolist(), (predictions == truth).tolist())
    )
    np.testing.assert_array_equal(report.confusion.numpy(), confusion_matrix(truth, predictions, labels=range(classes)))
    expected = precision_recall_fscore_support(truth, predictions, labels=range(classes), zero_division=0)
    received = [[row[key] for row in report.per_class.values()] for key in ("precision", "recall", "f1", "support")]
    np.testing.assert_allclose(received, np.stack(expected).astype(float))


def test_known_numbers() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    report = classification_report(probabilities, torch.tensor([0, 0, 1, 1]), ["wren", "robin"])
    assert report.summary() == pytest.approx(
        {
            "top1": 0.75, "top5": 1.0, "macro_f1": (0.8 + 2 / 3) / 2, "ece": (0.1 + 0.2 + 0.3 + 0.6) / 4,
            "debiased_calibration_error": 0.0,  # of pairs of 0.1, 0.2, 0.3 and -0.6 the mean product is negative
        }
    )  # fmt: skip
    assert list(report.summary()) == ["top1", "top5", "macro_f1", "ece", "debiased_calibration_error"]
    assert all(type(value) is float for value in report.summary().values())
    assert report.confusion.tolist() == [[2, 0], [1, 1]]
    assert report.confusion.dtype == torch.int64
    assert report.per_class["wren"] == pytest.approx({"precision": 2 / 3, "recall": 1.0, "f1": 0.8, "support": 2})


def test_equal_probabilities_rank_the_lower_index_first() -> None:
    flat = torch.full((6, 6), 1 / 6)
    report = classification_report(flat, torch.arange(6), names(6))
    assert (report.top1, report.top5) == pytest.approx((1 / 6, 5 / 6))
    pair = torch.tensor([[0.1, 0.4, 0.4, 0.1]]).expand(4, 4)
    for label, right in ((0, 0.0), (1, 1.0), (2, 0.0), (3, 0.0)):
        assert classification_report(pair, torch.full((4,), label), names(4)).top1 == right


def test_classes_that_never_occur_do_not_lower_macro_f1() -> None:
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    assert classification_report(probabilities, torch.tensor([0, 1]), names(3)).macro_f1 == 1.0


def test_order_of_images_does_not_matter() -> None:
    probabilities, labels = random_case(64, 6, ties=False)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    before = classification_report(probabilities, labels, names(6))
    after = classification_report(probabilities[order], labels[order], names(6))
    assert before.summary() == pytest.approx(after.summary())
    assert torch.equal(before.confusion, after.confusion)
    others = classification_report(probabilities[order], labels, names(6))  # each image's answer to another's label
    assert all(value != before.summary()[name] for name, value in others.summary().items() if name != "top5")
    assert not torch.equal(others.confusion, before.confusion) and others.top5 != before.top5


def test_a_bin_includes_its_upper_edge_only() -> None:
    # 0.5 shares the bin (0.25, 0.5] with 0.3, where their gaps +0.5 and -0.3 nearly cancel.
    confidences, correct = torch.tensor([0.5, 0.3]), torch.tensor([True, False])
    assert expected_calibration_error(confidences, correct, bins=4) == pytest.approx(0.1)


def test_confidence_of_one_belongs_to_the_last_bin() -> None:
    # In a bin of its own it would give (0.5 · 0.04 + 0.5 · 1) instead of |(0.04 - 1) / 2|.
    assert expected_calibration_error(torch.tensor([0.96, 1.0]), torch.tensor([True, False])) == pytest.approx(0.48)
    assert expected_calibration_error(torch.tensor([1.0, 1.0]), torch.tensor([True, True])) == 0.0


def test_bins_that_hold_images_are_told_by_their_means() -> None:
    confidences, correct = torch.tensor([0.5, 0.96, 0.3, 1.0]), torch.tensor([True, True, False, False])
    low, high = calibration_bins(confidences, correct, bins=4)
    assert low == pytest.approx((0.4, 0.5, 2)) and high == pytest.approx((0.98, 0.5, 2))
    assert calibration_bins(confidences[:1], correct[:1]) == [(0.5, 1.0, 1)]


def test_a_class_that_was_only_predicted_lowers_macro_f1() -> None:
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert classification_report(probabilities, torch.tensor([0, 1, 0]), names(3)).macro_f1 == pytest.approx(
        (2 / 3 + 1 + 0) / 3
    )


def slow_squared_error(confidences: list[float], correct: list[bool], bins: int) -> float:
    """Pairs within bins of equally many images, by a loop; for confidences that all differ."""
    order = sorted(range(len(confidences)), key=confidences.__getitem__)
    edges = [k * len(order) // bins for k in range(bins + 1)]
    total = 0.0
    for first, end in itertools.pairwise(edges):
        gaps = [correct[i] - confidences[i] for i in order[first:end]]
        products = [a * b for (i, a), (j, b) in itertools.permutations(enumerate(gaps), 2) if i != j]
        total += len(gaps) / len(order) * sum(products) / len(products)
    return total


@pytest.mark.parametrize(("images", "bins"), [(2, 1), (39, 1), (63, 3), (243, EQUAL_BINS)])
def test_the_debiased_error_is_that_of_pairs(images: int, bins: int) -> None:
    generator = torch.Generator().manual_seed(images)
    confidences = torch.rand(images, generator=generator, dtype=torch.float64)
    correct = torch.rand(images, generator=generator) < 0.5
    expected = slow_squared_error(confidences.tolist(), correct.tolist(), bins)
    found = squared_calibration_error(confidences, correct)
    assert found == pytest.approx(expected, abs=1e-12)
    assert debiased_calibration_error(confidences, correct) == pytest.approx(max(0, expected) ** 0.5)
    order = torch.randperm(images, generator=generator)
    assert squared_calibration_error(confidences[order], correct[order]) == pytest.approx(found)


@pytest.mark.parametrize("exponent", [1.0, 1.7, 0.5])
def test_chance_adds_nothing_to_the_debiased_error(exponent: float) -> None:
    """243 images a time: of calibrated scores it is 0 on average, where the ECE is 0.05; of others it is the truth."""
    generator = torch.Generator().manual_seed(0)

    def drawn(images: int) -> tuple[Tensor, Tensor, Tensor]:
        odds = 2.5 + 1.8 * torch.randn(images, generator=generator, dtype=torch.float64)
        true = odds.sigmoid().clamp(min=0.3)
        return (exponent * true.logit()).sigmoid(), torch.rand(images, generator=generator) < true, true

    confidences, _, true = drawn(100_000)
    squared = (confidences - true).square().mean().item()
    times = [drawn(243)[:2] for _ in range(600)]
    found = [squared_calibration_error(*time) for time in times]
    noise = 3 * float(np.std(found)) / len(found) ** 0.5
    assert np.mean(found) == pytest.approx(squared, abs=noise + 0.12 * squared)  # bins hide a little
    roots, plain = (
        float(np.mean([measure(*time) for time in times]))
        for measure in (debiased_calibration_error, expected_calibration_error)
    )
    if exponent == 1:
        assert roots < 0.022 and plain > 0.045, "half of the roots are 0"
    else:
        assert roots == pytest.approx(squared**0.5, rel=0.2)


def test_the_debiased_error_of_few_and_of_equal_scores() -> None:
    assert debiased_calibration_error(torch.tensor([0.9]), torch.tensor([False])) == pytest.approx(0.9)
    sure, right = torch.ones(100), torch.arange(100) < 80
    for answers in (right, right.flip(0)):  # equal scores stand in one bin, in whatever order they come
        assert squared_calibration_error(sure, answers) == pytest.approx((20**2 - 20) / (100 * 99))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_low_precision_probabilities_are_accepted(dtype: torch.dtype) -> None:
    probabilities, labels = random_case(64, 100, ties=False)
    report = classification_report(probabilities.to(dtype), labels, names(100))
    assert all(math.isfinite(value) for value in report.summary().values())


@pytest.mark.parametrize(
    ("probabilities", "labels", "classes", "message"),
    [
        (torch.ones(3, 1), torch.zeros(3, dtype=torch.long), ["only"], "at least 2"),
        (torch.ones(0, 2), torch.zeros(0, dtype=torch.long), ["a", "b"], "no image"),
        (torch.full((1, 2), 0.5), torch.tensor([0]), ["a", "a"], "'a' occurs more than once"),
        (torch.full((1, 3), 0.5), torch.tensor([0]), ["a", "b"], r"shape \(1, 3\)"),
        (torch.full((2, 2), 0.5), torch.tensor([0]), ["a", "b"], r"shape \(1,\)"),
        (torch.full((1, 2), 0.5), torch.tensor([2]), ["a", "b"], "from 0 to 1"),
        (torch.full((1, 2), 0.5), torch.tensor([-1]), ["a", "b"], "from 0 to 1"),
        (torch.tensor([[3.0, -2.0]]), torch.tensor([0]), ["a", "b"], "softmax"),
        (torch.tensor([[3.0, 2.0]]), torch.tensor([0]), ["a", "b"], "softmax"),
        (torch.tensor([[math.nan, 1.0]]), torch.tensor([0]), ["a", "b"], "softmax"),
    ],
)
def test_refuses_what_it_cannot_measure(
    probabilities: Tensor, labels: Tensor, classes: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        classification_report(probabilities, labels, classes)
    assert "\n" not in str(caught.value)
