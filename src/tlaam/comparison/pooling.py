"""Out-of-fold answers: the combined result of all folds' runs, each measured on images that it had not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tlaam.comparison.results import MEASURES, RunResult
from tlaam.errors import RunError
from tlaam.evaluation.classification import debiased_calibration_error, expected_calibration_error
from tlaam.evaluation.log_loss import log_loss


def pooled(folds: Sequence[RunResult], images: Sequence[str], *, skipped: bool = False) -> RunResult:
    """Return the answers of one system and seed for all training images, as if a single run had given them.

    Accuracies, macro-F1, calibration error and log loss are computed from all answers together. Measures of boxes,
    parts and masks are means over folds, weighted by how many of their images have these annotations; a measure that
    chooses a threshold on the measured images therefore chooses one per fold. Time is the sum, memory the maximum.

    Args:
        folds: the result of every fold.
        images: names of the training images, in the order of the result.
        skipped: allow images without an answer, because they cannot be read.

    Raises:
        RunError: an image was answered for twice or not at all, or is not a training image.
    """
    place_of = {name: place for place, name in enumerate(images)}
    named = [name for fold in folds for name in fold.images]
    if len(set(named)) < len(named) or not set(named) <= set(place_of) or (len(named) < len(images) and not skipped):
        raise RunError(
            f"the folds of {folds[0].system}-{folds[0].seed} hold {len(named)} answers for {len(set(named))} of "
            f"{len(images)} training images; each has to have one. Give the comparison another folder (--out)."
        )
    order = sorted(range(len(named)), key=lambda place: place_of[named[place]])

    def joined(values: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        return np.concatenate([np.asarray(part, dtype=np.float64) for part in values])[order]

    branches = [branch for branch in folds[0].right if all(branch in fold.right for fold in folds)]
    right = {branch: joined([fold.right[branch] for fold in folds]).astype(bool) for branch in branches}
    label, predicted, score, label_score = (
        joined([fold.answers[name] for fold in folds]) for name in ("label", "predicted", "score", "label_score")
    )
    own = {f"{branch}.top1": float(cells.mean()) for branch, cells in right.items()}
    own["fused.macro_f1"] = _macro_f1(label.astype(int), predicted.astype(int))
    confidence, correct = torch.from_numpy(score), torch.from_numpy(right["fused"])
    own["fused.ece"] = expected_calibration_error(confidence, correct)
    own["fused.debiased_calibration_error"] = debiased_calibration_error(confidence, correct)
    own["fused.nll"] = log_loss(label_score.tolist())
    own["minutes"] = sum(fold.measures["minutes"] for fold in folds)
    if memory := [fold.measures["memory"] for fold in folds if "memory" in fold.measures]:
        own["memory"] = max(memory)
    means = {name: _mean(name, folds) for name in MEASURES if name.partition(".")[0] in ("box", "parts", "masks")}
    measures = {name: value for name in MEASURES if (value := own.get(name, means.get(name))) is not None}
    return RunResult(
        folds[0].system,
        folds[0].seed,
        measures,
        {branch: cells.tolist() for branch, cells in right.items()},
        [named[place] for place in order],
        folds[0].protocol,
    )


def _mean(name: str, folds: Sequence[RunResult]) -> float | None:
    """Return the mean of a measure over the folds that have it; None if none has."""
    having = [fold for fold in folds if name in fold.measures and fold.counts.get(name.partition(".")[0])]
    if not having:
        return None
    weights = [fold.counts[name.partition(".")[0]] for fold in having]
    return float(np.average([fold.measures[name] for fold in having], weights=weights))


def _macro_f1(labels: NDArray[np.int_], predicted: NDArray[np.int_]) -> float:
    """Return the mean F1 over the classes that occur (`tlaam.evaluation.classification.ClassificationReport`)."""
    count = int(max(labels.max(), predicted.max())) + 1
    hits = np.bincount(labels[labels == predicted], minlength=count)
    occurs = np.bincount(labels, minlength=count) + np.bincount(predicted, minlength=count)
    return float((2 * hits[occurs > 0] / occurs[occurs > 0]).mean())
