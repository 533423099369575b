"""The headers of a tar archive (ustar, pax, GNU and V7), read in turn without the data between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import DataError
from tlaam.utils.reading import require_regular
from tlaam.utils.text import printable

_BLOCK = 512
_LONGEST = 1 << 20  # bytes of a name, or of extended values
_AT_ONCE = 4096  # headers whose checksums are computed together
_RECORD = 20 * _BLOCK
_ZEROS = bytes(_BLOCK)
_NONE: dict[str, str] = {}
_REGULAR = b"\x0007"
_OTHERS = {b"2": "symbolic link", b"3": "device", b"4": "device", b"6": "pipe"}
_COMPRESSED = {b"\x1f\x8b": "gzip -dk", b"(\xb5/\xfd": "zstd -dk", b"BZh": "bzip2 -dk", b"\xfd7zXZ": "xz -dk"}


class Entry(NamedTuple):
    """One member that is not a folder.

    Attributes:
        kind: ``file``, ``hard link``, or a description of anything else.
        name: as written; bytes that are not UTF-8 become surrogates.
        offset: position of its first byte.
        size: its size in bytes.
        target: for a hard link, the name that it points to.
    """

    kind: str
    name: str
    offset: int
    size: int
    target: str = ""


def entries(path: Path, notes: list[str]) -> Iterator[Entry]:
    """Yield the members of an archive in order.

    Args:
        path: path of the archive.
        notes: receives a line for everything about its end that may be an accident.

    Raises:
        DataError: it is compressed, damaged, cut off or not a tar archive, or holds a sparse file.
        OSError: it cannot be read.
    """
    require_regular(path)
    with path.open("rb", buffering=0) as stream:
        yield from _Archive(path, stream, path.stat().st_size).entries(notes)


class _Archive:
    def __init__(self, path: Path, stream: BinaryIO, length: int) -> None:
        self._path, self._stream, self._length = path, stream, length
        self._begin, self._buffer, self._ahead = 0, b"", 1 << 16
        self._unchecked: list[tuple[int, bytes]] = []

    def entries(self, notes: list[str]) -> Iterator[Entry]:
        at = 0
        common: dict[str, str] = {}
        own: dict[str, str] = {}
        while (header := self._header(at)) != _ZEROS:
            if len(header) < _BLOCK:
                if at and (own or at > self._length):
                    self._flush()
                    raise DataError(f"'{self._path}' is cut off at byte {self._length:,}. Get it anew.")
                if header or not at:
                    self._fail(at)
                notes.append(f"'{self._path}' ends without the mark of an archive's end; it may have been cut off.")
                break
            self._unchecked.append((at, header))
            if len(self._unchecked) == _AT_ONCE or not at:
                self._flush()
            kind, begin = header[156:157], at + _BLOCK
            size = self._number(at, header[124:136])
            if kind in b"xXgLK":
                values = self._extended(at, kind, begin, size)
                (common if kind == b"g" else own).update(values)
                at = begin + _padded(size)
                continue
            values = _NONE
            if common or own:
                values, own = {**common, **own}, {}
                size = self._number(at, values["size"], 10) if "size" in values else size
            name = values.get("path") or _name(header)
            if kind == b"S" or (values and any(key.startswith("GNU.sparse.") for key in values)):
                self._flush()
                raise DataError(
                    f"'{self._path}' holds '{printable(name)}' as a sparse file, which is not read. Unpack it, or pack "
                    "it again without --sparse."
                )
            is_file = kind in _REGULAR
            at = begin + (_padded(size) if kind not in b"123456" or is_file else 0)
            if at > self._length and begin + size > self._length:
                self._flush()
                raise DataError(
                    f"'{self._path}' is cut off: '{printable(name)}' ends at byte {begin + size:,}, the file at "
                    f"{self._length:,}. Get it anew."
                )
            if is_file and name[-1:] != "/":
                yield Entry("file", name, begin, size)
            elif kind == b"1":
                yield Entry("hard link", name, 0, 0, values.get("linkpath") or _text(header[157:257]))
            elif kind != b"5" and not is_file:
                yield Entry(_OTHERS.get(kind, "member of an unknown kind"), name, 0, 0)
        self._flush()
        if self._piece(at, _RECORD).strip(b"\0"):
            notes.append(f"'{self._path}' goes on behind the end of its first archive; that is not read.")

    def _header(self, at: int) -> bytes:
        place = at - self._begin
        header = self._buffer[place : place + _BLOCK] if place >= 0 else b""
        return header if len(header) == _BLOCK else self._piece(at, _BLOCK)

    def _extended(self, at: int, kind: bytes, begin: int, size: int) -> dict[str, str]:
        """Return the values of an extended header, which describes what follows it."""
        if size > _LONGEST or begin + size > self._length:
            self._fail(at)
        content = self._piece(begin, size)
        if kind in b"LK":
            return {"path" if kind == b"L" else "linkpath": _text(content)}
        values = {}
        while content.strip(b"\0"):
            length, blank, _ = content.partition(b" ")
            if not blank or not length.isdigit() or not len(length) < int(length) <= len(content):
                self._fail(at)
            record, content = content[len(length) + 1 : int(length)], content[int(length) :]
            key, equals, value = record.partition(b"=")
            if not equals or not value.endswith(b"\n"):
                self._fail(at)
            values[_text(key)] = value[:-1].decode("utf-8", "surrogateescape")
        return values

    def _piece(self, at: int, size: int) -> bytes:
        """Return bytes of the file, fewer at its end; reads close to the previous one are extended and buffered."""
        place = at - self._begin
        if place < 0 or place + size > len(self._buffer):
            near = 0 <= place - len(self._buffer) < 1 << 16 or 0 <= place < len(self._buffer)
            self._ahead = min(self._ahead * 2, 1 << 20) if near else 4 * _BLOCK
            self._stream.seek(at)
            pieces, missing = [], max(size, self._ahead)
            while missing > 0 and (piece := self._stream.read(missing)):
                pieces.append(piece)
                missing -= len(piece)
            self._begin, self._buffer, place = at, b"".join(pieces), 0
        return self._buffer[place : place + size]

    def _number(self, at: int, field: bytes | str, base: int = 8) -> int:
        if isinstance(field, bytes) and field[11:] in (b"\0", b" ") and field[:11].isdigit():
            try:
                return int(field[:11], 8)
            except ValueError:
                self._fail(at)
        try:
            if isinstance(field, bytes) and field[0] & 0x80:  # binary, where octal digits do not suffice
                number = int.from_bytes(field[1:], "big") if field[0] == 0x80 else -1
            else:
                text = _text(field) if isinstance(field, bytes) else field
                number = int(text.strip() or "0", base)
        except ValueError:
            number = -1
        if number < 0:
            self._fail(at)
        return number

    def _flush(self) -> None:
        """Verify the collected headers against their checksums.

        Raises:
            DataError: a header does not match its own.
        """
        if not self._unchecked:
            return
        blocks = np.frombuffer(b"".join(header for _, header in self._unchecked), np.uint8).reshape(-1, _BLOCK)
        digits = blocks[:, 148:154].astype(np.int64) - ord("0")
        usual = (digits @ (8 ** np.arange(6)[::-1]) == _sums(blocks)) & ((digits >= 0) & (digits < 8)).all(axis=1)
        usual &= blocks[:, 154] == 0  # as nearly all programs write it: six digits and a zero
        unchecked, self._unchecked = self._unchecked, []
        for row in np.flatnonzero(~usual):
            at, header = unchecked[row]
            try:
                stated = int(_text(header[148:156]).strip(), 8)
            except ValueError:
                stated = -1
            block = blocks[row : row + 1]
            if stated not in (_sums(block)[0], _sums(block.view(np.int8))[0]):  # some programs sum signed bytes
                self._fail(at)

    def _fail(self, at: int) -> NoReturn:
        self._flush()  # an earlier header may be the cause
        start = self._piece(0, _BLOCK)
        unpacked = next((command for mark, command in _COMPRESSED.items() if start.startswith(mark)), "")
        if unpacked:
            raise DataError(
                f"'{self._path}' is compressed, so its images cannot be read one by one. Unpack it: {unpacked} "
                f"'{self._path}'"
            )
        if not at:
            raise DataError(f"'{self._path}' is no tar archive, or damaged at its beginning. Get it anew.")
        raise DataError(f"'{self._path}' is damaged: at byte {at:,} there is no header of a tar archive. Get it anew.")


def _sums(blocks: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return the checksums of headers: the sum of their bytes, with those of the checksum itself taken as blanks."""
    total: NDArray[np.int64] = blocks.sum(axis=1, dtype=np.int64)
    own: NDArray[np.int64] = blocks[:, 148:156].sum(axis=1, dtype=np.int64)
    return np.asarray(total - own + 8 * ord(" "))


def _name(header: bytes) -> str:
    name = _text(header[:100])
    prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" and header[345] else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


__all__ = ["Entry", "entries"]
