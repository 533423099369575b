"""Checks of an exported file before a runtime opens it, because it is untrusted data.

ONNX Runtime would follow references to other files, some releases to any place on the disk or in memory. The protobuf
messages are therefore walked here, and anything that points outside the file is refused, wherever it occurs.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tlaam.data.depth import LEGACY, Depth
from tlaam.errors import ModelError
from tlaam.reference.ood_detector import OODDetector
from tlaam.taxonomy.shares import HeldOutAnswers
from tlaam.taxonomy.tree import Taxonomy
from tlaam.utils.checksums import checksum_of

MAX_BYTES = 2**31 - 1
"""Largest file in bytes: what one protobuf message can hold."""
CHECKSUM = "sha256"
"""Name of the metadata entry with a file's `checksum`; files from older versions have none."""
MAX_METADATA = 1 << 24
"""Largest size of all metadata of a file, in bytes."""
SOURCE_SIZES = range(32, 4097)
"""Accepted sides of the input image."""

_Part = TypeVar("_Part")

# Field numbers of onnx.proto: which messages contain others that may contain tensors.
_HELD = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse tensor",
        23: "sparse tensor",
    },
    "sparse tensor": {1: "tensor", 2: "tensor"},
}
_GRAPH, _METADATA = 7, 14  # of the model
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of a tensor
_DEFAULT_BOXES = b"\x42\x05boxes"  # the name (field 8) of a tensor


@dataclass(frozen=True)
class ModelFile:
    """A checked exported file.

    Attributes:
        content: its bytes, which refer to nothing outside the file.
        classes: class names, in index order.
        source_size: side P of the input image.
        detector: detects out-of-distribution images; None if the file has none.
        index_digest: digest of the reference index that was written beside the file; None if there was none.
        precision: ``fp32``, ``fp16`` or ``int8``.
        localizer: the setting `localizer`; None if the file does not state it.
        training_data: the record from which the splits of its training data can be made again (`tlaam.runs.splits`),
            not checked yet; None if the file does not state it.
        depth: black and white levels for images of more than 8 bits; files from versions that took all of these for 16
            bits do not state them.
        held_out: what the model answered for held-out images; None if the file has no such answers.
        taxonomy: the taxonomy of the classes; None if the model was trained without one.
        boxes: how the model answers for given boxes: ``told``, through an input of the graph, or ``cut``, from cropped
            images; None if it was exported before either was supported.
    """

    content: bytes = field(repr=False)
    classes: tuple[str, ...]
    source_size: int
    detector: OODDetector | None = None
    index_digest: str | None = None
    precision: str = "fp32"
    localizer: str | None = None
    training_data: Any = None
    depth: Depth = LEGACY
    held_out: HeldOutAnswers | None = field(default=None, repr=False)
    taxonomy: Taxonomy | None = field(default=None, repr=False)
    boxes: str | None = None


def read_model_file(path: Path, content: bytes | None = None) -> ModelFile:
    """Read a file that ``tlaam export`` wrote, or check its bytes if they have been read already.

    Raises:
        ModelError: the file is missing, too large or not ONNX, refers to data outside itself, or was not written by
            tlaam.
    """
    content = _read(path) if content is None else content
    try:
        metadata = _metadata(path, memoryview(content))
    except (IndexError, ValueError) as error:
        raise ModelError(f"{path} is not an ONNX file, or is damaged; give one that tlaam export wrote.") from error
    if CHECKSUM in metadata and metadata[CHECKSUM] != model_checksum(content).encode():
        raise ModelError(f"{path} is damaged, or was altered since tlaam export wrote it; copy or export it anew.")
    for name in ("tlaam_version", "classes", "preprocessing"):
        if name not in metadata:
            raise ModelError(f"{path} was not written by tlaam export: its metadata lack '{name}'.")
    classes, preprocessing = (_json(path, name, metadata[name]) for name in ("classes", "preprocessing"))
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise ModelError(f"{path}: 'classes' of its metadata is no list of names.")
    if len(set(classes)) < len(classes):
        raise ModelError(f"{path}: 'classes' of its metadata names a class twice.")
    size = preprocessing.get("source_size") if isinstance(preprocessing, dict) else None
    if type(size) is not int or size not in SOURCE_SIZES:
        raise ModelError(
            f"{path}: 'source_size' of its metadata is {repr(size)[:40]}; it must be a whole number from "
            f"{SOURCE_SIZES[0]} to {SOURCE_SIZES[-1]}."
        )
    digest = metadata.get("gallery")
    return ModelFile(
        content,
        tuple(classes),
        size,
        _part(path, metadata, "familiarity", lambda text: OODDetector.from_text(text, len(classes))),
        None if digest is None else digest.decode("ascii", "replace"),
        metadata.get("precision", b"fp32").decode("ascii", "replace")[:40],
        _localizer(path, metadata),
        _json(path, "training_data", metadata["training_data"]) if "training_data" in metadata else None,
        _depth(path, preprocessing),
        _part(path, metadata, "held_out", lambda text: HeldOutAnswers.from_text(text, len(classes))),
        _part(path, metadata, "taxonomy", lambda text: Taxonomy.from_text(text, classes)),
        metadata["boxes"].decode("ascii", "replace")[:40] if "boxes" in metadata else None,
    )


