"""Variables of MATLAB files, in which several official layouts keep their lists.

SciPy's reader is not used: a flipped bit in such a file can crash the whole process, so that no error can be reported.
This reader handles what the official lists consist of, numbers, texts, cells and structs, and nothing else.

The format is MathWorks' "MAT-File Level 5": elements, each with a type, a size and that many bytes. A variable is an
element that contains others (flags, dimensions, name, and what its class requires), and may be compressed as a whole.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.data.public.official import Place, missing_part
from tlaam.errors import DataError
from tlaam.utils.reading import require_regular

_LARGEST = 1 << 25  # bytes, also after decompression; the official lists have a few million
_DEEPEST = 16  # nesting of cells

_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_VERSION = 0x0100
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _TEXT = 1, 2, 4
_NUMERIC = range(6, 16)
_NOTHING: NDArray[Any] = np.empty(0)
_COMPLEX = 0x0800


def read_mat(path: Path, title: str, variable: str, *fields: str) -> NDArray[Any]:
    """Return a variable of a MATLAB file (version 5 to 7.2, as the official ones are) as an array of rows.

    Args:
        title: title of the layout, for errors.
        variable: its name.
        fields: fields that each row must have, if the variable is a struct.

    Returns:
        Shape ``(N,)``: numbers, texts, or records by field name. Of a matrix, the rows.

    Raises:
        DataError: the file is missing or damaged, or lacks the variable or one of the fields.
    """
    try:
        require_regular(path, _LARGEST)
        found = _variable(path.read_bytes(), variable)
    except FileNotFoundError as error:
        raise missing_part(path, title) from error
    except OSError as error:
        fault = error.strerror or str(error)
        raise DataError(f"Cannot read '{path}': {fault}. Take it anew from the original archive.") from error
    except (ArithmeticError, LookupError, ValueError, struct.error, zlib.error) as error:
        fault = f"it is no MATLAB file of version 5 to 7.2, or is damaged ({' '.join(str(error).split())[:100]})"
        raise DataError(f"Cannot read '{path}': {fault}. Take it anew from the original archive.") from error
    if found is None:
        raise DataError(f"'{path}' has no variable '{variable}'. Take it anew from the original archive.")
    for field in fields:
        if field not in found.fields:
            raise DataError(f"'{variable}' in '{path}' has no field '{field}'. Take it anew from the original archive.")
    return found.rows


def text_value(value: Any, place: Place) -> str:
    """Return a value of such a file as text.

    Raises:
        DataError: it is not text, or is empty.
    """
    if not isinstance(value, str) or not value:
        raise place.fault(f"'{value}' is not a text")
    return value


def whole_value(value: Any, place: Place) -> int:
    """Return a value of such a file as an integer; MATLAB's own numbers are floating-point.

    Raises:
        DataError: it is not a whole number.
    """
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):  # a text or a matrix, NaN, infinity
        number = None
    if number is None or number != value:
        raise place.fault(f"'{value}' is not a whole number")
    return number


class _Variable(NamedTuple):
    rows: NDArray[Any]
    fields: tuple[str, ...]


class _Matrix(NamedTuple):
    name: str
    kind: int
    sides: tuple[int, ...]
    elements: Iterator[tuple[int, memoryview]]


@dataclass(frozen=True)
class _Format:
    """The byte order of numbers of more than a byte."""

    order: Literal["<", ">"]

    def elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield the type and the bytes of each element."""
        at = 0
        while at < len(data):
            (first,) = struct.unpack_from(f"{self.order}I", data, at)
            if first >> 16:  # a short element: size and type in one word, then at most four bytes
                kind, size, start, end = first & 0xFFFF, first >> 16, at + 4, at + 8
                if size > 4:
                    raise ValueError("a short element of more than four bytes")
            else:
                (size,) = struct.unpack_from(f"{self.order}I", data, at + 4)
                kind, start = first, at + 8
                end = start + size + (0 if kind == _COMPRESSED else -size % 8)
            if start + size > len(data):
                raise ValueError("an element ends early")
            yield kind, data[start : start + size]
            at = end

    def numbers(self, element: tuple[int, memoryview]) -> NDArray[Any]:
        kind, data = element
        return np.frombuffer(data, np.dtype(_NUMBERS[kind]).newbyteorder(self.order))

    def text(self, element: tuple[int, memoryview]) -> str:
        encoding = _TEXTS[element[0]]
        wide = encoding in ("utf-16", "utf-32")
        return bytes(element[1]).decode(encoding + ("-le" if self.order == "<" else "-be") if wide else encoding)

    def matrix(self, data: memoryview) -> _Matrix:
        elements = self.elements(data)
        flags = int(self.numbers(next(elements))[0])
        sides = tuple(int(side) for side in self.numbers(next(elements)))
        name = self.text(next(elements))
        if flags & _COMPLEX or len(sides) < 2 or min(sides) < 0:
            raise ValueError("complex numbers, or sides that cannot be")
        return _Matrix(name, flags & 0xFF, sides, elements)


