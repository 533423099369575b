"""What a model learnt from, kept beside it: to show the training images most like a new one, and to tell a stranger.

NumPy and Pillow only. docs/strangers.md says how the two thresholds of a `Judge` are chosen, and what they are worth.

A gallery is one ``.npz`` file without pickles and without compression. It may come from somewhere else, so reading it
believes nothing: every size is held against the bytes that are there before memory is asked for.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tlaam.atomic import write_atomically
from tlaam.errors import DataError, ModelError
from tlaam.images import require_jpeg

Confidence = Literal["sure", "unsure", "stranger"]
"""What is said of an answer: ``stranger``, the image does not look like those the model learnt from; ``unsure``, the
class is less probable than answers that can be relied on; else ``sure``."""

FILE = "gallery.npz"
"""Of a run folder."""
FORMAT = 1
PER_CLASS = 30
MAX_IMAGES = 6000
"""Of a gallery that a run writes: images a class, and in all."""
THUMBNAIL_SIDE = 160
FAMILIAR = 0.95
"""Share of validation images that count as familiar."""
FAMILIAR_BY_TRAINING = 0.98
"""The same of training images, where there are too few validation images: a model knows what it was trained on better
than what it sees for the first time."""
RIGHT = 0.95
"""Share of right answers among the validation images that got at least the probability from which on an answer counts
as sure."""
EVEN_CHANCE = 0.5
"""That probability at least, and where there are too few validation images to find a higher one."""
ENOUGH = 20
"""Validation images below which nothing is chosen by them."""

_MAX_FILE = 1 << 28
_MAX_FACTS = 1 << 24
_MAX_DIRECTORY = 1 << 12
_MAX_THUMBNAIL_BYTES = 1 << 16
_MAX_THUMBNAIL_SIDE = 512
_MAX_TEXT = 1 << 23

Floats = NDArray[np.floating[Any]]
_ARRAYS = {
    "means": ("<f2", 2),
    "embeddings": ("<f2", 2),
    "labels": ("<i4", 1),
    "thumbnails": ("|u1", 1),
    "ends": ("<i8", 1),
    "facts": ("|u1", 1),
}
"""Type and number of axes of each array of the file."""


@dataclass(frozen=True)
class Judge:
    """What is needed to say of an image whether it looks like those that a model learnt from.

    Attributes:
        means: mean of each class's embeddings, every one of length 1, ``(C, E)``; zeros for a class without images.
        threshold: least familiarity of an image that is no stranger.
        sure_from: least probability of an answer that counts as sure.
        chosen_on: what the two were chosen on, to be read by people.
    """

    means: NDArray[np.float16] = field(repr=False)
    threshold: float
    sure_from: float
    chosen_on: str = ""

    def familiarity(self, embeddings: Floats) -> NDArray[np.float64]:
        """Return how much images look like those that were learnt from: the cosine to the nearest class mean, ``(B,)``.

        Args:
            embeddings: ``(B, E)``, of any length.

        Raises:
            ModelError: E is another model's.
        """
        cosines: NDArray[np.float64] = _cosines(embeddings, self._directions).max(1)
        return np.where(np.isnan(cosines), -1.0, cosines)  # nothing is less familiar

    def confidence(self, familiarity: float | None, probability: float) -> Confidence:
        """Return the verdict on an answer; a familiarity of None, of a model without embeddings, is no stranger's."""
        if familiarity is not None and familiarity < self.threshold:
            return "stranger"
        return "sure" if probability >= self.sure_from else "unsure"

    def to_text(self) -> str | None:
        """Return it as text for the metadata of an ONNX file; None where that would be too long."""
        if self.means.nbytes > _MAX_TEXT:
            return None
        means = base64.b64encode(self.means.astype("<f2").tobytes()).decode("ascii")
        return json.dumps({**self._facts(), "classes": len(self.means), "means": means})

    @classmethod
    def from_text(cls, text: str, classes: int) -> Judge:
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
        return cls._checked(values.reshape(classes, -1), facts)

    @classmethod
    def _checked(cls, means: NDArray[Any], facts: dict[str, Any]) -> Judge:
        threshold, sure_from, chosen_on = (facts.get(name) for name in ("threshold", "sure_from", "chosen_on"))
        if not np.isfinite(means).all():
            raise ValueError("its means are not finite")
        for value in (threshold, sure_from):
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ValueError("a threshold is no number")
        if not isinstance(chosen_on, str):
            raise ValueError("'chosen_on' is no text")
        return cls(means, float(threshold), float(sure_from), chosen_on)  # type: ignore[arg-type]

    def _facts(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "sure_from": self.sure_from, "chosen_on": self.chosen_on}

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return _directions(self.means)


