"""What a model answers for a batch of input images, whatever computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tlaam.data.depth import Depth

if TYPE_CHECKING:
    from tlaam.reference.index import ReferenceIndex
    from tlaam.reference.ood_detector import OODDetector

Floats = NDArray[np.float64]
Precision = Literal["32-true", "bf16-mixed"]


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
    """

    probabilities: dict[str, Floats]
    heatmaps: Floats | None
    object_boxes: Floats | None
    part_boxes: Floats | None
    embeddings: Floats | None = None


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

    def answer(self, inputs: NDArray[np.uint8]) -> Answers:
        """Answer for uint8 RGB input images ``(B, 3, P, P)``; boxes are in their pixels."""
