"""Building the reference index of a finished run (`tlaam.reference.index`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample
from tlaam.errors import DataError, ModelError
from tlaam.evaluation.evaluate import labels_of_model, trained_on
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.prediction import Prediction
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.reference.file import FILE, write_index
from tlaam.reference.index import MAX_IMAGES, PER_CLASS, ReferenceIndex
from tlaam.reference.ood_detector import (
    ENOUGH,
    EVEN_CHANCE,
    IN_DISTRIBUTION,
    IN_DISTRIBUTION_BY_TRAINING,
    NO_THRESHOLD,
    OODDetector,
    quantile,
    rough,
    sure_from,
)
from tlaam.reference.pooled import PooledFeatures
from tlaam.reference.similarity import class_means, similarity_left_out, unit
from tlaam.reference.thresholds import by_training_images
from tlaam.reference.thumbnail import thumbnail
from tlaam.runs.data import opened_again
from tlaam.runs.folder import RunFolder
from tlaam.runs.out_of_fold import OutOfFold, out_of_fold_of
from tlaam.runs.splits import with_the_runs_splits
from tlaam.runs.taxonomy import keep_taxonomy, taxonomy_of
from tlaam.taxonomy.files import read_taxonomy
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.atomic import full_disk_named, remove_leftovers

VALIDATION = 2000
"""Maximum number of validation images for choosing thresholds."""
_HELD_OUT_PER_CLASS = 10
"""Maximum number of validation images per class whose features are kept, to measure the effect of adding a class."""


def write_reference_index(
    model: Engine | str | Path,
    data: LabelledImages | str | Path | None = None,
    *,
    path: str | Path | None = None,
    per_class: int = PER_CLASS,
    thumbnails: bool = True,
    taxonomy: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Path:
    """Write the reference index of a finished run and return its path.

    Images are predicted as usual; those that cannot be read are left out. If there are more than can be kept, they are
    sampled evenly in the order of their names. The test split is not opened.

    Args:
        model: the run folder, or its engine, which is not modified.
        data: the training and validation images; by default the data that the run was trained on.
        path: the file to write; by default ``gallery.npz`` in the run folder. An existing one is replaced.
        per_class: maximum number of images per class; reduced if the total would exceed
            `tlaam.reference.index.MAX_IMAGES`.
        thumbnails: keep a thumbnail of each image.
        taxonomy: a table of the classes' taxa (`tlaam.taxonomy.files.read_taxonomy`), stored with the run from now on;
            by default the one stored there.
        progress: called with (images done, images in all).
        **options: see `tlaam.inference.engine.load_engine`.

    Raises:
        ModelError: the run holds no usable model, or the model gives no embeddings.
        DataError: the data cannot be read, does not fit the run or has no training images.
        RunError: the disk is full, or the run's out-of-fold answers are damaged.
    """
    if not isinstance(model, Engine):
        model = load_engine(model, find_index=False, **options)  # so that a damaged index can be replaced
    folder = RunFolder(_folder_of(model))
    if data is None:
        folder.require_run()
        data = opened_again(folder.read_json(folder.data))
    images = data if isinstance(data, LabelledImages) else open_dataset(data, strict=False)
    images = with_the_runs_splits(images, trained_on(model), folder.path)
    wanted = index_samples(images, len(model.classes), per_class)
    pictures = ThumbnailMaker(wanted.kept) if thumbnails else None
    engine = Engine(
        model.model,
        batch_size=model.batch_size,
        workers=model.workers,
        embeddings=True,
        keep_images=thumbnails,
        pooled=True,
    )
    if taxonomy is not None:
        keep_taxonomy(folder.path, read_taxonomy(taxonomy, model.classes))
    index = build_index(
        PredictionCache(engine, pictures), images, wanted, pictures, progress, out_of_fold_of(folder.path),
        taxonomy_of(folder.path, model.classes),
    )  # fmt: skip
    return store_index(index, folder.path / FILE if path is None else Path(path))


@dataclass(frozen=True)
class IndexSamples:
    """The images for an index: those it keeps, and the held-out ones for choosing its thresholds."""

    kept: Sequence[Sample]
    held_out: Sequence[Sample]


class ThumbnailMaker:
    """Makes a thumbnail (JPEG) of each predicted image from the pixels that were decoded for the network.

    Args:
        samples: the samples to make thumbnails of.

    Attributes:
        by_name: the JPEG files by sample name.
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._wanted = {sample.name for sample in samples}
        self.by_name: dict[str, bytes] = {}

    def __call__(self, sample: Sample, prediction: Prediction) -> None:
        """Store a thumbnail of an image."""
        if prediction.error is None and sample.name in self._wanted:
            self.by_name[sample.name] = thumbnail(prediction.image())


