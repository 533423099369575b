"""Inference with ONNX Runtime: a model in one file, without PyTorch. docs/export.md describes the file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tlaam.errors import ModelError
from tlaam.inference.backend import FINDS_ONE, Answers, Floats, Objects, Precision
from tlaam.inference.onnx_file import read_model_file
from tlaam.reference.index import ReferenceIndex
from tlaam.utils.checksums import checksum

_INPUT, _BOXES, _OBJECTS = "photos", "boxes", "objects"
POOLED = "pooled"
"""Name of the output with the branches' pooled features, which are needed to teach a file a new class."""
_BRANCHES = {
    "raw": "raw_probabilities",
    "object": "object_probabilities",
    "parts": "parts_probabilities",
    "fused": "probabilities",
}
"""Output names by branch name."""
_DRAWS_NO_MAPS = ("none", "center", "full")
"""Localisers whose boxes do not depend on the image's content."""


class OnnxModel:
    """A model that ``tlaam export`` wrote, on the CPU.

    Pillow makes the input image, as for a run. The resizing inside the file then leaves it unchanged.

    Args:
        path: the file.
        content: its bytes, if they have been read already. [read from the file]

    Attributes:
        classes: class names, in index order.
        source_size: side P of the input image.
        detector: detects out-of-distribution images; None if the file has none.
        index_digest: digest of the reference index that was written beside the file; None if there was none.
        precision: ``fp32``, ``fp16`` or ``int8``.
        depth: black and white levels for images of more than 8 bits, those of the training images.
        draws_maps: see `tlaam.inference.backend.Backend`.
        held_out, taxonomy: see `tlaam.inference.onnx_file.ModelFile`.
        training_data: see `tlaam.inference.onnx_file.ModelFile`.

    Raises:
        ModelError: the file is not such a model (`read_model_file`), or ONNX Runtime cannot use it.
    """

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        file = read_model_file(path, content)
        self.path, self.classes, self.source_size = path, file.classes, file.source_size
        self.detector, self.index_digest, self.depth = file.detector, file.index_digest, file.depth
        self.precision, self.training_data = file.precision, file.training_data
        self.held_out, self.taxonomy = file.held_out, file.taxonomy
        self.index: ReferenceIndex | None = None
        self.checksum = checksum(file.content)
        self._session = _session(path, file.content)
        self._path_alone = onnxruntime.RunOptions()
        self._path_alone.only_execute_path_to_fetches = True  # outputs that were not requested are not computed
        self._shapes = _shapes(len(self.classes))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if [(each.name, each.type) for each in inputs] != [(_INPUT, "tensor(uint8)")] or not _fits(
            inputs[0].shape, (None, None, None, 3)
        ):
            raise ModelError(f"{path} was not written by tlaam export: it does not take uint8 photographs.")
        self._outputs = [each.name for each in outputs if each.name in self._shapes and each.name != _OBJECTS]
        self._finds = any(each.name == _OBJECTS for each in outputs)
        self._boxes = file.boxes
        told = any(each.name == _BOXES for each in self._session.get_overridable_initializers())
        if (self._boxes == "told") is not told:
            raise ModelError(f"{path} was not written by tlaam export: its metadata and its inputs do not agree.")
        if "probabilities" not in self._outputs:
            raise ModelError(f"{path} was not written by tlaam export: it answers no probabilities.")
        for each in outputs:
            if each.name in self._shapes:
                self._require_shape(each.name, each.shape)
        self.draws_maps = "heatmaps" in self._outputs and file.localizer not in _DRAWS_NO_MAPS

    def ready(self, device: Any, precision: Precision | None) -> OnnxModel:
        """See `tlaam.inference.backend.Backend`; returns the model itself.

        Raises:
            ModelError: the device is not the CPU, or a precision is given.
        """
        if device is not None and str(device) != "cpu":
            raise ModelError(f"{self.path} is computed on the CPU; device={device} goes with a run folder.")
        if precision is not None:
            raise ModelError(f"{self.path} computes as it was exported; precision={precision} goes with a run folder.")
        return self

    def with_trained(self, trained: Any) -> OnnxModel:
        """See `tlaam.inference.backend.Backend`; returns the model itself."""
        return self

    def compiled(self, batch_size: int) -> OnnxModel:
        """Raise `ModelError`: ONNX Runtime always applies its own optimisations."""
        raise ModelError(f"{self.path} is not for PyTorch to compile; leave --compile out, or give the run folder.")

    @property
    def takes_boxes(self) -> bool:
        """See `tlaam.inference.backend.Backend`."""
        if self._boxes is None:
            raise ModelError(f"{self.path} was exported by a version that knew no given boxes; export the run again.")
        return self._boxes == "told"

    @property
    def finds_several(self) -> bool:
        """Whether `require_objects` passes."""
        return self._finds and self._boxes is not None

    def require_objects(self) -> None:
        """See `tlaam.inference.backend.Backend`."""
        if self._boxes is None:
            raise ModelError(f"{self.path} was exported by a version that knew one object alone; export the run again.")
        if not self._finds:
            raise ModelError(FINDS_ONE)

    def find(self, inputs: NDArray[np.uint8]) -> Objects:
        """See `tlaam.inference.backend.Backend`; computes only the part of the graph that finds objects.

        Raises:
            ModelError, MemoryError: see `answer_photos`.
        """
        values = self._run([_OBJECTS], {_INPUT: _photos(inputs)})[_OBJECTS]
        return Objects(values[..., :4], values[..., 4], values[..., 5], values[..., 6])

    def answer(self, inputs: NDArray[np.uint8], boxes: Floats | None = None, *, pooled: bool = False) -> Answers:
        """See `tlaam.inference.backend.Backend`.

        Raises:
            ModelError, MemoryError: see `answer_photos`.
        """
        return self.answer_photos(_photos(inputs), boxes, pooled=pooled)

    def answer_photos(self, photos: NDArray[np.uint8], boxes: Floats | None = None, *, pooled: bool = False) -> Answers:
        """Answer for decoded photographs of one size, uint8 RGB ``(B, H, W, 3)``; boxes are in their pixels.

        Args:
            photos: the photographs.
            boxes: where their objects are, ``(B, 4)``, for a file that `takes_boxes`; by default the model finds them.
            pooled: also return the branches' features, if the file has them.

        Raises:
            ModelError: the file cannot be computed, or its answers contradict its metadata.
            MemoryError: the batch needs more memory than there is.
        """
        told = {} if boxes is None else {_BOXES: np.ascontiguousarray(boxes, dtype=np.float32)}
        outputs = [name for name in self._outputs if pooled or name != POOLED]
        found = self._run(outputs, {_INPUT: photos, **told})
        return Answers(
            probabilities={branch: found[name] for branch, name in _BRANCHES.items() if name in found},
            heatmaps=found.get("heatmaps"),
            object_boxes=found.get("object_boxes"),
            part_boxes=found.get("part_boxes"),
            embeddings=found.get("embeddings"),
            pooled=found.get(POOLED),
        )

    def _run(self, outputs: list[str], given: dict[str, NDArray[Any]]) -> dict[str, Floats]:
        try:
            values = self._session.run(outputs, given, self._path_alone)
        except Exception as error:  # kernels may raise anything
            if "allocate memory" in str(error):
                raise MemoryError(_one_line(error)) from error
            raise ModelError(f"{self.path} cannot be computed by ONNX Runtime: {_one_line(error)}") from error
        found: dict[str, Floats] = {}
        for name, value in zip(outputs, values, strict=True):
            self._require_shape(name, value.shape, len(given[_INPUT]))
            found[name] = value.astype(np.float64)
        return found

    def _require_shape(self, name: str, shape: Sequence[int | str | None], batch: int | None = None) -> None:
        expected = (batch, *self._shapes[name])
        if not _fits(shape, expected):
            raise ModelError(
                f"{self.path} does not answer as its metadata say ({len(self.classes)} classes): '{name}' has the "
                f"shape {_text(shape)}, not {_text(expected)}."
            )


