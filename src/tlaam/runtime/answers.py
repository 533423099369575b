"""What a model answers for a batch of canvases, whatever computes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Answers:
    """For B canvases and C classes; boxes are xyxy in pixels of the canvas, x1 and y1 exclusive.

    Attributes:
        probabilities: by branch (``raw``, ``object``, ``parts``, ``fused``, in this order), each ``(B, C)``; branches
            that the model does not have are absent.
        heatmaps: ``(B, h, w)``, not normalised; None where the model draws none.
        object_boxes: ``(B, 4)``; None without an object level.
        part_boxes: ``(B, N, 4)``; None without a part level.
        embeddings: ``(B, E)``, not normalised (`tlaam.model.output.TLAAMOutput`); None where the model gives none.
    """

    probabilities: dict[str, Floats]
    heatmaps: Floats | None
    object_boxes: Floats | None
    part_boxes: Floats | None
    embeddings: Floats | None = None


class Model(Protocol):
    """A model ready to answer: a run's, in PyTorch (`tlaam.model.store.TrainedModel`), or an exported file's, in ONNX
    Runtime (`tlaam.runtime.onnx_model.OnnxModel`).
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, by index."""

    @property
    def source_size(self) -> int:
        """Side P of the canvas that images are brought to (`tlaam.canvas.to_canvas`)."""

    def ready(self, device: Any, precision: Precision | None) -> Model:
        """Return a model that computes on this device in this arithmetic; None is what suits the machine."""

    def compiled(self, batch_size: int) -> Model:
        """Return a model that is compiled for batches of up to this size."""

    def answer(self, canvases: NDArray[np.uint8]) -> Answers:
        """Answer for uint8 RGB canvases ``(B, 3, P, P)``."""
