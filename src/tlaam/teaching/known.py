"""The effect of a change of classes: how often the new and the old classes are recognised, before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.probe.classifiers import Classifiers
from tlaam.probe.linear import LinearProbe
from tlaam.teaching.lesson import Lesson


class Figures(NamedTuple):
    """How often classes are recognised.

    Attributes:
        new: share of the new class's photographs that are recognised by classifiers that had not seen them; None if
            there is no new class, or only a single photograph of it.
        taken_for: the classes that the others of them are taken for, with counts, most frequent first.
        old: share of the other images that are classified correctly; None if there are none.
        old_before: the same before the change; confusions between merged classes count as correct.
        images: number of these other images.
        were_held_out: whether the network had not been trained on them; otherwise both shares are optimistic if it was
            fine-tuned.
    """

    new: float | None
    taken_for: tuple[tuple[str, int], ...]
    old: float | None
    old_before: float | None
    images: int
    were_held_out: bool


def figures(
    lesson: Lesson,
    solved: Classifiers,
    before: Lesson,
    decided: LinearProbe,
    places: Sequence[int | None],
    *,
    new: int | None = None,
) -> Figures:
    """Return the figures of a change.

    Other classes are measured on held-out images if the model keeps any, else out of fold. Then the state before the
    change is measured out of fold, too: its classifiers are solved again, each without one fold.

    Args:
        lesson: the lesson that was solved.
        solved: its classifiers.
        before: the images with the classes before the change.
        decided: W before the change.
        places: for each class before the change, its index now; None for a class that was removed.
        new: index of the new class.
    """
    right = solved.right(lesson.labels)
    own = np.zeros(len(right), dtype=bool) if new is None else lesson.labels == new
    wrong = own & solved.known & ~right
    taken_for = Counter(lesson.classes[place] for place in solved.scores[wrong].argmax(1))
    if len(lesson.held_out):
        assert solved.joint is not None
        after = _answers(solved.joint, lesson) == lesson.held_out_labels
        answers, labels = _answers(decided, before), before.held_out_labels
    else:
        after = right[~own & solved.held_out]
        again = before.solve()
        answers = np.where(again.known, again.scores.argmax(1), len(places))[again.held_out]
        labels = before.labels[again.held_out]
    turned = np.array([-1 if place is None else place for place in places] + [-1])  # the last entry means no answer
    once = (turned[answers] == turned[labels])[turned[labels] >= 0]
    return Figures(
        float(right[own & solved.known].mean()) if (own & solved.known).any() else None,
        tuple(taken_for.most_common()),
        float(after.mean()) if len(after) else None,
        float(once.mean()) if len(once) else None,
        len(after),
        len(lesson.held_out) > 0,
    )


def _answers(probe: LinearProbe, lesson: Lesson) -> NDArray[np.int64]:
    """Return the predicted class of each held-out image, ``(M,)``."""
    answers: NDArray[np.int64] = probe.logits(lesson.held_out.reshape(len(lesson.held_out), -1)).argmax(1)
    return answers
