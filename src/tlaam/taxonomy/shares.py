"""Probabilities as integer shares, for the most probable classes only, so that decisions use what is stored.

A threshold chosen on stored answers holds for new ones if both are scored by the same function. New probabilities are
therefore cut and rounded in the same way as stored ones, and classes that were cut off count for no taxon.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

WHOLE = 65535
"""Number of shares that make a whole; odd, so that no two taxa can both have `HALF` of them."""
HALF = 32768
"""Smallest number of shares that is more than one half."""
TOP = 16
"""Number of classes that are stored per answer."""
MOST = 4000
"""Largest number of answers that are stored."""

Shares = NDArray[np.int64]


@dataclass(frozen=True)
class SharedAnswers:
    """The most probable classes of N answers, each with its shares.

    Attributes:
        classes: class indices, ``(N, K)``.
        shares: shares of each class, rounded down, ``(N, K)``; at most `WHOLE` per row. A class without shares does not
            count.
    """

    classes: NDArray[np.int64] = field(repr=False)
    shares: Shares = field(repr=False)

    @classmethod
    def of(cls, probabilities: NDArray[np.floating[Any]], top: int = TOP) -> SharedAnswers:
        """Return the answers of probabilities ``(N, C)``."""
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        return cls(order, whole_shares(np.take_along_axis(probabilities, order, 1).astype(np.float64)))


def whole_shares(probabilities: NDArray[np.float64]) -> Shares:
    """Return probabilities as shares, rounded down, so that each row sums to at most `WHOLE`.

    Examples:
        >>> whole_shares(np.array([[0.5, 0.5, 0.0]])).tolist()
        [[32767, 32767, 0]]
    """
    sums = np.maximum(probabilities.sum(-1, keepdims=True), 1.0)  # a float sum may be slightly more than 1
    shares: Shares = np.floor(probabilities / sums * WHOLE).astype(np.int64)
    return shares


@dataclass(frozen=True)
class HeldOutAnswers:
    """What a model answered for held-out images, and what they show; promises are based on these answers.

    Attributes:
        labels: class index of each image, ``(N,)``.
        answers: the answers for the N images.
    """

    labels: NDArray[np.int64] = field(repr=False)
    answers: SharedAnswers = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, chosen: NDArray[Any]) -> HeldOutAnswers:
        """Return some of the answers, chosen by a mask or by positions."""
        return HeldOutAnswers(
            self.labels[chosen], SharedAnswers(self.answers.classes[chosen], self.answers.shares[chosen])
        )

    def bounded(self, most: int = MOST) -> HeldOutAnswers:
        """Return at most `most` of the answers, taken evenly from all."""
        count = len(self)
        return self if count <= most else self.of(np.arange(most) * count // most)

    def to_text(self) -> str:
        """Return the answers as text for a file's metadata: in base64, 8 bytes per stored class."""
        count, kept = self.answers.classes.shape
        texts = {
            name: base64.b64encode(values.astype(kind).tobytes()).decode("ascii")
            for name, values, kind in (
                ("labels", self.labels, "<u4"),
                ("classes", self.answers.classes, "<u4"),
                ("shares", self.answers.shares, "<u2"),
            )
        }
        return json.dumps({"count": count, "kept": kept, **texts})

    @classmethod
    def from_text(cls, text: str, classes: int) -> HeldOutAnswers:
        """Read the output of `to_text`, for a model with this number of classes.

        Raises:
            ValueError: it is invalid.
        """
        facts = json.loads(text)
        count, kept = (facts.get(name) if isinstance(facts, dict) else None for name in ("count", "kept"))
        if type(count) is not int or type(kept) is not int or not 0 <= count <= MOST or not 1 <= kept <= TOP:
            raise ValueError("it holds no answers of this version")
        labels, of, shares = (
            _decoded(facts.get(name), kind, count * size)
            for name, kind, size in (("labels", "<u4", 1), ("classes", "<u4", kept), ("shares", "<u2", kept))
        )
        return cls.checked(labels, of.reshape(count, kept), shares.reshape(count, kept), classes)

    @classmethod
    def checked(
        cls, labels: NDArray[Any], of: NDArray[Any], shares: NDArray[Any], classes: int | None = None
    ) -> HeldOutAnswers:
        """Return the answers of labels ``(N,)``, classes and shares ``(N, K)`` from an untrusted source.

        Raises:
            ValueError: they cannot belong to a model with this number of classes, or to any model if no number is
                given.
        """
        labels, of, shares = (values.astype(np.int64) for values in (labels, of, shares))
        if of.shape != shares.shape or len(labels) != len(of):
            raise ValueError("its lists are not equally long")
        for indices in (labels, of):
            if indices.size and (indices.min() < 0 or (classes is not None and indices.max() >= classes)):
                raise ValueError("a class is none")
        if shares.size and (shares.min() < 0 or shares.sum(1).max() > WHOLE):
            raise ValueError("its shares are more than a whole")
        if of.shape[1] < 1:
            raise ValueError("an answer names no class")
        ordered = np.sort(of, axis=1)
        if (ordered[:, 1:] == ordered[:, :-1]).any():
            raise ValueError("an answer names a class twice")
        return cls(labels, SharedAnswers(of, shares))


def _decoded(text: object, kind: str, count: int) -> NDArray[Any]:
    if not isinstance(text, str):
        raise ValueError("it lacks numbers")
    values = np.frombuffer(base64.b64decode(text, validate=True), kind)
    if len(values) != count:
        raise ValueError("its lists are not equally long")
    return values
