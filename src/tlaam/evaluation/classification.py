"""How well class probabilities match the labels (docs/json.md)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from tlaam.errors import DataError

CALIBRATION_BINS = 15
EQUAL_BINS, LEAST_IN_BIN = 10, 20
"""For `debiased_calibration_error`: the number of bins, and the smallest number of images per bin; with few images,
fewer bins are used."""
# Probabilities computed under bf16 sum to one only to about three digits.
SUM_TOLERANCE = 0.02


@dataclass(frozen=True)
class ClassificationReport:
    """Measures of one branch on one split; shares lie between 0 and 1.

    Attributes:
        images: number of images measured.
        top1: share of images whose highest-scoring class is the label.
        top5: share of images whose label is among the five highest-scoring classes (or C, if there are fewer).
        macro_f1: mean F1 over the classes that occur among the labels or the predictions.
        ece: expected calibration error, see `expected_calibration_error`.
        debiased_calibration_error: root mean square calibration error without the part due to chance, see
            `debiased_calibration_error`.
        per_class: for each class name its ``precision``, ``recall``, ``f1`` (0 where undefined) and ``support``.
        confusion: ``(C, C)`` int64, how often class [row] was taken for class [column].
    """

    images: int
    top1: float
    top5: float
    macro_f1: float
    ece: float
    debiased_calibration_error: float
    per_class: dict[str, dict[str, float | int]] = field(repr=False)
    confusion: Tensor = field(repr=False, compare=False)

    def summary(self) -> dict[str, float]:
        """Return the headline measures under the names of the JSON contract."""
        names = ("top1", "top5", "macro_f1", "ece", "debiased_calibration_error")
        return {name: getattr(self, name) for name in names}


def classification_report(probabilities: Tensor, labels: Tensor, classes: Sequence[str]) -> ClassificationReport:
    """Measure class probabilities against labels.

    Classes with equal probabilities are ranked by index, lower first, in both top-1 and top-5.

    Args:
        probabilities: ``(N, C)`` floating point, each row non-negative with sum 1.
        labels: ``(N,)`` integers in ``[0, C)``.
        classes: the C class names.

    Raises:
        DataError: there are no images, fewer than two classes or repeated names, or shapes or values do not fit.
    """
    _check(probabilities, labels, classes)
    probabilities, labels = probabilities.detach().cpu().double(), labels.detach().cpu().long()
    predictions = probabilities.argmax(dim=1)  # the first of equal maxima
    ranks = _label_ranks(probabilities, labels)
    confusion = multiclass_confusion_matrix(predictions, labels, num_classes=len(classes))
    precision, recall, f1 = _precision_recall_f1(confusion)
    support = confusion.sum(dim=1)
    occurs = (support + confusion.sum(dim=0)) > 0
    per_class: dict[str, dict[str, float | int]] = {
        name: {"precision": p, "recall": r, "f1": f, "support": s}
        for name, p, r, f, s in zip(
            classes, precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True
        )
    }
    return ClassificationReport(
        images=len(labels),
        top1=(ranks < 1).double().mean().item(),
        top5=(ranks < 5).double().mean().item(),
        macro_f1=f1[occurs].mean().item(),
        ece=expected_calibration_error(probabilities.amax(dim=1), predictions == labels),
        debiased_calibration_error=debiased_calibration_error(probabilities.amax(dim=1), predictions == labels),
        per_class=per_class,
        confusion=confusion,
    )


def calibration_bins(
    confidences: Tensor, correct: Tensor, bins: int = CALIBRATION_BINS
) -> list[tuple[float, float, int]]:
    """Return mean confidence, accuracy and number of images of each bin that is not empty.

    Args:
        confidences: see `expected_calibration_error`.
        correct: see `expected_calibration_error`.
        bins: see `expected_calibration_error`.
    """
    index = _bin_of(confidences.to(torch.float64), bins)
    found = []
    for number in sorted(set(index.tolist())):
        inside = index == number
        means = confidences[inside].double().mean().item(), correct[inside].double().mean().item()
        found.append((*means, int(inside.sum())))
    return found


def _bin_of(confidences: Tensor, bins: int) -> Tensor:
    return (torch.ceil(confidences * bins).long() - 1).clamp(0, bins - 1)


def expected_calibration_error(confidences: Tensor, correct: Tensor, bins: int = CALIBRATION_BINS) -> float:
    """Return the gap between confidence and accuracy, averaged over bins weighted by their counts.

    ``ECE = Σ_b |B_b|/N · |accuracy(B_b) - confidence(B_b)|`` with equal-width bins ``((b-1)/bins, b/bins]`` (Guo et al.
    2017, arXiv 1706.04599, equation 3). The torchmetrics function is not used, because it puts a confidence of exactly
    1 into a bin of its own and applies a softmax if rounding has carried a probability past 1.

    Args:
        confidences: ``(N,)`` probability of the predicted class, N ≥ 1.
        correct: ``(N,)`` bool, whether that class is the label.
        bins: number of bins.
    """
    confidences = confidences.to(torch.float64)
    index = _bin_of(confidences, bins)
    # Within a bin, count · |accuracy - confidence| is |Σ (correct - confidence)|.
    gaps = torch.zeros(bins, dtype=torch.float64, device=confidences.device)
    gaps.index_add_(0, index, correct.to(torch.float64) - confidences)
    return (gaps.abs().sum() / len(confidences)).item()


def debiased_calibration_error(confidences: Tensor, correct: Tensor) -> float:
    """Return the root mean square gap between confidence and accuracy, without the part due to chance.

    By chance, even a perfectly calibrated model has a gap in every bin. An ECE adds up their absolute values: 0.05 for
    243 images. This measure is the square root of `squared_calibration_error`, which is 0 on average for such a model;
    if that is negative, the result is 0.
    """
    return math.sqrt(max(0.0, squared_calibration_error(confidences, correct)))


def squared_calibration_error(confidences: Tensor, correct: Tensor) -> float:
    """Return an unbiased estimate of the squared calibration error; chance may make it negative. Average this one.

    ``Σ_b |B_b|/N · mean over pairs i ≠ j of B_b of r_i r_j``, ``r = correct - confidence``, over bins with equally many
    images: ``E[r_i r_j] = E[r]²`` where ``mean(r)²`` would be larger by ``Var[r]/|B_b|``. This is the debiased
    estimator of Kumar, Liang and Ma 2019, arXiv 1909.10155, for scores that differ within a bin. Equal confidences
    share a bin.

    Args:
        confidences: ``(N,)`` probability of the predicted class, N ≥ 1.
        correct: ``(N,)`` bool, whether that class is the label.
    """
    confidences = confidences.detach().cpu().double()
    residuals = correct.detach().cpu().double() - confidences
    count = len(confidences)
    if count == 1:  # there is no pair
        return residuals.square().item()
    bins = min(EQUAL_BINS, max(1, count // LEAST_IN_BIN))
    firsts = torch.arange(1, bins) * count // bins
    index = torch.bucketize(confidences, confidences.sort().values[firsts], right=True)
    sums, squares, sizes = (
        torch.zeros(bins, dtype=torch.float64).index_add_(0, index, values)
        for values in (residuals, residuals.square(), torch.ones_like(residuals))
    )
    paired = sizes > 1
    of_pairs = (sums.square() - squares)[paired] / (sizes[paired] - 1)  # |B_b| times their mean
    return (of_pairs.sum() / sizes[paired].sum()).item()


def _label_ranks(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the rank of each label ``(N,)``: the number of classes before it, 0 for the best."""
    own = probabilities.gather(1, labels[:, None])  # [N, 1]
    lower_index = torch.arange(probabilities.shape[1], device=labels.device) < labels[:, None]  # [N, C]
    return ((probabilities > own) | ((probabilities == own) & lower_index)).sum(dim=1)


