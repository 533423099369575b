"""Making the gallery of a finished run (`tlaam.gallery`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.atomic import full_disk_named, remove_leftovers
from tlaam.data.open import open_images
from tlaam.data.sample import LabelledImages, Sample
from tlaam.errors import DataError, ModelError
from tlaam.evaluation.evaluate import labels_of_model, with_the_runs_splits
from tlaam.gallery import (
    ENOUGH,
    EVEN_CHANCE,
    FAMILIAR_BY_TRAINING,
    FILE,
    MAX_IMAGES,
    PER_CLASS,
    THUMBNAIL_SIDE,
    Gallery,
    Judge,
    chosen_thresholds,
    class_means,
    familiarity_left_out,
    quantile,
    unit,
)
from tlaam.images import load_image
from tlaam.model.store import load_model
from tlaam.prediction import Prediction, Predictor
from tlaam.training.folder import RunFolder
from tlaam.training.source import opened_again

VALIDATION = 2000
"""Most validation images that thresholds are chosen on."""
_QUALITY = 80


def write_gallery(
    run: str | Path,
    data: LabelledImages | str | Path | None = None,
    *,
    path: str | Path | None = None,
    per_class: int = PER_CLASS,
    thumbnails: bool = True,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Path:
    """Write the gallery of a finished run and return its path.

    Images are asked about as for prediction; those that cannot be read are left out. Of more than are kept, those are
    taken that lie evenly in the order of their names. The test split is not opened.

    Args:
        run: the run folder.
        data: with the training and validation images; by itself the data that the run was trained on.
        path: the file to write; by itself ``gallery.npz`` in the run folder. An older one is replaced.
        per_class: most images of a class; fewer where all would be more than `tlaam.gallery.MAX_IMAGES`.
        thumbnails: keep a small picture of each.
        progress: called with (images done, images in all).
        **options: see `tlaam.prediction.Predictor`.

    Raises:
        ModelError: the run holds no usable model, or one that gives no embeddings.
        DataError: the data cannot be read, do not fit the run or hold no training images.
        RunError: the disk is full.
    """
    folder = RunFolder(Path(run))
    model = load_model(folder.path)
    if data is None:
        folder.require_run()
        data = opened_again(folder.read_json(folder.data))
    images = data if isinstance(data, LabelledImages) else open_images(data, strict=False)
    images = with_the_runs_splits(images, folder.path)
    most = max(1, min(per_class, MAX_IMAGES // len(model.classes)))
    train = [sample for members in _by_class(images.split("train")) for sample in _evenly(members, most)]
    validation = _evenly(sorted(images.split("val"), key=lambda sample: sample.name), VALIDATION)
    if not train:
        raise DataError(f"{images.name} holds no training images to keep.")
    predictor = Predictor(model, embeddings=True, **options)

    def asked(samples: Sequence[Sample], before: int) -> tuple[list[Sample], list[Prediction]]:
        answers = []
        for done, answer in enumerate(predictor.predict(samples), start=1):
            answers.append(answer)
            if progress is not None:
                progress(before + done, len(train) + len(validation))
        pairs = [pair for pair in zip(samples, answers, strict=True) if pair[1].error is None]
        return [sample for sample, _ in pairs], [answer for _, answer in pairs]

    kept, answers = asked(train, 0)
    if not kept:
        raise DataError(f"no training image of {images.name} can be read.")
    directions = _directions(answers)
    labels = np.array(labels_of_model(images, kept, model.classes))
    held_out = asked(validation, len(train))
    gallery = Gallery(
        judge=_judge(directions, labels, images, *held_out, classes=model.classes),
        classes=model.classes,
        embeddings=directions.astype(np.float16),
        labels=labels.astype(np.int32),
        names=tuple(sample.name for sample in kept),
        thumbnails=tuple(map(_thumbnail, kept)) if thumbnails else (),
    )
    target = folder.path / FILE if path is None else Path(path)
    with full_disk_named(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target.parent, target.name)
        gallery.write(target)
    return target


def _judge(
    directions: NDArray[np.float32],
    labels: NDArray[np.int_],
    images: LabelledImages,
    validation: Sequence[Sample],
    answers: Sequence[Prediction],
    *,
    classes: Sequence[str],
) -> Judge:
    """Return the judge by validation images, or by training images where there are too few of those."""
    means = class_means(directions, labels, len(classes))
    if len(validation) >= ENOUGH:
        fused = np.stack([answer.probabilities["fused"] for answer in answers])
        right = fused.argmax(1) == np.array(labels_of_model(images, validation, classes))
        familiarity = Judge(means, 0.0, 0.0).familiarity(_directions(answers))
        return Judge(
            means, *chosen_thresholds(familiarity, fused.max(1), right), f"{len(validation)} validation images"
        )
    left_out = familiarity_left_out(directions, labels, len(classes))
    threshold = quantile(left_out, 1 - FAMILIAR_BY_TRAINING) if len(left_out) else -1.0
    return Judge(means, threshold, EVEN_CHANCE, f"{len(left_out)} training images, each left out in its turn")


def _directions(answers: Sequence[Prediction]) -> NDArray[np.float32]:
    found = [answer.embedding for answer in answers if answer.embedding is not None]
    if len(found) < len(answers):
        raise ModelError("this model gives no embeddings, so that it can have no gallery.")
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


def _thumbnail(sample: Sample) -> bytes:
    stream = BytesIO()  # drawn anew, so that nothing that the file says of camera or place is in it
    load_image(sample.path, max_side=THUMBNAIL_SIDE, banner=sample.banner).save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()


__all__ = ["write_gallery"]
