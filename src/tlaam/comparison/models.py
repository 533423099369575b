"""Comparing trained models on the same images: the measures of each, and which answers changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlaam.comparison.results import Row, differences_markdown
from tlaam.data.groups import groups_of
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.errors import ConfigError, DataError
from tlaam.evaluation.bootstrap import paired_bootstrap
from tlaam.evaluation.classification import classification_report
from tlaam.evaluation.evaluate import trained_on
from tlaam.evaluation.log_loss import log_loss
from tlaam.hub.download import local_folder
from tlaam.hub.names import hub_name, is_hub_name
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.prediction import Prediction
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.inference.store import folder_of
from tlaam.runs.splits import with_the_runs_splits
from tlaam.utils.text import printable

Progress = Callable[[int, int], None]

_NAMED = 10
"""Maximum number of classes that a note lists by name."""


@dataclass(frozen=True)
class MeasuredModel:
    """The measures of one model; shares lie between 0 and 1.

    Attributes:
        name: its name in this comparison.
        weights_sha256: SHA-256 of its weights file.
        precision: the arithmetic it was measured in.
        classes: number of classes it knows.
        top1: accuracy of the fused answer, like all measures here. An image of a class it does not know counts as
            wrong.
        macro_f1: mean F1 over the classes that occur among the labels or its answers.
        nll: mean negative log-likelihood over the images whose class all compared models know; None if there are none.
        unknown: number of images of a class that it does not know.
        predictions: one per image, in the order of the comparison's samples.
        right: for each image, in the same order, whether the answer is right.
    """

    name: str
    weights_sha256: str
    precision: str
    classes: int
    top1: float
    macro_f1: float
    nll: float | None
    unknown: int
    predictions: Sequence[Prediction] = field(repr=False)
    right: Sequence[bool] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as plain values."""
        names = ("name", "weights_sha256", "precision", "classes", "top1", "macro_f1", "nll")
        return {**{name: getattr(self, name) for name in names}, "images_of_unknown_classes": self.unknown}


