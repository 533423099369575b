"""Adding, removing, renaming and merging classes of a finished model. The given file is not changed.

The network is not changed, either. Its classifiers, V and W, are solved again on the features that the reference index
keeps, and on those of the new class's photographs; temperature and thresholds are computed anew. Works without PyTorch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tlaam.errors import DataError
from tlaam.inference.inputs import find_images
from tlaam.inference.prediction import Prediction
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.similarity import SAME, Floats, cosines, unit
from tlaam.reference.thumbnail import thumbnail
from tlaam.taxonomy.files import read_taxonomy
from tlaam.teaching.known import Figures, figures
from tlaam.teaching.pupil import Pupil
from tlaam.teaching.taxa import regrouped, with_class
from tlaam.utils.text import printable

_ALIKE = 0.5
"""Minimum share of a new class's photographs that the model surely assigns to one existing class for a warning."""
_SAME_PHOTOGRAPH = 0.998
"""Cosine above which a photograph may be one of the index."""
_TIMES_AS_NEAR = 5
"""How much farther any other image of the index must then be, as one minus the cosine."""


@dataclass(frozen=True)
class Taught:
    """A model that was written, and what is known about it.

    Attributes:
        file: the ONNX file.
        classes: its classes.
        photographs: number of photographs of the new class that were learned from.
        unread: photographs that could not be read, each with the reason.
        figures: how often classes are recognised; None if no classifier was solved.
        alike: an existing class that the model surely assigned many of the photographs to, with their number; or None.
        known_already: photographs that the model had already learned from, each with its class.
    """

    file: Path
    classes: tuple[str, ...]
    photographs: int = 0
    unread: tuple[tuple[str, str], ...] = ()
    figures: Figures | None = None
    alike: tuple[str, int] | None = None
    known_already: tuple[tuple[str, str], ...] = ()


