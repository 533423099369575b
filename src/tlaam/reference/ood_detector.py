"""Out of distribution or not: whether an image looks like those that a model learnt from. NumPy only.

docs/strangers.md says how the two thresholds are chosen, and what they are worth.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlaam.reference.contrast import Contrast
from tlaam.reference.similarity import Floats, cosines, unit

Verdict = Literal["sure", "unsure", "stranger", "nothing found"]
"""What is said of an answer: ``stranger``, the image is out of distribution: it does not look like those that the model
learnt from; ``unsure``, the class is less probable than answers that can be relied on; else ``sure``. ``nothing found``
is said where objects were looked for, and there is none to give an answer for."""

IN_DISTRIBUTION = 0.95
"""Share that counts as in distribution: of held-out images, and of training images where the features were not fitted
to them (a probe's)."""
IN_DISTRIBUTION_BY_TRAINING = 0.98
"""The same of training images that the features were fitted to: a model knows these better than what it sees for the
first time."""
RIGHT = 0.95
"""Share of right answers among the held-out images that got at least the probability from which on an answer counts as
sure."""
EVEN_CHANCE = 0.5
"""That probability at least, and where there are too few held-out images to find a higher one."""
ENOUGH = 20
"""Held-out images below which nothing is chosen by them; and as many images does a model's own word count for, where it
is chosen from which probability on answers are right."""
ROUGH_BELOW = 100
"""Held-out images below which it is said that what they were asked is known only roughly."""
NO_THRESHOLD = -1.0
"""The threshold of a detector that nothing could be chosen for: nothing is less similar, so it tells no stranger."""

_MAX_TEXT = 1 << 23


@dataclass(frozen=True)
class NearStrangers:
    """What tells near strangers: the contrast, as a similarity.

    Attributes:
        contrast: of the classes.
        threshold: least contrast of an image that is in distribution.
        scale: what a unit of contrast counts, in similarity.
    """

    contrast: Contrast = field(repr=False)
    threshold: float
    scale: float

    def similarity(self, directions: Floats, threshold: float) -> NDArray[np.float64]:
        """Return the contrast of directions ``(B, E)`` as a similarity, whose threshold is that other one, ``(B,)``."""
        return np.clip(threshold + self.scale * (self.contrast.of(directions) - self.threshold), -1, 1)

    def facts(self) -> dict[str, float]:
        """Return its numbers."""
        return {"threshold": self.threshold, "scale": self.scale}


@dataclass(frozen=True)
class OODDetector:
    """What is needed to say of an image whether it looks like those that a model learnt from.

    Attributes:
        means: mean of each class's embeddings, every one of length 1, ``(C, E)``; zeros for a class without images.
        threshold: least similarity of an image that is in distribution.
        sure_from: least probability of an answer that counts as sure.
        chosen_on: what the two were chosen on, to be read by people.
        near: what tells near strangers; None of a model that is not known to tell them better by it.
    """

    means: NDArray[np.float16] = field(repr=False)
    threshold: float
    sure_from: float
    chosen_on: str = ""
    near: NearStrangers | None = None

    def similarity(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return how much images look like those that were learnt from, ``(B,)``.

        It is the cosine to the nearest class mean, or, where that is less, what `near` says.

        Args:
            embeddings: ``(B, E)``, of any length.

        Raises:
            ModelError: E is another model's.
        """
        nearest: NDArray[np.float64] = cosines(embeddings, self._directions).max(1)
        if self.near is not None:
            nearest = np.minimum(nearest, self.near.similarity(unit(embeddings), self.threshold))
        return np.where(np.isnan(nearest), -1.0, nearest)  # nothing is less alike

    @property
    def tells_strangers(self) -> bool:
        """Whether there is a similarity below which an image is a stranger."""
        return self.threshold > NO_THRESHOLD

    def verdict(self, similarity: float, probability: float) -> Verdict | None:
        """Return what is said of an answer: nothing, where strangers cannot be told, since no answer is sure then."""
        if not self.tells_strangers:
            return None
        if similarity < self.threshold:
            return "stranger"
        return "sure" if probability >= self.sure_from else "unsure"

    def to_text(self) -> str | None:
        """Return it as text for the metadata of an ONNX file; None where that would be too long."""
        if self.means.nbytes > _MAX_TEXT:
            return None
        means = base64.b64encode(self.means.astype("<f2").tobytes()).decode("ascii")
        near = {} if self.near is None else {"near": {**self.near.facts(), **self.near.contrast.to_facts()}}
        return json.dumps({**self.facts(), "classes": len(self.means), "means": means, **near})

    @classmethod
    def from_text(cls, text: str, classes: int) -> OODDetector:
        """Read what `to_text` wrote for a model of so many classes.

        Raises:
            ValueError: it is something else.
        """
        facts = json.loads(text)
        if not isinstance(facts, dict) or facts.get("classes") != classes or not isinstance(facts.get("means"), str):
            raise ValueError(f"it does not describe {classes} classes")
        values = np.frombuffer(base64.b64decode(facts["means"], validate=True), "<f2")
        if values.size == 0 or values.size % classes:
            raise ValueError("its means are no table of classes")
        means = values.reshape(classes, -1)
        contrast = Contrast.from_facts(facts["near"], means.shape[1]) if "near" in facts else None
        return cls.checked(means, facts, contrast)

    @classmethod
    def checked(cls, means: NDArray[Any], facts: dict[str, Any], contrast: Contrast | None = None) -> OODDetector:
        """Return the detector of means ``(C, E)``, of `facts` and of a contrast that come from somewhere else.

        Raises:
            ValueError: they are none.
        """
        threshold, sure_from, chosen_on = (facts.get(name) for name in ("threshold", "sure_from", "chosen_on"))
        if not np.isfinite(means).all():
            raise ValueError("its means are not finite")
        for value in (threshold, sure_from):
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError("a threshold is no number")
        if not isinstance(chosen_on, str):
            raise ValueError("'chosen_on' is no text")
        near = None if contrast is None else _near(contrast, facts.get("near"))
        return cls(means, float(threshold), float(sure_from), chosen_on, near)  # type: ignore[arg-type]

    def facts(self) -> dict[str, Any]:
        """Return all but the arrays as plain values."""
        plain = {"threshold": self.threshold, "sure_from": self.sure_from, "chosen_on": self.chosen_on}
        return plain if self.near is None else {**plain, "near": self.near.facts()}

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return unit(self.means)


def _near(contrast: Contrast, facts: Any) -> NearStrangers:
    threshold, scale = (facts.get(name) if isinstance(facts, dict) else None for name in ("threshold", "scale"))
    if not all(isinstance(value, (int, float)) and math.isfinite(value) for value in (threshold, scale)):
        raise ValueError("a threshold of near strangers is no number")
    return NearStrangers(contrast, float(threshold), float(scale))  # type: ignore[arg-type]


def sure_from(probabilities: Floats, right: NDArray[np.bool_]) -> float:
    """Return the lowest probability, but no less than `EVEN_CHANCE`, from which on `RIGHT` of the answers are right.

    The images' word on that is weak where few of them got so much, so the model's own, the mean of its probabilities
    there, counts as `ENOUGH` more images (docs/strangers.md, for what that buys). 1 where there is no such probability.

    Args:
        probabilities: of each held-out image, that of the most probable class, ``(N,)``.
        right: whether that class is right, ``(N,)``.
    """
    order = np.argsort(-probabilities, kind="stable")
    descending, count = probabilities[order].astype(np.float64), np.arange(1, len(order) + 1)
    share = (np.cumsum(right[order]) + ENOUGH * np.cumsum(descending) / count) / (count + ENOUGH)
    last_of_equals = np.append(np.diff(descending) != 0, True)
    good = descending[(share >= RIGHT) & last_of_equals]
    return max(EVEN_CHANCE, float(good.min(initial=1.0)))


def rough(held_out: int) -> str:
    """Return what is said behind a number of held-out images: nothing where there are enough.

    >>> rough(31), rough(0), rough(300)
    (' (fewer than 100: rough)', ' (none: rough)', '')
    """
    if held_out >= ROUGH_BELOW:
        return ""
    return f" (fewer than {ROUGH_BELOW}: rough)" if held_out else " (none: rough)"


def quantile(values: Floats, share: float) -> float:
    """Return the largest of the values such that at most this share of them are smaller.

    >>> quantile(np.array([0.1, 0.2, 0.3, 0.4]), 0.5)
    0.2
    """
    return float(np.quantile(values.astype(np.float64), share, method="lower"))
