"""Named arrays in one ``.npz`` file without pickles and without compression.

Such a file may come from an untrusted source, so reading it trusts nothing: every size is checked against the number of
bytes present before memory is allocated.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Kinds = Mapping[str, tuple[str, int]]
"""For each array of a file, its type in NumPy's notation (``"<f4"``) and number of axes."""

UNFIT = (
    ArithmeticError, EOFError, LookupError, NotImplementedError, OSError, RecursionError, RuntimeError, TypeError,
    ValueError, zipfile.BadZipFile,
)  # fmt: skip
"""Exceptions that `arrays_of`, or code that uses its arrays, may raise for invalid bytes."""

_MAX_DIRECTORY = 1 << 12


def to_bytes(arrays: Mapping[str, NDArray[Any]], kinds: Kinds) -> bytes:
    """Return the content of a file of arrays, each converted to its type."""
    stream = io.BytesIO()
    np.savez(stream, **{name: arrays[name].astype(kind) for name, (kind, _) in kinds.items()})  # type: ignore[arg-type]
    return stream.getvalue()


def arrays_of(content: bytes, kinds: Kinds) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file written by `to_bytes`, none larger than the bytes present.

    Raises:
        Exception: one of `UNFIT`; the content is not such a file.
    """
    _require_short_directory(content, len(kinds))
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if sorted(member.filename for member in members) != sorted(f"{name}.npy" for name in kinds):
            raise ValueError("it holds other arrays")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it is compressed")
        if any(member.file_size != member.compress_size for member in members) or (
            sum(member.file_size for member in members) > len(content)
        ):
            raise ValueError("it claims more bytes than it has")
        return {name: _array(archive.read(f"{name}.npy"), *kind) for name, kind in kinds.items()}


def _require_short_directory(content: bytes, count: int) -> None:
    """Refuse an archive that lists thousands of members: zipfile creates an object for each before it can be asked."""
    marks, members, length = content[-22:-18], content[-12:-10], content[-10:-6]
    large = content[-42:-38] == b"PK\x06\x07"  # the mark of an archive of more than 4 GiB
    if marks != b"PK\x05\x06" or large or int.from_bytes(members, "little") != count:
        raise ValueError("it is no archive of these arrays")
    if int.from_bytes(length, "little") > _MAX_DIRECTORY:
        raise ValueError("its table of contents is too long")


def _array(content: bytes, kind: str, axes: int) -> NDArray[Any]:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError("an array has an unknown header")
    shape, in_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype != np.dtype(kind) or in_columns or len(shape) != axes:
        raise ValueError("an array is of another type")
    if any(side < 0 for side in shape) or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("an array has not the size it claims")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