def add_class(
    model: str | Path,
    name: str,
    images: str | Path | Iterable[str | Path],
    out: str | Path,
    *,
    taxonomy: str | Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Taught:
    """Write a model with an additional class, learned from a few photographs.

    Args:
        model: an ONNX file with its reference index beside it.
        name: name of the class.
        images: its photographs: files, folders and patterns.
        out: the ONNX file to write; its reference index is written beside it.
        taxonomy: a table of all classes' taxa, including the new one (`tlaam.taxonomy.files.read_taxonomy`); by default
            the model's own taxonomy, with only the name of the new class.
        progress: called with (photographs done, photographs in all).

    Raises:
        ModelError: the model's classes cannot be changed; the message says why and what to do.
        DataError: the name is taken, or no photograph can be read.
        MissingPackageError: the extra ``teach`` is not installed.
    """
    pupil = Pupil.opened(model, out)
    name = pupil.free_name(name)
    asked = find_images(images)
    answers: list[Prediction] = []
    for answer in pupil.engine.predict(asked):
        answers.append(answer)
        progress(len(answers), len(asked))
    read = [answer for answer in answers if answer.error is None]
    unread = tuple((answer.path, answer.error) for answer in answers if answer.error is not None)
    if not read:
        raise DataError(f"none of {len(asked)} photographs of '{printable(name)}' can be read: {unread[0][1]}")
    directions = unit(np.stack([_given(answer.embedding) for answer in read]))
    names = [f"{name}/{Path(answer.path).name}" for answer in read]
    lesson = pupil.lesson.added(name, np.stack([_given(answer.pooled) for answer in read]), names)
    own = pupil.index.taxonomy
    if taxonomy is not None:
        own = read_taxonomy(taxonomy, lesson.classes)
    elif own is not None:
        own = with_class(own, name)
    index = replace(
        pupil.index,
        taxonomy=own,
        embeddings=np.concatenate([pupil.index.embeddings, directions.astype(np.float16)]),
        thumbnails=(
            (*pupil.index.thumbnails, *(thumbnail(answer.image()) for answer in read)) if pupil.index.thumbnails else ()
        ),
    )
    solved = pupil.write(lesson, index, f"learnt '{name}' from {len(read)} photographs")
    found = figures(lesson, solved, pupil.lesson, pupil.heads.joint, range(len(pupil.classes)), new=len(pupil.classes))
    return Taught(
        Path(out), lesson.classes, len(read), unread, found, _alike(read), _known_already(read, directions, pupil.index)
    )


def remove_class(model: str | Path, name: str, out: str | Path) -> Taught:
    """Write a model without one of its classes; for the rest see `add_class`.

    Raises:
        ModelError, MissingPackageError: see `add_class`.
        DataError: the model has no such class, or only one class would be left.
    """
    pupil = Pupil.opened(model, out)
    gone = pupil.place_of(name)
    classes = tuple(each for place, each in enumerate(pupil.lesson.classes) if place != gone)
    if len(classes) < 2:
        raise DataError("a model tells two classes apart at least; this one would have but one.")
    places: list[int | None] = [
        None if place == gone else place - (place > gone) for place in range(len(pupil.lesson.classes))
    ]
    return _regrouped(pupil, classes, places, f"forgot '{name}'")


def merge_classes(model: str | Path, names: Sequence[str], into: str, out: str | Path) -> Taught:
    """Write a model in which several classes are merged into one; for the rest see `add_class`.

    Args:
        model: see `add_class`.
        names: names of the classes to merge, at least two.
        into: name of the merged class, either one of theirs or a new one.
        out: see `add_class`.

    Raises:
        ModelError, MissingPackageError: see `add_class`.
        DataError: fewer than two classes are given, the model lacks one of them, only one class would be left, or the
            name is another class's.
    """
    pupil = Pupil.opened(model, out)
    merged = sorted({pupil.place_of(name) for name in names})
    if len(merged) < 2:
        raise DataError("give two classes at least that are to become one.")
    into = pupil.free_name(into, but=[pupil.lesson.classes[place] for place in merged])
    kept = [place for place in range(len(pupil.lesson.classes)) if place not in merged[1:]]
    if len(kept) < 2:
        raise DataError("a model tells two classes apart at least; this one would have but one.")
    classes = tuple(into if place == merged[0] else pupil.lesson.classes[place] for place in kept)
    places: list[int | None] = [
        kept.index(merged[0] if place in merged else place) for place in range(len(pupil.lesson.classes))
    ]
    listed = ", ".join(f"'{pupil.lesson.classes[place]}'" for place in merged)
    return _regrouped(pupil, classes, places, f"took {listed} for one, '{into}'")


def rename_class(model: str | Path, old: str, new: str, out: str | Path) -> Taught:
    """Write a model in which a class is renamed; no answer changes.

    Raises:
        ModelError, MissingPackageError: see `add_class`; a model without a reference index can be renamed, though.
        DataError: the model has no such class, or the name is another class's.
    """
    pupil = Pupil.opened(model, out, learns=False)
    old = pupil.classes[pupil.place_of(old)]
    new = pupil.free_name(new, but=[old])
    pupil.rename(old, new)
    return Taught(Path(out), tuple(new if name == old else name for name in pupil.classes))


def _regrouped(pupil: Pupil, classes: tuple[str, ...], places: Sequence[int | None], said: str) -> Taught:
    """Write a model with other classes (see `Lesson.relabelled`)."""
    lesson, index = pupil.lesson.relabelled(classes, places), pupil.index
    kept = [row for row, label in enumerate(index.labels) if places[label] is not None]
    index = replace(
        index,
        embeddings=index.embeddings[kept],
        thumbnails=tuple(index.thumbnails[row] for row in kept) if index.thumbnails else (),
        taxonomy=None if index.taxonomy is None else regrouped(index.taxonomy, classes, list(places)),
    )
    solved = pupil.write(lesson, index, said)
    return Taught(pupil.out, classes, figures=figures(lesson, solved, pupil.lesson, pupil.heads.joint, places))


def _given(values: Floats | None) -> Floats:
    assert values is not None  # a `Pupil` provides both
    return values


def _alike(answers: Sequence[Prediction]) -> tuple[str, int] | None:
    """Return the class that the model surely assigns many of the photographs to, and their number."""
    counts = Counter(answer.label for answer in answers if answer.verdict == "sure")
    (name, count), *_ = counts.most_common(1) or [(None, 0)]
    return (name, count) if name is not None and count >= _ALIKE * len(answers) else None


def _known_already(
    answers: Sequence[Prediction], directions: Floats, index: ReferenceIndex
) -> tuple[tuple[str, str], ...]:
    """Return the photographs that are among the index's images, with their classes there.

    The index may have been made in bfloat16, from which the same photograph differs by up to 1e-3. It is taken for the
    same if it is also several times as near as any other image of the index.
    """
    kept = unit(index.embeddings)
    found = []
    for answer, row in zip(answers, cosines(directions, kept), strict=True):
        nearest = int(row.argmax())
        others = row[kept @ kept[nearest] <= SAME]
        apart = 1 - (others.max() if len(others) else 0.0)
        if row[nearest] > _SAME_PHOTOGRAPH and _TIMES_AS_NEAR * (1 - row[nearest]) < apart:
            found.append((answer.path, index.classes[index.labels[nearest]]))
    return tuple(found)