def default_boxes_name_at(content: bytes) -> int:
    """Return the position, in a file whose graph has optional `boxes`, of the name of their default value.

    With another name there, boxes become a required input, which suits runtimes that do not support optional inputs.

    Raises:
        ValueError: the bytes do not contain the name exactly once.
    """
    if content.count(_DEFAULT_BOXES) != 1:
        raise ValueError("the value for boxes that are left out is not named exactly once")
    return content.index(_DEFAULT_BOXES) + 2


def _localizer(path: Path, metadata: dict[str, bytes]) -> str | None:
    settings = _json(path, "model", metadata["model"]) if "model" in metadata else None
    localizer = settings.get("localizer") if isinstance(settings, dict) else None
    return localizer if isinstance(localizer, str) else None


def _depth(path: Path, preprocessing: dict[str, Any]) -> Depth:
    try:
        return Depth.from_dict(preprocessing["depth"]) if "depth" in preprocessing else LEGACY
    except ValueError as error:
        raise ModelError(f"{path}: 'depth' of its metadata cannot be used: {error}.") from error


def _part(path: Path, metadata: dict[str, bytes], name: str, read: Callable[[str], _Part]) -> _Part | None:
    if name not in metadata:
        return None
    try:
        return read(metadata[name].decode())
    except (ValueError, OverflowError, RecursionError) as error:  # invalid JSON or base64 raises a ValueError too
        raise ModelError(f"{path}: '{name}' of its metadata cannot be used: {str(error)[:100]}.") from error


def model_checksum(content: bytes) -> str:
    """Return the SHA-256 of a file's content without the metadata entry that stores it (`CHECKSUM`).

    It detects damage, not forgery: whoever alters a file can alter the entry too.

    Raises:
        ValueError, IndexError: the bytes are not an ONNX file.
    """
    return checksum_of(_summed(content))


def _summed(content: bytes) -> Iterator[bytes | memoryview]:
    for number, value in _fields(memoryview(content)):
        if number == _METADATA and isinstance(value, memoryview) and _key_of(value) == CHECKSUM.encode():
            continue
        yield b"%d " % number
        yield b"%d" % value if isinstance(value, int) else value or b""


def _key_of(entry: memoryview) -> bytes:
    return next(
        (bytes(value) for number, value in _fields(entry) if number == 1 and isinstance(value, memoryview)), b""
    )


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{path} is no file; give the one that tlaam export wrote, or a run folder.")
        if status.st_size > MAX_BYTES:
            raise ModelError(f"{path} has {status.st_size:,} bytes; an ONNX file holds at most {MAX_BYTES:,}.")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; give the file that tlaam export wrote, or a run folder.") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error


def _metadata(path: Path, content: memoryview) -> dict[str, bytes]:
    """Return the model's metadata by name, after walking the whole file.

    Raises:
        ModelError: a tensor's data are outside the file, or the metadata are too large.
        ValueError, IndexError: the bytes are not such a message.
    """
    entries = [value for number, value in _fields(content) if number == _METADATA and isinstance(value, memoryview)]
    if not any(number == _GRAPH for number, _ in _fields(content)):
        raise ValueError("no graph")
    pending = [("model", content)]  # a list instead of recursion: nesting can be as deep as the file is long
    while pending:
        kind, message = pending.pop()
        for number, value in _fields(message):
            if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0)):
                raise ModelError(
                    f"{path} keeps data outside itself, which is not followed; tlaam export writes all into one file."
                )
            if isinstance(value, memoryview) and number in _HELD.get(kind, ()):
                pending.append((_HELD[kind][number], value))
    if sum(map(len, entries)) > MAX_METADATA:
        raise ModelError(f"{path}: its metadata take more than {MAX_METADATA:,} bytes.")
    pairs = ({number: bytes(value) for number, value in _fields(entry) if value is not None} for entry in entries)
    return {pair.get(1, b"").decode(): pair.get(2, b"") for pair in pairs}


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview | None]]:
    """Yield a message's fields as number and value: an int or bytes; None stands for a fixed-size number.

    A fixed-size number has 4 or 8 bytes.

    Raises:
        ValueError, IndexError: the bytes are not a message, or one with groups, which ONNX does not use.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise ValueError(f"field number {number}")
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if length > end - at:
            raise ValueError("the message ends early")
        yield number, message[at : at + length] if wire == 2 else None
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number encoded in 7 bits per byte, lowest bits first, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _json(path: Path, name: str, text: bytes) -> Any:
    try:
        return json.loads(text.decode())
    except (ValueError, RecursionError) as error:  # text that is not UTF-8 is a ValueError too
        raise ModelError(f"{path}: '{name}' of its metadata is not JSON.") from error
