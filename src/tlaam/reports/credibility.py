"""Page sections on how far answers can be trusted: probabilities and verdicts.

A page says "sure" only if the model recognises strangers and gives that verdict itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tlaam.evaluation.classification import calibration_bins
from tlaam.evaluation.report import EvaluationReport
from tlaam.inference.prediction import TELLS_NO_STRANGERS, VERDICTS
from tlaam.reference.ood_detector import ROUGH_BELOW, OODDetector
from tlaam.reports.page import Chart, Table
from tlaam.utils.text import per_cent
from tlaam.visualization.charts import reliability_chart

_VERDICTS = "What it says of its own answers"


def calibration_of(report: EvaluationReport) -> Chart:
    """Return a chart of how often answers are right against their stated probabilities."""
    scores = torch.tensor([r.score for r in report.per_image], dtype=torch.float64)
    correct = torch.tensor([r.predicted["fused"] == r.label for r in report.per_image])
    fused = report.classification["fused"]
    few = f" All this is rough: it was measured on fewer than {ROUGH_BELOW} images."
    return Chart(
        "Can its probabilities be believed?",
        reliability_chart(calibration_bins(scores, correct)),
        "On the dashed line, of answers given with 80 % probability 80 % are right. Larger dots are more images. "
        f"Calibration error: {100 * fused.debiased_calibration_error:.1f} % (root mean square, without what chance "
        f"adds); expected calibration error, with it: {100 * fused.ece:.1f} %."
        f"{few if report.images < ROUGH_BELOW else ''}",
    )


def rarity_of(report: EvaluationReport) -> list[Table]:
    """Return how well rare and frequent classes are recognised; empty if training had about equally many of each."""
    if not report.rarity:
        return []
    return [
        Table(
            "Rare and frequent classes",
            ("Classes", "Number", "Training images", "Images measured", "Recall", "F1"),
            [
                (
                    band.name,
                    band.classes,
                    str(band.most) if band.fewest == band.most else f"{band.fewest} to {band.most}",
                    band.images,
                    band.recall,
                    band.f1,
                )
                for band in report.rarity
            ],
            "Rare: at most a quarter of the largest class's training images; less frequent: at most half. Recall "
            "(right answers among a class's images) and F1 are means of classes.",
        )
    ]


def ranks_of(report: EvaluationReport) -> list[Table]:
    """Return the accuracy of each rank, how deep answers go, and whether the promise held; empty without a promise."""
    if (found := report.ranks) is None:
        return []
    rows: list[Sequence[str | int | float | None]] = [
        (rank.rank, rank.accuracy, rank.answers, rank.right / rank.answers if rank.answers else None)
        for rank in found.ranks
    ]
    rows.append(("no answer", None, found.images - found.answers, None))
    kept = (
        "" if found.kept is None else f" {found.right} of {found.answers} answers are right ({per_cent(found.kept)})."
    )
    word = "held" if found.held else "did not hold"
    return [
        Table(
            "How deep its answers go",
            ("Rank", "Most probable taxon right", "Answered at it", "Of them right"),
            rows,
            "Each image is answered at the deepest rank that is sure enough for the promise, that "
            f"{per_cent(found.promise, 0)} of the answers are right.{kept} So the promise {word}.",
        )
    ]


def verdicts_of(report: EvaluationReport, detector: OODDetector | None) -> Table:
    """Return how often answers were right for each verdict, or a note that the model gives no verdicts."""
    if detector is None or not detector.tells_strangers:
        why = "no class has two different images"
        if detector is None:
            why = "it has no reference index (tlaam index writes one)"
        return Table(
            _VERDICTS,
            ("It says", "Images"),
            [("nothing", report.images)],
            f"{TELLS_NO_STRANGERS[0].upper()}{TELLS_NO_STRANGERS[1:]}: {why}. So none of its answers can be "
            "relied on by its probability alone.",
        )
    rows: list[Sequence[str | int | float | None]] = []
    for verdict, title in VERDICTS.items():
        right = [r.predicted["fused"] == r.label for r in report.per_image if r.verdict == verdict]
        rows.append((title, len(right), sum(right) / len(right) if right else None))
    strangers = sum(r.verdict == "stranger" for r in report.per_image)
    unsure = f"Unsure: less than {per_cent(detector.sure_from, 0)} probable."
    if report.ranks is not None:
        unsure = "Unsure: the deepest rank is not sure enough for the promise."
    return Table(
        _VERDICTS,
        ("It says", "Images", "Of them right"),
        rows,
        f"Every answer comes with one of these words. {unsure} Unlike what "
        "the model learnt from: said of pictures of something else, and of "
        f"{per_cent(strangers / report.images, 0)} of these, which are all of its own classes. "
        f"Where the words begin was chosen on {detector.chosen_on}.",
    )