@dataclass(frozen=True)
class LookAlike:
    """A training image that looks like the one asked about.

    Attributes:
        label: its class.
        similarity: cosine of the two embeddings.
        name: its path relative to the data.
        thumbnail: a small JPEG file; None where the gallery holds none.
    """

    label: str
    similarity: float
    name: str
    thumbnail: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Gallery:
    """Training images as a model sees them, and what is needed to tell a stranger.

    Attributes:
        judge: tells strangers.
        classes: class names, by index.
        embeddings: of N images, each of length 1, ``(N, E)``.
        labels: class index of each, ``(N,)``.
        names: of each, its path relative to the data.
        thumbnails: of each a small JPEG file, or of none.
        digest: of the file it was read from; empty of one that was not.
    """

    judge: Judge
    classes: tuple[str, ...] = field(repr=False)
    embeddings: NDArray[np.float16] = field(repr=False)
    labels: NDArray[np.int32] = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    thumbnails: tuple[bytes, ...] = field(default=(), repr=False)
    digest: str = ""

    def familiarity(self, embedding: Floats) -> float:
        """Return `Judge.familiarity` of one image's embedding ``(E,)``."""
        return float(self.judge.familiarity(embedding[None])[0])

    def nearest(self, embedding: Floats, k: int = 5) -> list[LookAlike]:
        """Return the k images whose embeddings are nearest to one ``(E,)``, the nearest first.

        Raises:
            ModelError: the embedding is another model's, or a thumbnail is no small JPEG file.
        """
        if not len(self.embeddings):
            return []
        similarities = _cosines(embedding[None], self._directions)[0]
        order = np.argsort(-similarities, kind="stable")[:k]
        return [
            LookAlike(self.classes[self.labels[i]], float(similarities[i]), self.names[i], self._thumbnail(int(i)))
            for i in order
        ]

    def without_images(self) -> Gallery:
        """Return what tells strangers alone: no thumbnails, no names of files, no embedding of a single image."""
        return replace(self, embeddings=self.embeddings[:0], labels=self.labels[:0], names=(), thumbnails=(), digest="")

    def to_bytes(self) -> bytes:
        """Return the file."""
        facts = {"format": FORMAT, **self.judge._facts(), "classes": self.classes, "names": self.names}
        arrays: dict[str, NDArray[Any]] = {
            "means": self.judge.means,
            "embeddings": self.embeddings,
            "labels": self.labels,
            "thumbnails": np.frombuffer(b"".join(self.thumbnails), np.uint8),
            "ends": np.cumsum([len(thumbnail) for thumbnail in self.thumbnails], dtype=np.int64),
            "facts": np.frombuffer(json.dumps(facts).encode("ascii"), np.uint8),
        }
        stream = io.BytesIO()
        np.savez(stream, **{name: arrays[name].astype(kind) for name, (kind, _) in _ARRAYS.items()})  # type: ignore[arg-type]
        return stream.getvalue()

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all; an older one is replaced.

        Raises:
            RunError: the disk is full.
            OSError: the system refused otherwise.
        """
        write_atomically(path, self.to_bytes())

    @cached_property
    def _directions(self) -> NDArray[np.float32]:
        return _directions(self.embeddings)

    def _thumbnail(self, index: int) -> bytes | None:
        if not self.thumbnails:
            return None
        content = self.thumbnails[index]
        try:
            require_jpeg(content, _MAX_THUMBNAIL_SIDE)
        except DataError as error:
            raise ModelError(f"the gallery's picture of {self.names[index]} cannot be shown: {error}") from error
        return content


def read_gallery(path: Path) -> Gallery:
    """Read a file that `Gallery.write` wrote. Thumbnails are looked at when they are asked for.

    Raises:
        ModelError: it cannot be read, is damaged, or is something else.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE:
            raise ModelError(f"{path} is no gallery: it is no file, or of more than {_MAX_FILE:,} bytes.")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        return replace(_gallery(_arrays(content)), digest=digest_of(content))
    except (
        ArithmeticError, EOFError, LookupError, NotImplementedError, OSError, RecursionError, RuntimeError, TypeError,
        ValueError, zipfile.BadZipFile,
    ) as error:  # fmt: skip  # whatever bytes that are something else make of a reader
        raise ModelError(
            f"{path} is damaged or no gallery of this version ({' '.join(str(error).split())[:100]}); remove it, or "
            "write it again (tlaam gallery, tlaam export)."
        ) from error


