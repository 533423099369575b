"""What a change of classes comes to: how often the new class and the old ones are named right, before and after."""

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
    """How often classes are named right.

    Attributes:
        new: share of the new class's photographs that are named right by classifiers that had not seen them; None where
            there is no new class, or a single photograph of it.
        taken_for: what those that are not are taken for, and how many, most often first.
        old: share of the other images that are named right; None where there are none.
        old_before: the same before the change; of merged classes one taken for the other was right.
        images: how many of these there are.
        were_held_out: whether the network had not learnt from them; else both shares flatter where it was fine-tuned.
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

    Other classes are measured on held-out images where the model keeps any. Else they are measured out of fold, and so
    is what there was before: its classifiers are solved once more, each without a fold.

    Args:
        lesson: what was solved.
        solved: the classifiers of it.
        before: the images under the classes as they were.
        decided: W as it was.
        places: of each class as it was, which one it is now; None for one that went.
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
    turned = np.array([-1 if place is None else place for place in places] + [-1])  # the last one: no answer
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
    """Return which class a classifier names each held-out image, ``(M,)``."""
    answers: NDArray[np.int64] = probe.logits(lesson.held_out.reshape(len(lesson.held_out), -1)).argmax(1)
    return answers
