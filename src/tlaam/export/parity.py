"""Whether ONNX Runtime answers from an exported file as PyTorch does from the model, on real images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlaam.canvas import canvas_to_image, load_for_canvas, to_canvas
from tlaam.data.sample import Sample
from tlaam.errors import ExportError, TlaamError
from tlaam.inference import infer
from tlaam.model.store import TrainedModel
from tlaam.prediction import find_images
from tlaam.training.folder import RunFolder
from tlaam.training.source import opened_again

PROBABILITY = 1e-3
"""Largest difference of two probabilities that counts as agreement."""
PIXEL = 1.0
"""Largest difference of two boxes' edges: in pixels of the photograph, or of the canvas where these are larger."""
SAME_BOXES, SAME_TOP1 = 0.99, 0.995
"""Least shares of images."""


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime's answers are from PyTorch's.

    Attributes:
        images: how many were compared, each with as much as the model answers.
        raw_difference: largest difference of two probabilities of the raw branch, over all images.
        probability_difference: of any branch or the fusion, over the images whose boxes agree: where a box moved,
            another crop was looked at.
        same_boxes: share of images whose boxes all agree within a pixel; 1 for a model without boxes.
        same_top1: share of images whose most probable class is the same.
        versions: of what was compared.
    """

    images: int
    raw_difference: float
    probability_difference: float
    same_boxes: float
    same_top1: float
    versions: dict[str, str]

    def faults(self) -> list[str]:
        """Return what lies outside the tolerances; nothing where the answers agree."""
        faults = []
        for name, found in (("raw", self.raw_difference), ("any branch's", self.probability_difference)):
            if not found <= PROBABILITY:  # a NaN is no agreement
                faults.append(f"{name} probabilities differ by up to {found:.2g}, allowed is {PROBABILITY:g}")
        for name, share, least in (("boxes", self.same_boxes, SAME_BOXES), ("top-1", self.same_top1, SAME_TOP1)):
            if share < least:
                faults.append(f"the same {name} on {share:.1%}, needed are {least:.1%}")
        return faults

    def table(self) -> str:
        """Return the figures as lines of text."""
        return "\n".join([
            f"images compared                     {self.images}",
            f"largest difference of probabilities {self.probability_difference:.2g}",
            f"boxes within one pixel              {self.same_boxes:.1%}",
            f"same top-1                          {self.same_top1:.1%}",
        ])  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Return the figures, and the tolerances they were held against, as plain values."""
        tolerances = {"probability": PROBABILITY, "pixel": PIXEL, "same_boxes": SAME_BOXES, "same_top1": SAME_TOP1}
        return {**asdict(self), "tolerances": tolerances}


def compare(
    model: TrainedModel,
    content: bytes,
    images: Sequence[str | Path | Sample],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Parity:
    """Ask both the same of each image: PyTorch by the way of `tlaam predict`, ONNX Runtime by its photograph's pixels.

    A JPEG file much larger than the canvas is decoded at a reduced size, as for prediction; both get that.

    Args:
        model: on the CPU.
        content: the bytes of the ONNX file.
        images: image files or samples of a data set, at least one.
        progress: told how many have been compared.

    Raises:
        ExportError: there is no image.
        DataError: an image cannot be read.
    """
    import onnxruntime

    if not images:
        raise ExportError("no image to compare the answers on; name some by --images.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # unused initialisers are worth no line
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    raw, of_any, boxes, top1 = [], [0.0], [], []
    for number, given in enumerate(images, start=1):
        path, banner = (given.path, given.banner) if isinstance(given, Sample) else (Path(given), 0)
        image, _ = load_for_canvas(path, model.source_size, banner=banner)
        expected = _expected(model, to_canvas(image, model.source_size), image.size)
        found = dict(zip(names, session.run(None, {"photos": np.asarray(image)[None]}), strict=True))
        pixel = PIXEL * max(1.0, *(side / model.source_size for side in image.size))
        differences = {name: float(np.abs(found[name][0] - values).max()) for name, values in expected.items()}
        agree = all(moved <= pixel for name, moved in differences.items() if name.endswith("_boxes"))
        raw.append(differences["raw_probabilities"])
        if agree:
            of_any.append(max(d for name, d in differences.items() if name.endswith("probabilities")))
        boxes.append(agree)
        top1.append(int(found["probabilities"][0].argmax()) == int(expected["probabilities"].argmax()))
        progress(number, len(images))
    return Parity(
        images=len(images),
        raw_difference=float(np.max(raw)),
        probability_difference=float(np.max(of_any)),
        same_boxes=float(np.mean(boxes)),
        same_top1=float(np.mean(top1)),
        versions={"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    )


def images_to_compare(run: Path, given: Sequence[str], count: int) -> list[str | Path | Sample]:
    """Return at most `count` images, evenly from all: those given, or else the validation or training images of a run.

    Args:
        run: a run folder; its data is only opened where no image is given.
        given: files, folders and patterns.
        count: how many.

    Raises:
        DataError: a folder or pattern holds no image.
        ExportError: none is given, and the run's data cannot be opened.
    """
    if given:
        found: Sequence[str | Path | Sample] = find_images(given)
    else:
        folder = RunFolder(run)
        try:
            data = opened_again(folder.read_json(folder.data))
        except (TlaamError, KeyError, OSError) as error:
            raise ExportError(
                f"the images that {run} was trained on, to compare the answers on, cannot be had ({error}); "
                "give photographs by --images."
            ) from error
        found = data.split("val") or data.split("train")
    return list(found[:: -(-len(found) // count)]) if found else []


def _expected(model: TrainedModel, canvas: NDArray[np.uint8], size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """Return PyTorch's answers for one canvas by the names of the exported outputs, boxes in pixels of the image."""
    output = infer(model.network, torch.from_numpy(canvas)[None])
    branches = output.branch_probabilities()
    answers = {"probabilities": branches.pop("fused")[0].numpy()}
    answers |= {f"{name}_probabilities": rows[0].numpy() for name, rows in branches.items()}
    for name, boxes in (("object_boxes", output.object_boxes), ("part_boxes", output.part_boxes)):
        if boxes is not None:
            answers[name] = canvas_to_image(boxes[0].numpy(), model.source_size, *size)
    return answers