def digest_of(content: bytes) -> str:
    """Return what names a gallery file by its content."""
    return hashlib.sha256(content).hexdigest()[:32]


def chosen_thresholds(
    similarities: NDArray[np.floating[Any]], probabilities: Floats, right: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the two thresholds of a `Judge` by validation images: of familiarity and of probability.

    Args:
        similarities: familiarity of each, ``(N,)``.
        probabilities: of each, that of the most probable class, ``(N,)``.
        right: whether that class is right, ``(N,)``.

    Returns:
        The familiarity that `FAMILIAR` of them reach at least, and the lowest probability, but no less than
        `EVEN_CHANCE`, such that of the images that got at least as much `RIGHT` were right; 1 where there is none.
    """
    order = np.argsort(-probabilities, kind="stable")
    share = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    last_of_equals = np.append(np.diff(probabilities[order]) != 0, True)
    good = probabilities[order][(share >= RIGHT) & last_of_equals]
    return quantile(similarities, 1 - FAMILIAR), max(EVEN_CHANCE, float(good.min(initial=1.0)))


def quantile(values: Floats, share: float) -> float:
    """Return the largest of the values such that at most this share of them are smaller."""
    return float(np.quantile(values.astype(np.float64), share, method="lower"))


def class_means(directions: Floats, labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float16]:
    """Return the means ``(C, E)`` of a `Judge` from embeddings of length 1, ``(N, E)``, and their classes ``(N,)``."""
    sums = np.zeros((classes, directions.shape[1]))
    np.add.at(sums, labels, directions)
    return _directions(sums).astype(np.float16)


def familiarity_left_out(directions: Floats, labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.float64]:
    """Return each image's familiarity had it not been among those that the means were taken of.

    Of images that are their class's only one there is none.

    Args:
        directions: embeddings of length 1, ``(N, E)``.
        labels: ``(N,)``.
        classes: C.

    Returns:
        ``(M,)``, of the M images whose class has others.
    """
    sums = np.zeros((classes, directions.shape[1]))
    np.add.at(sums, labels, directions)
    cosines = directions @ _directions(sums).T
    rest = _directions(sums[labels] - directions)  # of its own class, without it
    cosines[np.arange(len(labels)), labels] = (rest * directions).sum(1)
    kept: NDArray[np.float64] = cosines.max(1)[np.bincount(labels, minlength=classes)[labels] > 1]
    return kept


def unit(embeddings: Floats) -> NDArray[np.float32]:
    """Return embeddings ``(N, E)`` brought to length 1; one that is 0 stays so."""
    return _directions(embeddings)


def _directions(vectors: NDArray[Any]) -> NDArray[np.float32]:
    values = vectors.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return (values / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _cosines(embeddings: Floats, directions: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosines ``(B, N)`` of embeddings ``(B, E)`` and vectors of length 1 or 0, ``(N, E)``."""
    if embeddings.shape[1] != directions.shape[1]:
        raise ModelError(
            f"the gallery is of another model: it compares {directions.shape[1]} numbers an image, and this model "
            f"gives {embeddings.shape[1]}. Write it again (tlaam gallery, tlaam export)."
        )
    return (_directions(embeddings) @ directions.T).astype(np.float64)


def _arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file, none larger than the bytes that are there.

    Raises:
        ValueError, and what zipfile raises: it is something else.
    """
    _require_short_directory(content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sorted(member.filename for member in members) != sorted(f"{name}.npy" for name in _ARRAYS):
            raise ValueError("it holds other arrays")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed")
        if any(member.file_size != member.compress_size for member in members) or (
            sum(member.file_size for member in members) > len(content)
        ):
            raise ValueError("it claims more bytes than it has")
        return {name: _array(archive.read(f"{name}.npy"), *kind) for name, kind in _ARRAYS.items()}


def _require_short_directory(content: bytes) -> None:
    """Refuse an archive that lists thousands of members: zipfile makes an object of each before it can be asked."""
    marks, members, length = content[-22:-18], content[-12:-10], content[-10:-6]
    large = content[-42:-38] == b"PK\x06\x07"  # of an archive of more than 4 GiB
    if marks != b"PK\x05\x06" or large or int.from_bytes(members, "little") != len(_ARRAYS):
        raise ValueError("it is no archive of these arrays")
    if int.from_bytes(length, "little") > _MAX_DIRECTORY:
        raise ValueError("its table of contents is too long")


def _array(content: bytes, kind: str, axes: int) -> NDArray[Any]:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError("an array has an unknown header")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype != np.dtype(kind) or in_columns or len(shape) != axes:
        raise ValueError("an array is of another type")
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("an array has not the size it claims")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)


def _gallery(arrays: dict[str, NDArray[Any]]) -> Gallery:
    if arrays["facts"].size > _MAX_FACTS:
        raise ValueError("it says too much of itself")
    facts = json.loads(arrays["facts"].tobytes())
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError("its format is another")
    classes, names = (_texts(facts, name) for name in ("classes", "names"))
    means, embeddings, labels, ends = (arrays[name] for name in ("means", "embeddings", "labels", "ends"))
    count = len(embeddings)
    if not classes or len(means) != len(classes) or not means.shape[1] or embeddings.shape[1] != means.shape[1]:
        raise ValueError("its classes and numbers do not fit")
    if len(labels) != count or len(names) != count or len(ends) not in (0, count):
        raise ValueError("its lists are not equally long")
    if count and (labels.min() < 0 or labels.max() >= len(classes)):
        raise ValueError("a label is no class")
    if not np.isfinite(embeddings).all():
        raise ValueError("its embeddings are not finite")
    return Gallery(
        Judge._checked(means, facts),
        classes,
        embeddings,
        labels,
        names,
        _cut(arrays["thumbnails"].tobytes(), ends.tolist()),
    )


def _texts(facts: dict[str, Any], name: str) -> tuple[str, ...]:
    values = facts.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"'{name}' is no list of names")
    return tuple(values)


def _cut(content: bytes, ends: Sequence[int]) -> tuple[bytes, ...]:
    starts = [0, *ends[:-1]]
    if (ends[-1] if ends else 0) != len(content):
        raise ValueError("its pictures have not the size it claims")
    if any(not 0 < end - start <= _MAX_THUMBNAIL_BYTES for start, end in zip(starts, ends, strict=False)):
        raise ValueError("a picture has an impossible size")
    return tuple(content[start:end] for start, end in zip(starts, ends, strict=False))


__all__ = [
    "Confidence",
    "Gallery",
    "Judge",
    "LookAlike",
    "chosen_thresholds",
    "class_means",
    "digest_of",
    "familiarity_left_out",
    "quantile",
    "read_gallery",
    "unit",
]
