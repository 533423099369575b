"""Checks on real images that an exported file in ONNX Runtime gives the same answers as the model in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from tlaam.data.depth import Depth
from tlaam.data.input_image import input_to_image, load_for_input, to_input
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.errors import ExportError, TlaamError
from tlaam.export.precision import Precision
from tlaam.inference.backend import Answers, Backend
from tlaam.inference.inputs import find_images
from tlaam.inference.onnx import OnnxModel
from tlaam.runs.data import opened_again
from tlaam.runs.folder import RunFolder
from tlaam.runs.splits import TrainingData, with_the_runs_splits

PROBABILITY = 1e-3
"""Maximum difference between two probabilities that counts as agreement."""
EMBEDDING = 1e-3
"""Maximum 1 - cosine of two embeddings that counts as agreement."""
PIXEL = 1.0
"""Maximum difference between box edges that counts as agreement, in pixels of the photograph or of the input image,
whichever are larger."""
SAME_BOXES, SAME_TOP1 = 0.99, 0.995
"""Minimum shares of images."""
SAME_TOP1_REDUCED = 0.9
"""Minimum for a file of reduced precision: a smaller share indicates an error other than rounding."""

Image = str | Path | Sample
"""An image to compare answers on: a file, or a sample of a data set."""


@dataclass(frozen=True)
class Parity:
    """How much ONNX Runtime's answers differ from PyTorch's.

    Attributes:
        precision: precision of the file.
        images: number of images compared, each on all outputs of the model.
        raw_difference: maximum difference between two probabilities of the raw branch, over all images.
        probability_difference: maximum over all branches and the fusion, for images whose boxes agree: if a box moved,
            the network looked at a different crop.
        same_boxes: share of images whose boxes all agree within a pixel; 1 for a model without boxes.
        object_iou: mean intersection over union of the two object boxes; 1 for a model without boxes.
        same_top1: share of images with the same most probable class.
        top1: share of images that the file classifies correctly; None if their classes are not known.
        pytorch_top1: share of the same images that PyTorch classifies correctly.
        embedding_difference: maximum 1 - cosine of two embeddings, for images whose boxes agree; None for a model
            without embeddings.
    """

    precision: Precision
    images: int
    raw_difference: float
    probability_difference: float
    same_boxes: float
    object_iou: float
    same_top1: float
    top1: float | None
    pytorch_top1: float | None
    embedding_difference: float | None

    def faults(self) -> list[str]:
        """Return the deviations outside the tolerances; empty if the answers agree."""
        if self.precision != "fp32":
            return _too_few("top-1", self.same_top1, SAME_TOP1_REDUCED)
        faults = []
        for name, found in (("raw", self.raw_difference), ("any branch's", self.probability_difference)):
            if not found <= PROBABILITY:  # written so that NaN fails, too
                faults.append(f"{name} probabilities differ by up to {found:.2g}, allowed is {PROBABILITY:g}")
        if self.embedding_difference is not None and not self.embedding_difference <= EMBEDDING:
            faults.append(f"embeddings differ by up to {self.embedding_difference:.2g}, allowed is {EMBEDDING:g}")
        return faults + _too_few("boxes", self.same_boxes, SAME_BOXES) + _too_few("top-1", self.same_top1, SAME_TOP1)

    def table(self) -> str:
        """Return the figures as lines of text."""
        lines = [
            f"{self.precision} in ONNX Runtime against PyTorch on {self.images} images",
            f"  largest difference of probabilities {self.probability_difference:.2g}",
            f"  boxes within one pixel              {self.same_boxes:.1%}",
            f"  object boxes' mean IoU              {self.object_iou:.1%}",
            f"  same top-1                          {self.same_top1:.1%}",
        ]
        if self.embedding_difference is not None:
            lines.append(f"  largest 1 - cosine of embeddings    {self.embedding_difference:.2g}")
        if self.top1 is not None:
            lines.append(f"  top-1 (PyTorch's)                   {self.top1:.1%} ({self.pytorch_top1:.1%})")
        return "\n".join(lines)


def _too_few(name: str, share: float, least: float) -> list[str]:
    return [] if share >= least else [f"the same {name} on {share:.1%}, needed are {least:.1%}"]


def compare(
    model: Backend,
    contents: Mapping[Precision, bytes],
    images: Sequence[Image],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Precision, Parity]:
    """Compare all answers for each image: PyTorch's by the path of `tlaam predict`, ONNX Runtime's from the photograph.

    A JPEG file much larger than the input image is decoded at a reduced size, as for prediction, for both of them.

    Args:
        model: the PyTorch model, on the CPU.
        contents: the bytes of the ONNX files by precision.
        images: at least one image.
        progress: called with (images compared, images in all).

    Returns:
        The comparison for each file.

    Raises:
        ExportError: there is no image.
        DataError: an image cannot be read.
    """
    if not images:
        raise ExportError("no image to compare the answers on; name some by --images.")
    tallies = {precision: _Tally(precision, content) for precision, content in contents.items()}
    right: list[bool] = []
    for number, given in enumerate(images, start=1):
        image = photograph(given, model.source_size, model.depth)
        expected = _by_output(model.answer(to_input(image, model.source_size)[None]))
        for name in ("object_boxes", "part_boxes"):
            if name in expected:
                expected[name] = input_to_image(expected[name], model.source_size, *image.size)
        pixel = PIXEL * max(1.0, *(side / model.source_size for side in image.size))
        label = given.label if isinstance(given, Sample) else None
        for tally in tallies.values():
            tally.add(np.asarray(image), expected, pixel, label)
        if label is not None:
            right.append(int(expected["probabilities"].argmax()) == label)
        progress(number, len(images))
    return {precision: tally.parity(right) for precision, tally in tallies.items()}


class _Tally:
    """Collects the differences between one file's answers and PyTorch's."""

    def __init__(self, precision: Precision, content: bytes) -> None:
        self.model = OnnxModel(Path(f"the {precision} file"), content)
        self.precision = precision
        self.raw: list[float] = []
        self.of_any = [0.0]
        self.boxes: list[bool] = []
        self.iou: list[float] = []
        self.top1: list[bool] = []
        self.right: list[bool] = []
        self.embeddings: list[float] = []

    def add(
        self, photo: NDArray[np.uint8], expected: Mapping[str, NDArray[Any]], pixel: float, label: int | None
    ) -> None:
        """Compare one photograph ``(H, W, 3)``; boxes agree if no edge is more than `pixel` away."""
        found = _by_output(self.model.answer_photos(photo[None]))
        differences = {name: float(np.abs(found[name] - values).max()) for name, values in expected.items()}
        best = int(found["probabilities"].argmax())
        self.raw.append(differences["raw_probabilities"])
        self.boxes.append(all(moved <= pixel for name, moved in differences.items() if name.endswith("_boxes")))
        if self.boxes[-1]:
            self.of_any.append(max(d for name, d in differences.items() if name.endswith("probabilities")))
            if "embeddings" in expected:
                self.embeddings.append(1 - _cosine(found["embeddings"], expected["embeddings"]))
        if "object_boxes" in expected:
            self.iou.append(_iou(found["object_boxes"], expected["object_boxes"]))
        self.top1.append(best == int(expected["probabilities"].argmax()))
        if label is not None:
            self.right.append(best == label)

    def parity(self, pytorch_right: Sequence[bool]) -> Parity:
        """Return the figures collected so far."""
        return Parity(
            precision=self.precision,
            images=len(self.raw),
            raw_difference=float(np.max(self.raw)),
            probability_difference=float(np.max(self.of_any)),
            same_boxes=float(np.mean(self.boxes)),
            object_iou=float(np.mean(self.iou)) if self.iou else 1.0,
            same_top1=float(np.mean(self.top1)),
            top1=float(np.mean(self.right)) if self.right else None,
            pytorch_top1=float(np.mean(pytorch_right)) if pytorch_right else None,
            embedding_difference=float(np.max(self.embeddings)) if self.embeddings else None,
        )


def _cosine(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the cosine of the angle between two vectors ``(E,)``; 1 if both are zero."""
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / lengths if lengths > 0 else float(np.array_equal(first, second))


