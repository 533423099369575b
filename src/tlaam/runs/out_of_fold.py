"""Answers for a run's training images by models that had not seen them (``out_of_fold.npz``).

They exist only for a probe on a frozen backbone: the classifiers are solved again without each fold, then answer for
that fold. These answers are as good as those for new images, and there is one for every training image.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import RunError
from tlaam.runs.folder import RunFolder
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers
from tlaam.utils.arrays import UNFIT, arrays_of, to_bytes
from tlaam.utils.atomic import write_atomically
from tlaam.utils.checksums import TRAILER_SIZE, trailer
from tlaam.utils.reading import require_regular

FORMATS = 1, 2
"""Without and with the most probable classes of each answer; files of other formats are refused."""

_MAX_FILE = 1 << 28
_ROUNDING = 1e-6
_ARRAYS = {
    "labels": ("<i8", 1),
    "predicted": ("<i8", 1),
    "score": ("<f4", 1),
    "known": ("|u1", 1),
    "facts": ("|u1", 1),
}
_SHARED = {"classes": ("<i4", 2), "shares": ("<u2", 2)}
"""Additional arrays of format 2."""


class OutOfFold(NamedTuple):
    """Answers for N training images, each by a model that had not seen it.

    Attributes:
        names: names of the images.
        labels: class index of each image, ``(N,)``.
        predicted: index of the most probable class, ``(N,)``.
        score: its probability at the model's temperature, ``(N,)``.
        known: whether that model had seen other images of the image's class, ``(N,)``; the others are ignored.
        shared: the most probable classes of each answer; None for a run of an older version.
    """

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    score: NDArray[np.float32]
    known: NDArray[np.bool_]
    shared: SharedAnswers | None = None

    def held_out(self) -> HeldOutAnswers | None:
        """Return the known answers, from which a promise is made; None for a run of an older version."""
        if self.shared is None:
            return None
        return HeldOutAnswers(self.labels, self.shared).of(self.known)


def write_out_of_fold(path: Path, answers: OutOfFold) -> None:
    """Write the file atomically; an existing one is replaced.

    Raises:
        RunError: the disk is full.
        OSError: the operating system refused for another reason.
        ValueError: the answers are invalid (`read_out_of_fold` would refuse them).
    """
    kinds = _ARRAYS if answers.shared is None else _ARRAYS | _SHARED
    facts = json.dumps({"format": FORMATS[answers.shared is not None], "names": list(answers.names)}).encode("ascii")
    arrays: dict[str, NDArray[Any]] = {**answers._asdict(), "facts": np.frombuffer(facts, np.uint8)}
    if answers.shared is not None:
        arrays |= {"classes": answers.shared.classes, "shares": answers.shared.shares}
    content = to_bytes({name: arrays[name] for name in kinds}, kinds)
    _answers(content)
    write_atomically(path, content, trailer(content))


def read_out_of_fold(path: Path) -> OutOfFold:
    """Read a file that `write_out_of_fold` wrote.

    Raises:
        RunError: the file cannot be read, is damaged, or holds something else.
    """
    try:
        require_regular(path, _MAX_FILE)
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}.") from error
    payload, end = content[:-TRAILER_SIZE], content[-TRAILER_SIZE:]
    try:
        if end != trailer(payload):
            raise ValueError("its checksum differs")
        return _answers(payload)
    except UNFIT as error:
        raise RunError(
            f"{path} is damaged or no file of this version ({' '.join(str(error).split())[:100]}); remove it, and what "
            "is said of the model rests on other images, or train again."
        ) from error


def out_of_fold_of(run: Path) -> OutOfFold | None:
    """Return the answers stored in a run folder; None if there are none.

    Raises:
        RunError: the answers are damaged.
    """
    path = RunFolder(run).out_of_fold
    return read_out_of_fold(path) if path.exists() else None


def _answers(content: bytes) -> OutOfFold:
    has_shares = int.from_bytes(content[-12:-10], "little") == len(_ARRAYS | _SHARED)  # the archive's member count
    arrays = arrays_of(content, _ARRAYS | _SHARED if has_shares else _ARRAYS)
    facts = json.loads(arrays["facts"].tobytes())
    if not isinstance(facts, dict) or facts.get("format") != FORMATS[has_shares]:
        raise ValueError("its format is another")
    names = facts.get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its names are none")
    labels, predicted, score, known = (arrays[name] for name in ("labels", "predicted", "score", "known"))
    if any(len(array) != len(names) for array in (labels, predicted, score, known)):
        raise ValueError("its lists are not equally long")
    if len(names) and (min(labels.min(), predicted.min()) < 0 or known.max() > 1):
        raise ValueError("a class is none")
    if not ((score >= 0) & (score <= 1 + _ROUNDING)).all():  # NaN is refused, too
        raise ValueError("a score is no probability")
    shared = None
    if has_shares:
        shared = HeldOutAnswers.checked(labels, arrays["classes"], arrays["shares"]).answers
        if len(names) and (shared.classes[:, 0] != predicted).any():
            raise ValueError("its most probable classes are others")
    return OutOfFold(tuple(names), labels, predicted, score, known.astype(bool), shared)


__all__ = ["OutOfFold", "out_of_fold_of", "read_out_of_fold", "write_out_of_fold"]
