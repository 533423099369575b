"""Variables of MATLAB files, in which several official layouts keep their lists.

SciPy's reader is not used: a turned bit in such a file can end the whole process in it, where nothing can be said. This
one reads what the official lists are made of, numbers, texts, cells and structs, and nothing else.

The format is MathWorks' "MAT-File Level 5": elements, each a type, a size and so many bytes; a variable is an element
that holds others (flags, sides, name, and what its class says), and may be compressed as a whole.
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

_LARGEST = 1 << 25  # bytes, also once decompressed; the official lists have some millions
_DEEPEST = 16  # cells in cells

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
        title: of the layout, for errors.
        variable: its name.
        fields: what each row has to have, where the variable is a struct.

    Returns:
        Shape ``(N,)``: numbers, texts, or records by the names of their fields. Of a matrix the rows.

    Raises:
        DataError: the file is missing or damaged, or lacks the variable or a field of it.
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
    """Return a value of such a file as a text.

    Raises:
        DataError: it is none, or an empty one.
    """
    if not isinstance(value, str) or not value:
        raise place.fault(f"'{value}' is not a text")
    return value


def whole_value(value: Any, place: Place) -> int:
    """Return a value of such a file as a whole number; MATLAB's own numbers are fractions.

    Raises:
        DataError: it is none.
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
    """How numbers of more than a byte are written."""

    order: Literal["<", ">"]

    def elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield type and bytes of each element."""
        at = 0
        while at < len(data):
            (first,) = struct.unpack_from(f"{self.order}I", data, at)
            if first >> 16:  # a short element: size and type in one word, at most four bytes behind it
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
    """Return the variable of this name; None where there is none.

    Raises:
        ValueError, LookupError, ArithmeticError, struct.error, zlib.error: these bytes are no such file.
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
    """Return a text, a number, an array of numbers, or a list of what a cell or struct array holds."""
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
    """Return the names of a struct array's fields, and its records."""
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
    for place, value in enumerate(values):  # not at once: arrays of one length would become a matrix
        rows[place] = value
    return rows