def _session(path: Path, content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # errors are raised as well
    # By default, the runtime would accept bytes that look like its own format, which `read_model_file` does not check.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    threads = os.environ.get("OMP_NUM_THREADS", "")  # PyTorch obeys it too
    options.intra_op_num_threads = int(threads) if threads.isdecimal() else 0
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # each status code of the runtime has its own class
        raise ModelError(f"{path} cannot be opened by ONNX Runtime: {_one_line(error)}") from error


def _shapes(classes: int) -> dict[str, tuple[int | None, ...]]:
    """Return the shapes of the possible outputs, without the batch axis; None stands for any number."""
    return {
        **{name: (classes,) for name in _BRANCHES.values()},
        "heatmaps": (None, None),
        "object_boxes": (4,),
        "part_boxes": (None, 4),
        "embeddings": (None,),
        POOLED: (None, None),
        _OBJECTS: (None, 7),
    }


def _photos(inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(inputs.transpose(0, 2, 3, 1))


def _fits(shape: Sequence[int | str | None], expected: Sequence[int | None]) -> bool:
    """Return whether a shape, whose free axes are strings or None, is compatible with the expected one."""
    return len(shape) == len(expected) and all(
        wanted is None or not isinstance(found, int) or found == wanted
        for found, wanted in zip(shape, expected, strict=True)
    )


def _text(shape: Sequence[int | str | None]) -> str:
    return f"({', '.join('any' if side is None else str(side) for side in shape)})"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
