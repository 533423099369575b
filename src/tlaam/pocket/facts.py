"""What a page needs to know of a model besides its graph, since JavaScript does not read the ONNX file's metadata."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlaam._version import __version__
from tlaam.data.images import require_jpeg
from tlaam.errors import DataError, ModelError
from tlaam.inference.backend import MOST_OBJECTS
from tlaam.inference.engine import CLOSEST, Engine
from tlaam.inference.objects import CLOSER, INSIDE, LEAST, LEAST_BOX, PERHAPS, SAME, SURE, SURROUNDINGS
from tlaam.inference.onnx import OnnxModel
from tlaam.inference.onnx_file import default_boxes_name_at
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.thumbnail import MAX_THUMBNAIL_SIDE
from tlaam.utils.checksums import checksum, with_checksum
from tlaam.utils.text import valid_text

FORMAT = 1


@dataclass(frozen=True)
class Facts:
    """The facts of a model that a page needs.

    Attributes:
        values: plain values, which ``model.json`` holds with a checksum (docs/pocket.md).
        alike: embeddings of the reference index, little-endian float16 ``(N, E)``; empty without an index.
        pictures: thumbnails of the reference index, concatenated JPEG files; empty if there are none.
    """

    values: dict[str, Any]
    alike: bytes = field(default=b"", repr=False)
    pictures: bytes = field(default=b"", repr=False)


def facts_of(engine: Engine, graph: bytes, *, pictures: bool = True) -> Facts:
    """Return what a page displays of a model and needs to answer with it.

    Args:
        engine: the engine of an ONNX file.
        graph: the bytes of that file.
        pictures: include the thumbnails of the reference index, if it has any.

    Raises:
        ModelError: a thumbnail is damaged, or the file does not say where its graph takes boxes.
    """
    index = engine.index if engine.index is not None and len(engine.index.embeddings) else None
    thumbnails = index.thumbnails if index is not None and pictures else ()
    values: dict[str, Any] = {
        "format": FORMAT,
        "tlaam_version": __version__,
        "model": "model.onnx",
        "model_sha256": checksum(graph),
        "precision": engine.model.precision,
        "classes": [valid_text(name) for name in engine.classes],
        "source_size": engine.model.source_size,
        "detector": _detector(engine),
        "answering": _answering(engine),
        "objects": _objects(engine, graph),
        "look_alikes": None if index is None else _look_alikes(index, thumbnails),
    }
    return Facts(
        with_checksum(values),
        b"" if index is None else index.embeddings.astype("<f2").tobytes(),
        b"".join(thumbnails),
    )


def _detector(engine: Engine) -> dict[str, Any] | None:
    detector = engine.detector
    if detector is None:
        return None
    means = base64.b64encode(detector.means.astype("<f2").tobytes()).decode("ascii")
    near = None if detector.near is None else {**detector.near.facts(), **detector.near.contrast.to_facts()}
    return {"threshold": detector.threshold, "sure_from": detector.sure_from, "means": means, "near": near}


def _answering(engine: Engine) -> dict[str, Any] | None:
    """Return the model's own promise and the thresholds that keep it; None if nothing is promised."""
    answering = engine.answering
    if answering is None or answering.promise is None:
        return None
    taxonomy = answering.taxonomy
    return {
        "promise": answering.promise,
        "ranks": [valid_text(rank) for rank in taxonomy.ranks],
        "taxa": [[valid_text(taxon) for taxon in row] for row in taxonomy.taxa],
        "codes": taxonomy.codes.tolist(),
        "thresholds": list(answering.thresholds),
    }


def _objects(engine: Engine, graph: bytes) -> dict[str, Any] | None:
    """Return the settings for finding and naming several objects; None for a model that handles only one object.

    Raises:
        ModelError: the file does not say where its graph takes boxes.
    """
    model = engine.model
    if not isinstance(model, OnnxModel) or not model.finds_several:
        return None
    try:
        default_at = default_boxes_name_at(graph) if model.takes_boxes else None
    except ValueError as error:
        raise ModelError(f"{model.path} cannot be used on a page: {error}.") from error
    return {
        "boxes": "cut" if default_at is None else "told",
        "default_at": default_at,
        "most": MOST_OBJECTS,
        "closest": CLOSEST,
        "least": LEAST,
        "least_box": LEAST_BOX,
        "closer": CLOSER,
        "perhaps": PERHAPS,
        "sure": SURE,
        "surroundings": SURROUNDINGS,
        "same": SAME,
        "inside": INSIDE,
    }


def _look_alikes(index: ReferenceIndex, thumbnails: tuple[bytes, ...]) -> dict[str, Any]:
    """Return the index's labels and the end offset of each thumbnail; the file names of the images are left out."""
    for name, content in zip(index.names, thumbnails, strict=False):
        try:
            require_jpeg(content, MAX_THUMBNAIL_SIDE)
        except DataError as error:
            raise ModelError(f"the reference index's picture of {name} cannot be shown: {error}") from error
    ends = np.cumsum([len(content) for content in thumbnails], dtype=np.int64).tolist()
    return {"labels": index.labels.tolist(), "ends": ends}