def _iou(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the intersection over union of two boxes ``(4,)`` xyxy."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    shared = float(np.prod(sides.clip(min=0)))
    return shared / float(np.prod(first[2:] - first[:2]) + np.prod(second[2:] - second[:2]) - shared)


def photograph(given: Image, source_size: int, depth: Depth | None = None) -> PIL.Image.Image:
    """Decode an image as for prediction: upright, RGB, a large JPEG file at a reduced size.

    Args:
        given: a file, or a sample of a data set.
        source_size: input image size of the model.
        depth: black and white levels of the model. [the sample's own]

    Raises:
        DataError: the image cannot be read.
    """
    if isinstance(given, Sample):
        return load_for_input(given if depth is None else replace(given, depth=depth), source_size)[0]
    return load_for_input(Path(given), source_size, depth=depth)[0]


def images_to_compare(
    run: Path, given: Sequence[str], count: int, split: Split | None = None, own: LabelledImages | None = None
) -> list[Image]:
    """Return at most `count` images, spread evenly over all.

    Args:
        run: a run folder; its data is opened only if no images are given.
        given: files, folders and patterns.
        count: maximum number of images.
        split: split of the run's data if no images are given; by default its validation images, or else its training
            images.
        own: the run's data, if it is no longer at its original location.

    Raises:
        DataError: a folder or pattern holds no image.
        ExportError: no images are given, and the run's data cannot be opened.
    """
    if given:
        found: Sequence[Image] = find_images(given)
    else:
        folder = RunFolder(run)
        if not run.is_dir():
            raise ExportError(f"there is no run '{run}'.")
        try:
            opened = opened_again(folder.read_json(folder.data)) if own is None else own
            data = with_the_runs_splits(opened, TrainingData.of_run(run), run)
        except (TlaamError, KeyError, OSError) as error:
            raise ExportError(
                f"the images that {run} was trained on cannot be had ({error}); say where they lie now by --data, or "
                "give photographs by --images, and for int8 by --calibration."
            ) from error
        found = data.split(split) if split else data.split("val") or data.split("train")
    return list(found[:: -(-len(found) // count)]) if found else []


def _by_output(answers: Answers) -> dict[str, NDArray[Any]]:
    """Return the answers for a single image, keyed like the file's outputs; heat maps are not compared."""
    fields = {
        "object_boxes": answers.object_boxes, "part_boxes": answers.part_boxes, "embeddings": answers.embeddings,
    }  # fmt: skip
    found = {name: values[0] for name, values in fields.items() if values is not None}
    branches = {f"{name}_probabilities": values[0] for name, values in answers.probabilities.items()}
    return {"probabilities": branches.pop("fused_probabilities"), **branches, **found}
