"""Out-of-distribution detection: whether an image looks like those that a model learnt from. NumPy only.

docs/strangers.md says how the two thresholds are chosen, and how well they work.
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
"""The verdict on an answer. ``stranger``: the image is out of distribution, it does not look like those that the model
learnt from. ``unsure``: the class is less probable than answers that can be relied on. ``sure``: neither of these.
``nothing found``: objects were looked for, and there is none to give an answer for."""

IN_DISTRIBUTION = 0.95
"""Share of images that count as in distribution: of held-out images, and of training images if the features were not
fitted to them (as for a probe)."""
IN_DISTRIBUTION_BY_TRAINING = 0.98
"""The same share of training images that the features were fitted to. A model knows these better than new images."""
RIGHT = 0.95
"""Share of right answers among the held-out images at or above the probability from which an answer counts as sure."""
EVEN_CHANCE = 0.5
"""Smallest value of that probability, and its value if there are too few held-out images to find a higher one."""
ENOUGH = 20
"""Smallest number of held-out images that something is chosen on. It is also the number of images that the model's own
probabilities count for when the threshold of sure answers is chosen."""
ROUGH_BELOW = 100
"""Number of held-out images below which outputs say that results based on them are rough."""
NO_THRESHOLD = -1.0
"""The threshold of a detector that nothing could be chosen for. No similarity is lower, so it detects no strangers."""

_MAX_TEXT = 1 << 23


@dataclass(frozen=True)
class NearStrangers:
    """Detector of near strangers: the contrast, converted to a similarity.

    Attributes:
        contrast: the contrast of the classes.
        threshold: lowest contrast of an image that is in distribution.
        scale: similarity per unit of contrast.
    """

    contrast: Contrast = field(repr=False)
    threshold: float
    scale: float

    def similarity(self, directions: Floats, threshold: float) -> NDArray[np.float64]:
        """Return the contrast of directions ``(B, E)`` as a similarity ``(B,)``.

        The contrast's own threshold is mapped to the similarity `threshold`.
        """
        return np.clip(threshold + self.scale * (self.contrast.of(directions) - self.threshold), -1, 1)

    def facts(self) -> dict[str, float]:
        """Return its threshold and scale."""
        return {"threshold": self.threshold, "scale": self.scale}


@dataclass(frozen=True)
class OODDetector:
    """Decides whether an image looks like those that a model learnt from.

    Attributes:
        means: mean of each class's embeddings, each of length 1, ``(C, E)``; zeros for a class without images.
        threshold: lowest similarity of an image that is in distribution.
        sure_from: lowest probability of an answer that counts as sure.
        chosen_on: what the two were chosen on, as text for people.
        near: detector of near strangers; None for a model for which it is not known to help.
    """

    means: NDArray[np.float16] = field(repr=False)
    threshold: float
    sure_from: float
    chosen_on: str = ""
    near: NearStrangers | None = None

    def similarity(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return how much images look like those that the model learnt from, ``(B,)``.

        It is the cosine to the nearest class mean or, if that is lower, the similarity of `near`.

        Args:
            embeddings: ``(B, E)``, of any length.

        Raises:
            ModelError: E belongs to another model.
        """
        nearest: NDArray[np.float64] = cosines(embeddings, self._directions).max(1)
        if self.near is not None:
            nearest = np.minimum(nearest, self.near.similarity(unit(embeddings), self.threshold))
        return np.where(np.isnan(nearest), -1.0, nearest)  # the lowest similarity

    @property
    def tells_strangers(self) -> bool:
        """Whether there is a similarity below which an image is a stranger."""
        return self.threshold > NO_THRESHOLD

    def verdict(self, similarity: float, probability: float) -> Verdict | None:
        """Return the verdict on an answer; None if strangers cannot be detected, because no answer is sure then."""
        if not self.tells_strangers:
            return None
        if similarity < self.threshold:
            return "stranger"
        return "sure" if probability >= self.sure_from else "unsure"

    def to_text(self) -> str | None:
        """Return the detector as text for the metadata of an ONNX file; None if that would be too long."""
        if self.means.nbytes > _MAX_TEXT:
            return None
        means = base64.b64encode(self.means.astype("<f2").tobytes()).decode("ascii")
        near = {} if self.near is None else {"near": {**self.near.facts(), **self.near.contrast.to_facts()}}
        return json.dumps({**self.facts(), "classes": len(self.means), "means": means, **near})

    @classmethod
    def from_text(cls, text: str, classes: int) -> OODDetector:
        """Read the output of `to_text`, for a model with this number of classes.

        Raises:
            ValueError: it is invalid.
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
        """Return the detector of means ``(C, E)``, `facts` and a contrast from an untrusted source.

        Raises:
            ValueError: they are invalid.
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
        """Return everything except the arrays, as plain values."""
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
    """Return the lowest probability, at least `EVEN_CHANCE`, from which the share `RIGHT` of the answers is right.

    This share is unreliable if few images reach such a probability. The model's own estimate, the mean of its
    probabilities there, therefore counts as `ENOUGH` more images (docs/strangers.md says what this gains). The result
    is 1 if there is no such probability.

    Args:
        probabilities: probability of the most probable class for each held-out image, ``(N,)``.
        right: whether that class is right, ``(N,)``.
    """
    order = np.argsort(-probabilities, kind="stable")
    descending, count = probabilities[order].astype(np.float64), np.arange(1, len(order) + 1)
    share = (np.cumsum(right[order]) + ENOUGH * np.cumsum(descending) / count) / (count + ENOUGH)
    last_of_equals = np.append(np.diff(descending) != 0, True)
    good = descending[(share >= RIGHT) & last_of_equals]
    return max(EVEN_CHANCE, float(good.min(initial=1.0)))


def rough(held_out: int) -> str:
    """Return the remark that follows a number of held-out images; empty if there are enough.

    Examples:
        >>> rough(31), rough(0), rough(300)
        (' (fewer than 100: rough)', ' (none: rough)', '')
    """
    if held_out >= ROUGH_BELOW:
        return ""
    return f" (fewer than {ROUGH_BELOW}: rough)" if held_out else " (none: rough)"


def quantile(values: Floats, share: float) -> float:
    """Return the largest of the values such that at most this share of them are smaller.

    Examples:
        >>> quantile(np.array([0.1, 0.2, 0.3, 0.4]), 0.5)
        0.2
    """
    return float(np.quantile(values.astype(np.float64), share, method="lower"))