@dataclass(frozen=True)
class ModelComparison:
    """Models measured on the same images; each is compared with the first one.

    Attributes:
        data: name of the data set.
        split: the split that was measured.
        classes: the data set's class names by label.
        samples: the images.
        models: the measures of each model.
        differences: top-1 of each other model minus that of the first.
        notes: sentences needed to interpret the figures.
    """

    data: str
    split: str
    classes: Sequence[str]
    samples: Sequence[Sample] = field(repr=False)
    models: Sequence[MeasuredModel]
    differences: Sequence[Row]
    notes: Sequence[str]

    def changed(self, model: MeasuredModel, *, right: bool) -> list[int]:
        """Return the indices of images only this model has right or, for ``right=False``, only the first one has."""
        pairs = zip(self.models[0].right, model.right, strict=True)
        return [place for place, (before, after) in enumerate(pairs) if before != after and after == right]

    def table(self) -> str:
        """Return a Markdown table of the models and their differences, with the notes."""
        lines = ["| model | classes | top-1 % | macro-F1 % | NLL |", "| --- | --- | --- | --- | --- |"]
        for m in self.models:
            nll = "–" if m.nll is None else f"{m.nll:.3f}"
            lines.append(f"| {printable(m.name)} | {m.classes} | {100 * m.top1:.1f} | {100 * m.macro_f1:.1f} | {nll} |")
        titles = {m.name: printable(m.name) for m in self.models}
        lines += ["", differences_markdown(self.differences, titles)]
        lines += [
            f"{printable(m.name)} after {printable(self.models[0].name)}: {len(self.changed(m, right=True))} answers "
            f"became right, {len(self.changed(m, right=False))} became wrong."
            for m in self.models[1:]
        ]
        heading = f"{self.data}, {self.split} split: {len(self.samples)} images"
        return "\n".join([printable(heading), "", *lines, *self.notes])

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON; images by name, without any folders of this machine."""
        return {
            "data": self.data,
            "split": self.split,
            "images": len(self.samples),
            "models": [m.to_dict() for m in self.models],
            "differences": [asdict(row) for row in self.differences],
            "notes": list(self.notes),
            "changes": [
                {
                    "before": self.models[0].name,
                    "after": m.name,
                    "became_wrong": [self._change(m, place) for place in self.changed(m, right=False)],
                    "became_right": [self._change(m, place) for place in self.changed(m, right=True)],
                }
                for m in self.models[1:]
            ],
        }

    def _change(self, model: MeasuredModel, place: int) -> dict[str, Any]:
        sample = self.samples[place]
        before, after = self.models[0].predictions[place], model.predictions[place]
        return {
            "image": sample.name,
            "class": self.classes[sample.label],
            "before": {"answer": before.label, "score": before.score},
            "after": {"answer": after.label, "score": after.score},
        }


def compare_models(
    models: Sequence[str | Path],
    data: str | Path | LabelledImages,
    *,
    split: Split | None = None,
    progress: Progress | None = None,
) -> ModelComparison:
    """Predict the same images with several trained models, and compare each model with the first.

    Classes are matched by name. Intervals come from a paired bootstrap over images, or over groups of images if the
    data has groups: they show the variation between images, not the variation between trainings.

    Args:
        models: two or more run folders, ``model.safetensors`` files, ONNX files written by ``tlaam export``, or
            ``hf://owner/name``.
        data: a data set, or its location.
        split: the split to measure on; by default the test split, else the validation images (for a model's own data,
            those that its run held out), else all images.
        progress: called with (images done, images in all), counted over all models.

    Raises:
        ConfigError: there are fewer than two models, or one is given twice.
        DataError: the split is empty, an image cannot be read, or no model knows any class of the data.
        ModelError: a model cannot be used.
    """
    if len(models) < 2:
        raise ConfigError(f"two models at least are compared; received {len(models)}.")
    images = data if isinstance(data, LabelledImages) else open_dataset(data, strict=False)
    engines = [load_engine(folder_of(local_folder(model)), find_index=False) for model in models]
    names = names_of(models)
    samples, chosen, notes = _samples(images, dict(zip(names, engines, strict=True)), split)
    labels = [images.classes[sample.label] for sample in samples]
    known_to_all = [all(label in engine.classes for engine in engines) for label in labels]
    if not any(label in engine.classes for engine in engines for label in set(labels)):
        raise DataError(f"no class of {images.name} is one that any of the models knows: {', '.join(names)}.")
    measured = []
    for number, (name, engine) in enumerate(zip(names, engines, strict=True)):
        done = number * len(samples)
        predictions = _answers(engine, samples, done, len(engines) * len(samples), progress)
        measured.append(_measured(name, engine, predictions, labels, known_to_all))
        if unknown := sorted(set(labels) - set(engine.classes)):
            more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            notes.append(
                f"{printable(name)} does not know {', '.join(map(printable, unknown[:_NAMED]))}{more}: "
                f"{measured[-1].unknown} of the {len(samples)} images, which count as wrong for it."
            )
    if not all(known_to_all):
        notes.append(f"NLL is of the {sum(known_to_all)} images whose class every model knows.")
    groups: list[Hashable] = groups_of(samples)
    first, *others = measured
    differences = [_difference(other, first, groups) for other in others]
    return ModelComparison(images.name, chosen, images.classes, samples, measured, differences, notes)


def names_of(models: Sequence[str | Path]) -> list[str]:
    """Return short names for models: the last parts of their paths, as many as are needed to tell them apart.

    Examples:
        >>> names_of(["runs/2025", "runs/2026"]), names_of(["a/model.onnx", "b/model.onnx"])
        (['2025', '2026'], ['a/model.onnx', 'b/model.onnx'])
    """
    parts = [_parts(model) for model in models]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            return names
    raise ConfigError("a model is given twice; give two different ones.")


def _parts(model: str | Path) -> Sequence[str]:
    if is_hub_name(model):
        return (hub_name(str(model)).repository,)
    return folder_of(Path(model)).resolve().parts[1:]


def _samples(
    images: LabelledImages, engines: Mapping[str, Engine], split: Split | None
) -> tuple[list[Sample], Split, list[str]]:
    """Return the images to measure, their split, and notes on models that may have seen some of them."""
    cuts: dict[str, LabelledImages] = {}
    notes = []
    for name, engine in engines.items():
        seen = trained_on(engine)
        try:
            cut = with_the_runs_splits(images, seen, engine.origin)
        except DataError:  # for example, images were added: only the other models' held-out images are known
            notes.append(
                f"{printable(name)} was trained on {images.name} as it was before: it may have seen images measured "
                "here, and then looks better than it is."
            )
            continue
        if seen is not None and seen.is_of(images):
            cuts[name] = cut
    of_all = list(cuts.values()) or [images]
    held_out: tuple[Split, ...] = ("test", "val")
    chosen: Split = (
        split if split is not None else next((s for s in held_out if all(cut.split(s) for cut in of_all)), "train")
    )
    held = set.intersection(*({sample.name for sample in cut.split(chosen)} for cut in of_all))
    samples = [sample for sample in of_all[0].split(chosen) if sample.name in held]
    if not samples:
        raise DataError(f"{images.name} has no images in split '{chosen}' that are every model's; choose --split.")
    for name in cuts:
        training = trained_on(engines[name])
        chosen_on = training is not None and training.select_on == chosen and chosen == "test"
        if chosen == "train" or chosen_on:
            how = "chose its epoch" if chosen_on else "was trained"
            notes.append(f"{printable(name)} {how} on these images: it looks better than it is.")
    return samples, chosen, notes


def _answers(
    engine: Engine, samples: Sequence[Sample], before: int, total: int, progress: Progress | None
) -> list[Prediction]:
    def shown(done: int) -> None:
        if progress is not None:
            progress(before + done, total)

    found = PredictionCache(engine).of(samples, shown)
    failed = [prediction for prediction in found if prediction.error]
    if failed:
        raise DataError(
            f"{len(failed)} of {len(samples)} images cannot be read, first: {failed[0].error} Mend or remove them."
        )
    return found


def _measured(
    name: str, engine: Engine, predictions: Sequence[Prediction], labels: Sequence[str], known_to_all: Sequence[bool]
) -> MeasuredModel:
    classes = list(dict.fromkeys([*engine.classes, *labels]))  # classes it does not know come after its own
    place = {name: number for number, name in enumerate(classes)}
    fused = np.stack([prediction.probabilities["fused"] for prediction in predictions])
    probabilities = np.pad(fused, ((0, 0), (0, len(classes) - fused.shape[1])))
    truth = np.array([place[label] for label in labels])
    report = classification_report(torch.from_numpy(probabilities), torch.from_numpy(truth), classes)
    of_label: NDArray[np.float64] = probabilities[np.arange(len(truth)), truth]
    return MeasuredModel(
        name=name,
        weights_sha256=engine.model.checksum,
        precision=engine.model.precision,
        classes=len(engine.classes),
        top1=report.top1,
        macro_f1=report.macro_f1,
        nll=log_loss(of_label[np.array(known_to_all)].tolist()) if any(known_to_all) else None,
        unknown=sum(label not in engine.classes for label in labels),
        predictions=predictions,
        right=(probabilities.argmax(1) == truth).tolist(),
    )


def _difference(model: MeasuredModel, first: MeasuredModel, groups: Sequence[Hashable]) -> Row:
    found = paired_bootstrap(np.array([model.right]), np.array([first.right]), groups=groups)
    return Row(model.name, "fused", first.name, "fused", found.mean, found.low, found.high)
