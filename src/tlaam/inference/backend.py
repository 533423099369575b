"""The protocol of a model that answers for a batch of input images, whatever computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tlaam.data.depth import Depth

if TYPE_CHECKING:
    from tlaam.reference.index import ReferenceIndex
    from tlaam.reference.ood_detector import OODDetector

Floats = NDArray[np.float64]
Precision = Literal["32-true", "bf16-mixed"]

FINDS_ONE = (
    "this model does not say how sure it is of each of several objects; train it with localizer=foreground, the "
    "default, or give the boxes."
)
MOST_OBJECTS = 16
"""Largest number of objects that is looked for in an image."""
FOREGROUND = 0.6
"""Foreground probability above which a cell belongs to an object when several are looked for (docs/field.md)."""


@dataclass(frozen=True)
class Answers:
    """Answers for B images and C classes.

    Boxes are xyxy, x1 and y1 exclusive, in pixels of the images that were passed to `Backend.answer`.

    Attributes:
        probabilities: by branch (``raw``, ``object``, ``parts``, ``fused``, in this order), each ``(B, C)``; branches
            that the model does not have are absent.
        heatmaps: ``(B, h, w)``, not normalised; None if the model draws none.
        object_boxes: ``(B, 4)``; None without an object level.
        part_boxes: ``(B, N, 4)``; None without a part level.
        embeddings: ``(B, E)``, not normalised (`tlaam.models.output.TLAAMOutput`); None if the model gives none.
        pooled: features of the V branches, ``(B, V, K)``, on which classifiers are solved; None if the model gives none
            or they were not requested.
    """

    probabilities: dict[str, Floats]
    heatmaps: Floats | None
    object_boxes: Floats | None
    part_boxes: Floats | None
    embeddings: Floats | None = None
    pooled: Floats | None = None


class Objects(NamedTuple):
    """Candidate objects in B images: up to M components of the foreground, the largest first.

    Attributes:
        boxes: ``(B, M, 4)`` xyxy, x1 and y1 exclusive, in pixels of the images passed to `find`.
        areas: share of the image that each component covers, ``(B, M)``; 0 for missing components.
        peaks, means: largest and mean foreground probability in each component, ``(B, M)``.
    """

    boxes: Floats
    areas: Floats
    peaks: Floats
    means: Floats


class Backend(Protocol):
    """A model ready to answer.

    PyTorch computes the model of a run (`tlaam.inference.pytorch.TorchModel`), ONNX Runtime that of an exported file
    (`tlaam.inference.onnx.OnnxModel`).
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in index order."""

    @property
    def source_size(self) -> int:
        """Side P of the input image that images are resized to (`tlaam.data.input_image.to_input`)."""

    @property
    def depth(self) -> Depth:
        """Black and white levels for images of more than 8 bits, those of the training images."""

    @property
    def precision(self) -> str:
        """Its numerical precision: ``32-true`` or ``bf16-mixed``; for a file ``fp32``, ``fp16`` or ``int8``."""

    @property
    def draws_maps(self) -> bool:
        """Whether its heat maps and object boxes depend on the image's content, so that both can be measured."""

    @property
    def checksum(self) -> str:
        """SHA-256 of the file that contains its weights."""

    @property
    def index(self) -> ReferenceIndex | None:
        """The reference index stored with the model; None if there is none."""

    @property
    def detector(self) -> OODDetector | None:
        """The detector of out-of-distribution images; None if nothing is known about the training images."""

    def ready(self, device: Any, precision: Precision | None) -> Backend:
        """Return a model that computes on this device in this precision; None means whatever suits the machine."""

    def with_trained(self, trained: Any) -> Backend:
        """Return a model that keeps the one it was made `ready` from, if that is a different one."""

    def compiled(self, batch_size: int) -> Backend:
        """Return a model that is compiled for batches of up to this size."""

    @property
    def takes_boxes(self) -> bool:
        """Whether the model takes given object boxes; if not, each box is cropped and used as an image of its own.

        Raises:
            ModelError: it was exported by a version that supported neither.
        """

    def require_objects(self) -> None:
        """Check that the model can find several objects.

        Raises:
            ModelError: it cannot; the message says why and what to do.
        """

    def find(self, inputs: NDArray[np.uint8]) -> Objects:
        """Return candidate objects in uint8 RGB input images ``(B, 3, P, P)``; boxes are in pixels of these images."""

    def answer(self, inputs: NDArray[np.uint8], boxes: Floats | None = None, *, pooled: bool = False) -> Answers:
        """Answer for uint8 RGB input images ``(B, 3, P, P)``.

        Args:
            inputs: the images.
            boxes: where their objects are, ``(B, 4)`` xyxy in pixels of `inputs`, for a model that `takes_boxes`. By
                default the model finds them.
            pooled: also return the branches' features.

        Returns:
            The answers, with boxes in pixels of `inputs`.
        """
