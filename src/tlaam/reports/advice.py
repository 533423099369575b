"""Advice on what to do next, most valuable first, based only on what was measured for this run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tlaam.config.names import FINAL_BRANCH
from tlaam.evaluation.confusion import mixed_up
from tlaam.evaluation.report import EvaluationReport, ImageResult
from tlaam.probe.curve import CurvePoint, growth_of
from tlaam.reports.page import Table
from tlaam.utils.text import per_cent

_CLASSES = 3
"""Number of classes to name: those with the most mistakes."""
_SURE, _IMPROBABLE = 0.9, 0.05
"""An image may be mislabelled if its label is at most, and another class at least, this probable."""
_NAMED = 3
_LARGER = 320
"""Input size in pixels that the advice proposes to try."""
_FEW_IMAGES = 5
"""Below this number of training images, more photographs of a class are advised whatever was measured."""
_FEW_MISTAKES = 2
"""Minimum number of mistakes in a class before more photographs of it are advised; a single one may be chance."""


class Advice(NamedTuple):
    """One recommendation.

    Attributes:
        do: what to do.
        worth: share of the images that this may correct; None if unknown.
        because: the measurement behind it.
    """

    do: str
    worth: float | None
    because: str


def advice_of(
    report: EvaluationReport | None,
    training_images: Mapping[str, int],
    status: Mapping[str, Any],
    history: Sequence[Mapping[str, float | None]],
    epochs: int,
) -> list[Table]:
    """Return the advice as a table, most valuable first, or an empty list if there is none.

    Args:
        report: measurements on held-out images; None if there are none.
        training_images: number of training images by class name.
        status: the run's status (``run.json``).
        history: one row per epoch.
        epochs: number of epochs requested.
    """
    curve = [CurvePoint(*point) for point in status.get("probe", {}).get("curve", ())]
    found = [*_more_images(curve), *_rare(training_images), *_more_epochs(history, epochs, status)]
    if report is not None:
        found += [*_labels(report.per_image, report.classes), *_classes(report, training_images, curve)]
    if not found:
        return []
    found.sort(key=lambda advice: -1.0 if advice.worth is None else -advice.worth)
    rows: list[Sequence[str | int | float | None]] = [(one.do, _points(one.worth), one.because) for one in found]
    return [
        Table(
            "What to do next",
            ("What", "May be worth", "Because"),
            rows,
            "An estimate from what was measured of this run, in points of accuracy, no promise. Whether a larger "
            "input or another backbone would help is not known before it is tried, best by folds of a probe: tlaam "
            f"compare DATA --systems tlaam --variant 'larger=tlaam image_size={_LARGER}' --set epochs=0 --folds 3",
        )
    ]


def _points(worth: float | None) -> str:
    return "not known" if worth is None else f"{100 * worth:.1f} points"


def _more_images(curve: Sequence[CurvePoint]) -> list[Advice]:
    """Return the gain expected from twice as many photographs, extrapolated from the few-images curve of this data."""
    law = growth_of(curve)
    if law is None:
        return []
    last = curve[-1]
    so_far = ", ".join(f"{per_cent(point.top1, 0)} with {point.images:.0f} a class" for point in curve)
    if law.exponent < 0.05:
        return [Advice("Leave the number of photographs as it is", 0.0, f"more have not helped a probe: {so_far}.")]
    gain = max(0.0, (1 - last.top1) - law.error(2 * last.images))
    enough = last.images * 2 ** (1 / law.exponent)
    halved = f"; half the mistakes would need about {_rounded(enough)} a class" if enough < 100 * last.images else ""
    return [
        Advice(
            f"Photograph every class twice as often ({2 * last.images:.0f} images a class)",
            gain,
            f"a probe of these data has {so_far} right, out of fold{halved}.",
        )
    ]


def _rare(training_images: Mapping[str, int]) -> list[Advice]:
    """Return the advice to photograph classes of which there is next to nothing, even to measure them by."""
    rare = sorted((count, name) for name, count in training_images.items() if 0 < count < _FEW_IMAGES)
    if not rare:
        return []
    named = ", ".join(f"{name} ({count})" for count, name in rare[:_NAMED])
    more = f" and {len(rare) - _NAMED} more" if len(rare) > _NAMED else ""
    why = f"they have fewer than {_FEW_IMAGES} training images, too few to learn from and to measure by."
    return [Advice(f"Photograph more of {named}{more}", None, why)]


def _rounded(number: float) -> int:
    """Round a number to two significant digits; the estimate is no more accurate than that."""
    return int(float(f"{number:.1e}"))


def _more_epochs(history: Sequence[Mapping[str, float | None]], epochs: int, status: Mapping[str, Any]) -> list[Advice]:
    """Return whether more epochs are worthwhile, judged by the validation images."""
    if not history or not epochs:
        return []
    if status.get("kept") == "probe":
        why = f"none of {len(history)} epochs did better on held-out images than the probe."
        return [Advice("Do not train longer", 0.0, why)]
    best = [number for number, row in enumerate(history) if row.get("best")]
    tops = [row.get("val_top1_fused") for row in history]
    if not best or best[-1] < len(history) - 1 or None in tops[-2:] or len(tops) < 2:
        return []
    before, last = float(tops[-2] or 0), float(tops[-1] or 0)
    why = (
        f"the last epoch was the best; it has {per_cent(last)} of the validation images right, the one before "
        f"{per_cent(before)}."
    )
    return [Advice(f"Train longer (--epochs {2 * epochs})", max(0.0, last - before), why)]


def _labels(results: Sequence[ImageResult], classes: Sequence[str]) -> list[Advice]:
    """Return the advice to check labels that confident answers contradict."""
    doubtful = [
        result
        for result in results
        if result.predicted[FINAL_BRANCH] != result.label
        and result.score >= _SURE
        and result.label_score <= _IMPROBABLE
    ]
    if not doubtful:
        return []
    doubtful.sort(key=lambda result: -result.score)
    named = "; ".join(
        f"{one.name} ({classes[one.label]}, or {classes[one.predicted[FINAL_BRANCH]]}?)" for one in doubtful[:_NAMED]
    )
    more = f" and {len(doubtful) - _NAMED} more" if len(doubtful) > _NAMED else ""
    count = "1 image was" if len(doubtful) == 1 else f"{len(doubtful)} images were"
    why = f"{count} named otherwise with at least {per_cent(_SURE, 0)}: {named}{more}. tlaam clean DATA shows them all."
    return [Advice("Look at labels", len(doubtful) / len(results), why)]


def _classes(report: EvaluationReport, training: Mapping[str, int], curve: Sequence[CurvePoint]) -> list[Advice]:
    """Return the classes that need more photographs: those missed most often."""
    law = growth_of(curve)
    rows = report.classification[FINAL_BRANCH].per_class
    missed = {name: round(float(row["support"]) * (1 - float(row["recall"]))) for name, row in rows.items()}
    taken_for: dict[str, str] = {}
    for pair in mixed_up(report.per_image):
        taken_for.setdefault(report.classes[pair.first], report.classes[pair.second])
    found = []
    for name in sorted(missed, key=lambda one: (-missed[one], one))[:_CLASSES]:
        if missed[name] < _FEW_MISTAKES:
            break
        worth = None if law is None else missed[name] / report.images * (1 - 2**-law.exponent)
        other = f", most of them taken for {taken_for[name]}" if name in taken_for else ""
        has = f"; training had {training[name]} of it" if training.get(name) else ""
        why = f"{missed[name]} of its {int(rows[name]['support'])} held-out images were named otherwise{other}{has}."
        found.append(Advice(f"Photograph {name} twice as often", worth, why))
    return found
