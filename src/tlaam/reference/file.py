"""The file of a reference index: one ``.npz``, whose content is never trusted (`tlaam.utils.arrays`)."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import ModelError
from tlaam.reference.contrast import Contrast
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.ood_detector import OODDetector
from tlaam.reference.pooled import PooledFeatures
from tlaam.taxonomy.shares import HeldOutAnswers
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.arrays import UNFIT, arrays_of
from tlaam.utils.arrays import to_bytes as arrays_to_bytes
from tlaam.utils.atomic import write_atomically
from tlaam.utils.checksums import checksum

FILE = "gallery.npz"
"""File name in a run folder. The name dates from version 0.1.0, which uses the same files."""
FORMAT = 1

_MAX_FILE = 1 << 28
_MAX_FACTS = 1 << 24
_MAX_THUMBNAIL_BYTES = 1 << 16
_ARRAYS = {
    "means": ("<f2", 2),
    "embeddings": ("<f2", 2),
    "labels": ("<i4", 1),
    "thumbnails": ("|u1", 1),
    "ends": ("<i8", 1),
    "facts": ("|u1", 1),
}
"""Data type and number of axes of each array of the file."""
_POOLED = {"pooled": ("|i1", 3), "held_out": ("|i1", 3), "held_out_labels": ("<i4", 1), "scales": ("<f4", 2)}
"""The same for the additional arrays of a file whose model can be taught a class."""
_CONTRAST = {"mean": ("<f4", 1), "axes": ("<f2", 2), "centres": ("<f4", 2), "spread": ("<f4", 1)}
"""The same for the additional arrays of a file that detects near strangers."""
_DIRECTORY = 1 << 12
"""Number of bytes at the end of a file that contain the names of its arrays."""


def to_bytes(index: ReferenceIndex) -> bytes:
    """Return the file's content."""
    facts = {"format": FORMAT, **index.detector.facts(), "classes": index.classes, "names": index.names}
    facts |= {name: part.to_text() for name in ("held_out", "taxonomy") if (part := getattr(index, name)) is not None}
    arrays: dict[str, NDArray[Any]] = {
        "means": index.detector.means,
        "embeddings": index.embeddings,
        "labels": index.labels,
        "thumbnails": np.frombuffer(b"".join(index.thumbnails), np.uint8),
        "ends": np.cumsum([len(thumbnail) for thumbnail in index.thumbnails], dtype=np.int64),
        "facts": np.frombuffer(json.dumps(facts).encode("ascii"), np.uint8),
    }
    kinds = _ARRAYS
    if index.pooled is not None:
        kinds = kinds | _POOLED
        arrays |= {
            "pooled": index.pooled.values,
            "held_out": index.pooled.held_out,
            "held_out_labels": index.pooled.held_out_labels,
            "scales": index.pooled.scales,
        }
    if index.detector.near is not None:
        kinds = kinds | _CONTRAST
        arrays |= index.detector.near.contrast.arrays()
    return arrays_to_bytes(arrays, kinds)


def write_index(index: ReferenceIndex, path: Path) -> None:
    """Write the file atomically; an existing file is replaced.

    Raises:
        RunError: the disk is full.
        OSError: the system refused for another reason.
    """
    write_atomically(path, to_bytes(index))


def index_file_of(model: Path) -> Path:
    """Return the path of a model's reference index: in a run folder, or beside an ONNX file."""
    return model / FILE if model.is_dir() else model.with_name(f"{model.stem}.{FILE}")


def read_index(path: Path) -> ReferenceIndex:
    """Read a file that `write_index` wrote. Thumbnails are only checked when they are used.

    Raises:
        ModelError: the file cannot be read, is damaged, or is not a reference index.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_FILE:
            raise ModelError(f"{path} is no reference index: it is no file, or of more than {_MAX_FILE:,} bytes.")
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        kinds = _ARRAYS
        for mark, more in ((b"pooled.npy", _POOLED), (b"spread.npy", _CONTRAST)):
            kinds = kinds | more if mark in content[-_DIRECTORY:] else kinds
        return replace(_index(arrays_of(content, kinds)), digest=digest_of(content))
    except UNFIT as error:
        raise ModelError(
            f"{path} is damaged or no reference index of this version ({' '.join(str(error).split())[:100]}); remove "
            "it, or write it again (tlaam index, tlaam export)."
        ) from error


def digest_of(content: bytes) -> str:
    """Return the digest that identifies a file by its content."""
    return checksum(content)[:32]


def _index(arrays: dict[str, NDArray[Any]]) -> ReferenceIndex:
    if arrays["facts"].size > _MAX_FACTS:
        raise ValueError("it says too much of itself")
    facts = json.loads(arrays["facts"].tobytes())
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise ValueError("its format is another")
    classes, names = (_texts(facts, name) for name in ("classes", "names"))
    means, embeddings, labels, ends = (arrays[name] for name in ("means", "embeddings", "labels", "ends"))
    count = len(embeddings)
    if not classes or len(means) != len(classes) or not means.shape[1] or embeddings.shape[1] != means.shape[1]:
        raise ValueError("its classes and numbers do not fit")
    if len(labels) != count or len(names) != count or len(ends) not in (0, count):
        raise ValueError("its lists are not equally long")
    if count and (labels.min() < 0 or labels.max() >= len(classes)):
        raise ValueError("a label is no class")
    if not np.isfinite(embeddings).all():
        raise ValueError("its embeddings are not finite")
    return ReferenceIndex(
        OODDetector.checked(means, facts, Contrast.checked(arrays, means.shape[1]) if "spread" in arrays else None),
        classes,
        embeddings,
        labels,
        names,
        _cut(arrays["thumbnails"].tobytes(), ends.tolist()),
        HeldOutAnswers.from_text(_text(facts, "held_out"), len(classes)) if "held_out" in facts else None,
        Taxonomy.from_text(_text(facts, "taxonomy"), classes) if "taxonomy" in facts else None,
        _pooled(arrays, count, len(classes)) if "pooled" in arrays else None,
    )


def _pooled(arrays: dict[str, NDArray[Any]], images: int, classes: int) -> PooledFeatures:
    pooled = PooledFeatures(*(arrays[name] for name in ("pooled", "held_out", "held_out_labels", "scales")))
    pooled.require_fit(images, classes)
    return pooled


def _text(facts: dict[str, Any], name: str) -> str:
    if not isinstance(value := facts[name], str):
        raise ValueError(f"'{name}' is no text")
    return value


def _texts(facts: dict[str, Any], name: str) -> tuple[str, ...]:
    values = facts.get(name)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"'{name}' is no list of names")
    return tuple(values)


def _cut(content: bytes, ends: Sequence[int]) -> tuple[bytes, ...]:
    starts = [0, *ends[:-1]]
    if (ends[-1] if ends else 0) != len(content):
        raise ValueError("its pictures have not the size it claims")
    if any(not 0 < end - start <= _MAX_THUMBNAIL_BYTES for start, end in zip(starts, ends, strict=False)):
        raise ValueError("a picture has an impossible size")
    return tuple(content[start:end] for start, end in zip(starts, ends, strict=False))