def _variable(content: bytes, wanted: str) -> _Variable | None:
    """Return the variable with this name; None if there is none.

    Raises:
        ValueError, LookupError, ArithmeticError, struct.error, zlib.error: these bytes are not such a file.
    """
    mark = content[126:128]
    if mark not in (b"IM", b"MI") or 0 in content[:4]:  # version 4 has a zero there
        raise ValueError("its header is not that of one")
    form = _Format("<" if mark == b"IM" else ">")
    if struct.unpack_from(f"{form.order}H", content, 124) != (_VERSION,):
        raise ValueError("its header says another version")
    left = _LARGEST
    for kind, data in form.elements(memoryview(content)[128:]):
        if kind == _COMPRESSED:
            folded = zlib.decompressobj()
            unfolded = folded.decompress(data, left)
            left -= len(unfolded)
            if left <= 0:
                raise ValueError("it unfolds beyond measure")
            inside = [*form.elements(memoryview(unfolded))]
            if not folded.eof or folded.unused_data or len(inside) != 1:
                raise ValueError("a compressed variable is not whole")
            ((kind, data),) = inside
        if kind != _MATRIX:
            raise ValueError(f"an element of type {kind} where a variable is expected")
        try:
            matrix = form.matrix(data)
        except StopIteration:
            raise ValueError("a variable ends early") from None
        if matrix.name == wanted:
            return _rows(form, matrix)
    return None


def _rows(form: _Format, matrix: _Matrix) -> _Variable:
    try:
        if matrix.kind == _STRUCT:
            names, records = _records(form, matrix, 0)
            return _Variable(_objects(records), names)
        value = _value(form, matrix, 0)
    except StopIteration:
        raise ValueError("a variable ends early") from None
    return _Variable(_objects(value) if isinstance(value, list) else np.atleast_1d(value), ())


def _value(form: _Format, matrix: _Matrix, depth: int) -> Any:
    """Return text, a number, an array of numbers, or a list of the values in a cell or struct array."""
    if depth > _DEEPEST:
        raise ValueError("cells in cells in cells")
    count = math.prod(matrix.sides)
    if matrix.kind == _CELL:
        return [_inner(form, matrix.elements, depth) for _ in range(count)]
    if matrix.kind == _STRUCT:
        return _records(form, matrix, depth)[1]
    if matrix.kind == _TEXT:
        text = form.text(next(matrix.elements)) if count else ""
        if len(text) != count or len(matrix.sides) != 2:
            raise ValueError("a text of another length than it says")
        rows = matrix.sides[0]
        return text if rows <= 1 else [text[row::rows] for row in range(rows)]
    if matrix.kind not in _NUMERIC:
        raise ValueError(f"a variable of class {matrix.kind}")
    numbers = form.numbers(next(matrix.elements)) if count else _NOTHING
    if len(numbers) != count:
        raise ValueError("an array of another length than it says")
    array = np.squeeze(numbers.reshape(matrix.sides, order="F"))
    return array if array.ndim else array[()]


def _records(form: _Format, matrix: _Matrix, depth: int) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return the field names of a struct array, and its records."""
    (width,) = form.numbers(next(matrix.elements)).tolist()
    _, data = next(matrix.elements)
    if width < 1 or len(data) % width:
        raise ValueError("names of fields that cannot be")
    names = tuple(
        bytes(data[at : at + width]).partition(b"\0")[0].decode("latin-1") for at in range(0, len(data), width)
    )
    if not names:
        raise ValueError("a struct without fields")
    count = math.prod(matrix.sides)
    return names, [{name: _inner(form, matrix.elements, depth) for name in names} for _ in range(count)]


def _inner(form: _Format, elements: Iterator[tuple[int, memoryview]], depth: int) -> Any:
    kind, data = next(elements)
    if kind != _MATRIX:
        raise ValueError(f"an element of type {kind} where a value is expected")
    return _value(form, form.matrix(data), depth + 1) if len(data) else _NOTHING


def _objects(values: list[Any]) -> NDArray[Any]:
    rows = np.empty(len(values), dtype=object)
    for place, value in enumerate(values):  # one by one: arrays of one length would become a matrix
        rows[place] = value
    return rows