def _precision_recall_f1(confusion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return three ``(C,)`` float64 tensors; a ratio with nothing to count is 0."""
    counts = confusion.to(torch.float64)
    hits, actual, predicted = counts.diagonal(), counts.sum(dim=1), counts.sum(dim=0)
    return (
        hits / predicted.clamp(min=1),
        hits / actual.clamp(min=1),
        2 * hits / (actual + predicted).clamp(min=1),
    )


def _check(probabilities: Tensor, labels: Tensor, classes: Sequence[str]) -> None:
    count = len(classes)
    if count < 2:
        raise DataError(f"Cannot measure classification over {count} class(es): at least 2 are needed.")
    if len(set(classes)) != count:
        repeated = sorted({name for name in classes if classes.count(name) > 1})
        raise DataError(f"Class names must differ, but {repeated[0]!r} occurs more than once; rename one of them.")
    if probabilities.ndim != 2 or probabilities.shape[1] != count or labels.shape != probabilities.shape[:1]:
        raise DataError(
            f"Received probabilities of shape {tuple(probabilities.shape)} and labels of shape {tuple(labels.shape)}; "
            f"with {count} classes they must be (N, {count}) and (N,)."
        )
    if len(labels) == 0:
        raise DataError("There is no image to measure: choose a split that holds at least one.")
    if labels.is_floating_point() or labels.min() < 0 or labels.max() >= count:
        raise DataError(f"Labels must be integers from 0 to {count - 1}; received {labels.min()} to {labels.max()}.")
    # Comparisons with NaN are false, so this also refuses NaN.
    fits = (probabilities >= 0).all() and ((probabilities.double().sum(dim=1) - 1).abs() <= SUM_TOLERANCE).all()
    if not fits:
        raise DataError("Probabilities must be non-negative and sum to 1 in each row; apply a softmax to scores first.")
