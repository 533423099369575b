"""An exported file, looked through before a runtime sees it: it is data from somewhere else.

ONNX Runtime would follow what the file says to other files, some releases to any place of the disk or of the memory. So
the protobuf messages are walked here, and whatever points out of the file is refused, wherever it stands.
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
"""Of a file: what one protobuf message can hold."""
CHECKSUM = "sha256"
"""Name of the entry of the metadata that holds a file's `checksum`; files of older versions have none."""
MAX_METADATA = 1 << 24
"""Bytes of all that a file says of itself."""
SOURCE_SIZES = range(32, 4097)
"""Sides of the input image that are believed."""

_Part = TypeVar("_Part")

# Field numbers of onnx.proto: which messages hold others that may hold tensors.
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
    """An exported file whose facts are sound.

    Attributes:
        content: its bytes, which point to nothing outside them.
        classes: class names, by index.
        source_size: side P of the input image.
        detector: tells what is out of distribution; None where the file brings none.
        index_digest: of the reference index that was written beside it; None where none was.
        precision: ``fp32``, ``fp16`` or ``int8``.
        localizer: the setting; None where the file does not say.
        training_data: what the splits of its training data are cut again by (`tlaam.runs.splits`), not looked at yet;
            None where the file does not say.
        depth: black and white of images of more than 8 bits; files of versions that took all for 16 bits do not say.
        held_out: what the model answered for images that it had not seen; None where the file brings none.
        taxonomy: of the classes; None of a model that was trained without.
        boxes: how it answers for given boxes: ``told``, by an input of the graph, or ``cut``, by images that are cut
            out; None where it was exported before there was a way.
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
    """Read a file that ``tlaam export`` wrote, or its bytes where they are at hand.

    Raises:
        ModelError: it is missing, too large or not ONNX, points outside itself, or was not written by tlaam.
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
    """Return where a file of whose graph `boxes` may be left out holds the name of their value for then.

    With another name there, boxes are an input that has to be given, as of runtimes that know no other inputs.

    Raises:
        ValueError: the bytes hold it not once.
    """
    if content.count(_DEFAULT_BOXES) != 1:
        raise ValueError("it names the value of boxes that are left out not once")
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
    except (ValueError, OverflowError, RecursionError) as error:  # what is no JSON or no base64 is a ValueError too
        raise ModelError(f"{path}: '{name}' of its metadata cannot be used: {str(error)[:100]}.") from error


def model_checksum(content: bytes) -> str:
    """Return the SHA-256 of all that a file holds but for the entry of its metadata that says it (`CHECKSUM`).

    It tells damage, not forgery: whoever alters a file can alter the entry too.

    Raises:
        ValueError, IndexError: these bytes are no ONNX file.
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
    """Return what the model says of itself by name, once all of it has been walked.

    Raises:
        ModelError: a tensor's data lie outside the file, or the metadata are too large.
        ValueError, IndexError: these bytes are no such message.
    """
    entries = [value for number, value in _fields(content) if number == _METADATA and isinstance(value, memoryview)]
    if not any(number == _GRAPH for number, _ in _fields(content)):
        raise ValueError("no graph")
    pending = [("model", content)]  # a list, not recursion: a file can nest as deep as it is long
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
    """Yield a message's fields: number and value, an int or the bytes; None stands for 4 or 8 bytes of a number.

    Raises:
        ValueError, IndexError: these bytes are no message, or one with groups, which ONNX does not have.
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
    """Return a number of 7 bits a byte, the lowest first, and where the next thing begins."""
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
