"""What a model answers for a batch of input images, whatever computes it."""

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
"""Objects that are looked for in an image."""
FOREGROUND = 0.6
"""Probability above which a place belongs to one of several objects (docs/field.md)."""


@dataclass(frozen=True)
class Answers:
    """For B images and C classes; boxes are xyxy, x1 and y1 exclusive, in pixels of the images that were answered for.

    Attributes:
        probabilities: by branch (``raw``, ``object``, ``parts``, ``fused``, in this order), each ``(B, C)``; branches
            that the model does not have are absent.
        heatmaps: ``(B, h, w)``, not normalised; None where the model draws none.
        object_boxes: ``(B, 4)``; None without an object level.
        part_boxes: ``(B, N, 4)``; None without a part level.
        embeddings: ``(B, E)``, not normalised (`tlaam.models.output.TLAAMOutput`); None where the model gives none.
        pooled: features of the V branches, ``(B, V, K)``: what classifiers are solved on; None likewise, and
            where they were not asked for.
    """

    probabilities: dict[str, Floats]
    heatmaps: Floats | None
    object_boxes: Floats | None
    part_boxes: Floats | None
    embeddings: Floats | None = None
    pooled: Floats | None = None


class Objects(NamedTuple):
    """What may be objects in B images: up to M components of the foreground, the largest first.

    Attributes:
        boxes: ``(B, M, 4)`` xyxy, x1 and y1 exclusive, in pixels of the images that were looked at.
        areas: share of the image that each covers, ``(B, M)``; 0 where there are fewer.
        peaks, means: largest and mean probability of the foreground in each, ``(B, M)``.
    """

    boxes: Floats
    areas: Floats
    peaks: Floats
    means: Floats


class Backend(Protocol):
    """A model ready to answer.

    A run's is computed by PyTorch (`tlaam.inference.pytorch.TorchModel`), an exported file's by ONNX Runtime
    (`tlaam.inference.onnx.OnnxModel`).
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by index."""

    @property
    def source_size(self) -> int:
        """Side P of the input image that images are brought to (`tlaam.data.input_image.to_input`)."""

    @property
    def depth(self) -> Depth:
        """Black and white of images of more than 8 bits, as of the images that it learnt from."""

    @property
    def precision(self) -> str:
        """The arithmetic it answers in: ``32-true`` or ``bf16-mixed``; of a file ``fp32``, ``fp16`` or ``int8``."""

    @property
    def draws_maps(self) -> bool:
        """Whether its heat maps and object boxes come from what the image shows, so that both can be measured."""

    @property
    def checksum(self) -> str:
        """SHA-256 of the file that its weights lie in."""

    @property
    def index(self) -> ReferenceIndex | None:
        """The reference index that lies with it; None where there is none."""

    @property
    def detector(self) -> OODDetector | None:
        """What tells what is out of distribution; None where nothing is known of what the model learnt from."""

    def ready(self, device: Any, precision: Precision | None) -> Backend:
        """Return a model that computes on this device in this arithmetic; None is what suits the machine."""

    def with_trained(self, trained: Any) -> Backend:
        """Return it with the model that it was made `ready` from, where that is another."""

    def compiled(self, batch_size: int) -> Backend:
        """Return a model that is compiled for batches of up to this size."""

    @property
    def takes_boxes(self) -> bool:
        """Whether it can be told where the object is; else what is in a box is cut out to be an image of its own.

        Raises:
            ModelError: it was exported by a version that knew neither.
        """

    def require_objects(self) -> None:
        """Check that it can find several objects.

        Raises:
            ModelError: it cannot; the message says why and what to do.
        """

    def find(self, inputs: NDArray[np.uint8]) -> Objects:
        """Return what may be objects in uint8 RGB input images ``(B, 3, P, P)``; boxes are in their pixels."""

    def answer(self, inputs: NDArray[np.uint8], boxes: Floats | None = None, *, pooled: bool = False) -> Answers:
        """Answer for uint8 RGB input images ``(B, 3, P, P)``.

        Args:
            inputs: the images.
            boxes: where their objects are, ``(B, 4)`` xyxy in their pixels, of a model that `takes_boxes`. By default
                the model finds them.
            pooled: give the branches' features, too.

        Returns:
            The answers, boxes in pixels of `inputs`.
        """