def index_samples(images: LabelledImages, classes: int, per_class: int = PER_CLASS) -> IndexSamples:
    """Return the images of a data set to build an index from.

    Raises:
        DataError: there is no training image.
    """
    most = max(1, min(per_class, MAX_IMAGES // classes))
    kept = [sample for members in _by_class(images.split("train")) for sample in _evenly(members, most)]
    if not kept:
        raise DataError(f"{images.name} holds no training images to keep.")
    return IndexSamples(kept, _evenly(sorted(images.split("val"), key=lambda sample: sample.name), VALIDATION))


def build_index(
    answers: PredictionCache,
    images: LabelledImages,
    samples: IndexSamples,
    thumbnails: ThumbnailMaker | None = None,
    progress: Callable[[int, int], None] | None = None,
    out_of_fold: OutOfFold | None = None,
    taxonomy: Taxonomy | None = None,
) -> ReferenceIndex:
    """Return the reference index built from predictions with embeddings.

    Args:
        answers: the model's answers.
        images: the data set.
        samples: its images to keep and those for choosing thresholds.
        thumbnails: the thumbnails of the images; None keeps none.
        progress: called with (images done, images in all).
        out_of_fold: the run's answers for its training images by models that had not seen them, if its features were
            not fitted to these images. With them, no held-out images are needed for the thresholds.
        taxonomy: the taxonomy of the model's classes.

    Raises:
        ModelError: the model gives no embeddings.
        DataError: no image can be read.
    """
    held_out = None if out_of_fold is None else out_of_fold.held_out()
    validated: tuple[Sequence[Sample], Sequence[Prediction]] = (), ()
    if out_of_fold is not None and np.count_nonzero(out_of_fold.known) >= ENOUGH:
        samples = replace(samples, held_out=())
    else:
        out_of_fold = None
    classes, total = answers.engine.classes, len(samples.kept) + len(samples.held_out)

    def readable(asked: Sequence[Sample], before: int) -> tuple[list[Sample], list[Prediction]]:
        found = answers.of(asked, lambda done: progress(before + done, total) if progress else None)
        pairs = [pair for pair in zip(asked, found, strict=True) if pair[1].error is None]
        return [sample for sample, _ in pairs], [answer for _, answer in pairs]

    kept, of_kept = readable(samples.kept, 0)
    if not kept:
        raise DataError(f"no training image of {images.name} can be read.")
    directions = _directions(of_kept)
    labels = np.array(labels_of_model(images, kept, classes))
    if out_of_fold is not None:
        detector = _detector_out_of_fold(directions, labels, len(classes), out_of_fold)
    else:
        validated = readable(samples.held_out, len(samples.kept))
        detector = _detector(directions, labels, images, *validated, classes)
        held_out = held_out or _held_out(images, *validated, classes)
    return ReferenceIndex(
        detector=detector,
        classes=classes,
        embeddings=directions.astype(np.float16),
        labels=labels.astype(np.int32),
        names=tuple(sample.name for sample in kept),
        thumbnails=() if thumbnails is None else tuple(thumbnails.by_name[sample.name] for sample in kept),
        held_out=None if held_out is None else held_out.bounded(),
        taxonomy=taxonomy,
        pooled=_pooled(of_kept, validated[1], np.array(labels_of_model(images, validated[0], classes), dtype=np.int64)),
    )


def store_index(index: ReferenceIndex, target: Path) -> Path:
    """Write an index atomically, replacing an existing one, and return its path.

    Raises:
        RunError: the disk is full.
    """
    with full_disk_named(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, target.name)
        write_index(index, target)
    return target


def _detector_out_of_fold(
    directions: NDArray[np.float32], labels: NDArray[np.int_], classes: int, answers: OutOfFold
) -> OODDetector:
    """Return the detector for frozen features: to these, training images are as new as any, if compared with others."""
    known = answers.known
    return by_training_images(
        directions,
        labels,
        classes,
        sure_from=sure_from(answers.score[known], (answers.predicted == answers.labels)[known]),
        chosen_on=f"{known.sum()} training images, out of fold{rough(int(known.sum()))}",
    )


def _detector(
    directions: NDArray[np.float32],
    labels: NDArray[np.int_],
    images: LabelledImages,
    validation: Sequence[Sample],
    answers: Sequence[Prediction],
    classes: Sequence[str],
) -> OODDetector:
    """Return the detector calibrated on validation images, or on training images if there are too few of them."""
    means, held_out = class_means(directions, labels, len(classes)), len(validation)
    if held_out >= ENOUGH:
        fused = np.stack([answer.probabilities["fused"] for answer in answers])
        right = fused.argmax(1) == np.array(labels_of_model(images, validation, classes))
        similarity = OODDetector(means, 0.0, 0.0).similarity(_directions(answers))
        return OODDetector(
            means,
            quantile(similarity, 1 - IN_DISTRIBUTION),
            sure_from(fused.max(1), right),
            f"{held_out} validation images{rough(held_out)}",
        )
    left_out = similarity_left_out(directions, labels, len(classes))
    return OODDetector(
        means,
        quantile(left_out, 1 - IN_DISTRIBUTION_BY_TRAINING) if len(left_out) else NO_THRESHOLD,
        EVEN_CHANCE,
        f"{len(left_out)} training images, each left out in its turn; {held_out} validation images{rough(held_out)}",
    )


def _held_out(
    images: LabelledImages, validation: Sequence[Sample], answers: Sequence[Prediction], classes: Sequence[str]
) -> HeldOutAnswers | None:
    """Return the answers for validation images; None if there are none."""
    if not answers:
        return None
    fused = np.stack([answer.probabilities["fused"] for answer in answers])
    return HeldOutAnswers(np.array(labels_of_model(images, validation, classes)), SharedAnswers.of(fused))


def _directions(answers: Sequence[Prediction]) -> NDArray[np.float32]:
    found = [answer.embedding for answer in answers if answer.embedding is not None]
    if len(found) < len(answers):
        raise ModelError("this model gives no embeddings, so that it can have no reference index.")
    return unit(np.stack(found))


def _by_class(samples: Sequence[Sample]) -> list[list[Sample]]:
    classes: dict[int, list[Sample]] = {}
    for sample in sorted(samples, key=lambda sample: (sample.label, sample.name)):
        classes.setdefault(sample.label, []).append(sample)
    return list(classes.values())


def _evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    if len(samples) <= count:
        return list(samples)
    return [samples[place * len(samples) // count] for place in range(count)]


def _pooled(
    answers: Sequence[Prediction], held_out: Sequence[Prediction], labels: NDArray[np.int_]
) -> PooledFeatures | None:
    """Return the features that are needed for adding a class; None if the model gives none.

    Args:
        answers: answers for the images of the index.
        held_out: answers for validation images.
        labels: labels of the validation images, ``(M,)``.
    """
    kept = [answer.pooled for answer in answers if answer.pooled is not None]
    if not kept or len(kept) < len(answers):
        return None
    places = [place for c in np.unique(labels) for place in np.flatnonzero(labels == c)[:_HELD_OUT_PER_CLASS]]
    others = [pooled for place in places if (pooled := held_out[place].pooled) is not None]
    features = np.stack(kept)
    none = np.zeros((0, *features.shape[1:]), dtype=np.float32)
    return PooledFeatures.of(features, np.stack(others) if others else none, labels[places])


def _folder_of(engine: Engine) -> Path:
    if engine.origin is None or not engine.origin.is_dir():
        raise ModelError("a reference index is written for a run folder; give the folder that tlaam train wrote.")
    return engine.origin


__all__ = [
    "IndexSamples",
    "ThumbnailMaker",
    "build_index",
    "index_samples",
    "store_index",
    "write_reference_index",
]
