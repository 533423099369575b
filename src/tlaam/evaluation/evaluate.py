"""Measures a model on a data set, through the same path as prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tlaam.data.boxes import doubt_of_scale
from tlaam.data.names import clean_name
from tlaam.data.open import open_dataset
from tlaam.data.sample import SPLITS, LabelledImages, Sample, Split
from tlaam.errors import DataError, ModelError, did_you_mean
from tlaam.evaluation.classification import classification_report
from tlaam.evaluation.heatmaps import HeatmapReport, heatmap_report
from tlaam.evaluation.localization import box_iou, localization_report
from tlaam.evaluation.masks import MaskReport, mask_report
from tlaam.evaluation.parts import PartReport, part_report
from tlaam.evaluation.ranks import rank_report
from tlaam.evaluation.rarity import bands_of
from tlaam.evaluation.report import EvaluationReport, ImageResult
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.runs.splits import TrainingData, preferred_split, with_the_runs_splits
from tlaam.taxonomy.answers import Answering


def evaluate(
    engine: Engine,
    data: LabelledImages | Path | str,
    *,
    split: Split | None = None,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
    answers: PredictionCache | None = None,
) -> EvaluationReport:
    """Measure every branch and the fusion, and boxes, part windows and heat maps if the data has ground truth for them.

    If `torch.distributed` is set up, each process answers for its share of the images, and all return the same report.

    Args:
        engine: a model in PyTorch or ONNX (`tlaam.inference.engine.load_engine`).
        data: a data set, or its path.
        split: the split to measure on; by default the test split, else the validation split (the one that training held
            out, if this is the data that the model was trained on), else all images.
        skip_unreadable: leave out images that cannot be read instead of raising an error.
        progress: called with (images done, images in all), including the validation images of `_threshold_images`.
        answers: the engine's answers so far; these images are not computed again.

    Raises:
        DataError: the model does not know a class, the split is empty, an image cannot be read, a mask cannot be read
            or differs in size from its image, or the run's own data set has changed, so that it is not known which
            images the model has seen.
        ModelError: the model knows only one class, so there is nothing to measure.
        RunError: a record of the run is damaged, so that it is not known which images the model has seen.
    """
    if len(engine.classes) < 2:
        where = "The model" if engine.origin is None else f"The model in {engine.origin}"
        raise ModelError(f"{where} knows one class alone, '{engine.classes[0]}': it is always right, or always wrong.")
    # Data that cannot be trained on (a single class, for example) can still be measured.
    images = data if isinstance(data, LabelledImages) else open_dataset(data, strict=False)
    seen = trained_on(engine)
    learnt_from = seen is not None and seen.is_of(images)
    images = with_the_runs_splits(images, seen, engine.origin)
    chosen = split if split is not None else preferred_split(images)
    samples = images.split(chosen)
    if not samples:
        present = [s for s in SPLITS if images.split(s)]
        raise DataError(f"{images.name} has no images in split '{chosen}'; it has {', '.join(present)}.")
    labels = labels_of_model(images, samples, engine.classes)
    validation = _threshold_images(images, chosen) if engine.model.draws_maps else []
    _require_possible_boxes([*samples, *validation])

    cache, before, began = answers or PredictionCache(engine), 0, engine.seconds

    def answered(asked: Sequence[Sample], what: str) -> list[Prediction]:
        nonlocal before
        total = len(samples) + len(validation)
        found = cache.of(asked, lambda done: progress(before + done, total) if progress else None)
        before += len(asked)
        failed = [prediction for prediction in found if prediction.error]
        if failed and not skip_unreadable:
            raise DataError(
                f"{len(failed)} of {len(asked)} {what} cannot be read, first: {failed[0].error} "
                "Mend or remove them, or measure without them (--skip-unreadable)."
            )
        return found

    report = _report(
        images, chosen, samples, answered(samples, "images"), labels, engine.classes,
        draws_maps=engine.model.draws_maps, answering=engine.answering,
    )  # fmt: skip
    seconds = engine.seconds - began
    if report.heatmaps is not None and validation:
        others = _heatmaps(validation, answered(validation, "validation images"))
        accuracy = None if others is None else others.accuracy
        report = replace(report, heatmaps=replace(report.heatmaps, validation=accuracy))
    flattered = seen is not None and seen.select_on == chosen == "test"
    if learnt_from and chosen != "train":
        report = replace(
            report, rarity=bands_of(images.class_counts("train"), report.classification["fused"].per_class)
        )
    return replace(report, selected_on_these=flattered, precision=engine.model.precision, seconds=seconds)


def trained_on(engine: Engine) -> TrainingData | None:
    """Return what a model was trained on, from its run folder or its file; None if neither states it.

    Raises:
        ModelError: the file's record is invalid.
        RunError: a record of the run is damaged.
    """
    if engine.origin is not None and engine.origin.is_dir():
        return TrainingData.of_run(engine.origin)
    record = getattr(engine.model, "training_data", None)
    if record is None:
        return None
    try:
        return TrainingData.from_dict(record)
    except ValueError as error:
        raise ModelError(f"{engine.origin}: 'training_data' of its metadata cannot be used: {error}.") from error


def _threshold_images(images: LabelledImages, measured: Split) -> list[Sample]:
    """Return the images whose boxes may choose a threshold: the validation images, if another split is measured."""
    if measured == "val" or not any(sample.box is not None for sample in images.split(measured)):
        return []
    return [sample for sample in images.split("val") if sample.box is not None]


def _report(
    images: LabelledImages,
    split: Split,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
    labels: Sequence[int],
    classes: Sequence[str],
    *,
    draws_maps: bool,
    answering: Answering | None,
) -> EvaluationReport:
    rows = [row for row in zip(samples, predictions, labels, strict=True) if row[1].error is None]
    if not rows:
        raise DataError(f"no image of split '{split}' of {images.name} can be read.")
    answered = [prediction for _, prediction, _ in rows]
    truth = torch.tensor([label for *_, label in rows])
    by_branch = {
        name: torch.from_numpy(np.stack([prediction.probabilities[name] for prediction in answered]))
        for name in answered[0].probabilities
    }
    classification = {name: classification_report(values, truth, classes) for name, values in by_branch.items()}
    localization, heatmaps = None, None
    ious: list[float | None] = [None] * len(rows)
    if answered[0].object_box is not None and answered[0].heatmap is not None:
        true_boxes, sizes = _boxes_and_sizes([sample for sample, *_ in rows], answered)
        boxes = torch.tensor(np.stack([p.object_box for p in answered if p.object_box is not None]))
        ious = [None if math.isnan(iou) else iou for iou in box_iou(boxes, true_boxes).tolist()]
        localization = localization_report(
            boxes,
            true_boxes,
            by_branch["fused"].argmax(1) == truth,
            sizes,
        )
        if draws_maps:
            heatmaps = _heatmaps([sample for sample, *_ in rows], answered)
    predicted = {name: values.argmax(1).tolist() for name, values in by_branch.items()}
    scores: list[float] = by_branch["fused"].amax(1).tolist()
    per_image = [
        ImageResult(
            sample.name,
            label,
            {n: values[row] for n, values in predicted.items()},
            scores[row],
            ious[row],
            prediction.verdict,
            float(by_branch["fused"][row, label]),
        )
        for row, (sample, prediction, label) in enumerate(rows)
    ]
    said = [prediction.answer for prediction in answered if prediction.answer is not None]
    ranks = None
    if answering is not None and answering.promise is not None and len(said) == len(rows):
        ranks = rank_report(answering, said, by_branch["fused"].numpy(), truth.tolist())
    return EvaluationReport(
        images.name,
        split,
        len(rows),
        tuple(classes),
        classification,
        localization,
        heatmaps,
        _parts([sample for sample, *_ in rows], answered),
        _masks([sample for sample, *_ in rows], answered) if draws_maps else None,
        per_image,
        images_with_boxes=sum(sample.box is not None for sample, *_ in rows),
        box_doubt=_box_doubt([sample for sample, *_ in rows], answered),
        ranks=ranks,
    )


def _box_doubt(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> str:
    """Say why the true boxes seem to belong to another image size; empty if they do not."""
    boxed = [(s.box, p.size) for s, p in zip(samples, predictions, strict=True) if s.box is not None]
    return doubt_of_scale([box for box, _ in boxed], [size for _, size in boxed])


def _heatmaps(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> HeatmapReport | None:
    """Measure the heat maps of the images that could be read; None if none of them has a box."""
    read = [row for row in zip(samples, predictions, strict=True) if row[1].error is None]
    if not read:
        return None
    samples, predictions = zip(*read, strict=True)
    return heatmap_report(
        [prediction.heatmap for prediction in predictions if prediction.heatmap is not None],
        *_boxes_and_sizes(samples, predictions),
    )


def _parts(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> PartReport | None:
    """Measure the part windows; None without a part level, or if no image has a known visible part."""
    windows, around, keypoints = [], [], []
    for sample, prediction in zip(samples, predictions, strict=True):
        if prediction.part_boxes is not None:
            # Without an object level, parts are looked for in the whole image.
            whole = np.array([0.0, 0.0, *prediction.size])
            windows.append(prediction.part_boxes)
            around.append(whole if prediction.object_box is None else prediction.object_box)
            keypoints.append(sample.keypoints)
    return part_report(windows, around, keypoints)


def _masks(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> MaskReport | None:
    """Measure the heat maps by pixels; None if no image has a mask."""
    heatmaps, masks = [], []
    for sample, prediction in zip(samples, predictions, strict=True):
        if sample.mask is not None and prediction.heatmap is not None:
            heatmaps.append(prediction.heatmap)
            masks.append((sample, prediction.size))
    return mask_report(heatmaps, masks)


def _boxes_and_sizes(samples: Sequence[Sample], predictions: Sequence[Prediction]) -> tuple[Tensor, Tensor]:
    """Return true boxes ``(N, 4)``, NaN where there is none, and sizes ``(N, 2)``, in pixels of the images."""
    nowhere = (float("nan"),) * 4
    boxes = [s.box_in_picture(p.size[1]) or nowhere for s, p in zip(samples, predictions, strict=True)]
    sizes = [prediction.size for prediction in predictions]
    return torch.tensor(boxes, dtype=torch.float64), torch.tensor(sizes, dtype=torch.float64)


def _require_possible_boxes(samples: Sequence[Sample]) -> None:
    for sample in samples:
        if sample.box is not None and not (sample.box[0] < sample.box[2] and sample.box[1] < sample.box[3]):
            raise DataError(
                f"the box of {sample.name} is {list(sample.box)}; x_max and y_max must be above x_min, y_min."
            )


def labels_of_model(images: LabelledImages, samples: Sequence[Sample], classes: Sequence[str]) -> list[int]:
    """Return each sample's label in the model's class order.

    Classes are matched by name, so the data may have a subset of them or another order.
    """
    index = {clean_name(name): number for number, name in enumerate(classes)}  # names are cleaned like this since 0.2
    index |= {name: number for number, name in enumerate(classes)}
    for name in (images.classes[label] for label in sorted({sample.label for sample in samples})):
        if name not in index:
            raise DataError(
                f"class '{name}' of {images.name} is none of the model's {len(classes)} classes."
                f"{did_you_mean(name, classes)} Only classes that the model was trained on can be measured."
            )
    return [index[images.classes[sample.label]] for sample in samples]
