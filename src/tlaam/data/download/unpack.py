"""Extract untrusted archives: nothing is written but plain files and folders inside one folder."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from tlaam.errors import DataError

# Limits of what an archive may grow to. Photographs hardly shrink in archives; lists of text may shrink to a tenth.
_GROWTH = 10
_SPARE = 64 << 20
_MOST_ENTRIES = 1_000_000

_CHUNK = 1 << 16
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    # Raised by these libraries when numbers in an archive make no sense.
    NotImplementedError,
    OSError,
    OverflowError,
    ValueError,
    struct.error,
)


class _Entry(NamedTuple):
    """A file of an archive, or a folder if `stream` is None; `done` is its position in the archive, in bytes."""

    parts: list[str]
    stream: IO[bytes] | None
    done: int


def unpack(archive: Path, into: Path, *, leave_out: str, show: Callable[[int, int], None]) -> None:
    """Extract a tar (also compressed by gzip) or zip archive, whose format is recognised by its first bytes.

    Files get the permissions of new files; owners, times and permissions stated in the archive are ignored. If the
    archive lists a name twice, the later file counts, as in tar.

    Args:
        into: an existing folder that nobody else writes to. If extraction fails, some of the files may be left in it.
        leave_out: a first folder that is dropped from the paths: ``a/b/c.jpg`` becomes ``b/c.jpg`` for ``a``.
        show: called after every entry with the bytes of the archive that are done, and their total.

    Raises:
        DataError: the archive is damaged, cut off or of another format; it holds a path that leads out of the folder or
            is not possible on every system, a link, a device or another special file; or it grows beyond the limits.
        OSError: a file cannot be written.
    """
    written: set[Path] = set()
    size = archive.stat().st_size
    try:
        for count, entry in enumerate(_entries(archive, size, into), start=1):
            if count > _MOST_ENTRIES:
                raise DataError(f"'{archive}' holds more than {_MOST_ENTRIES} files. Nothing of it is kept.")
            path = into.joinpath(*(entry.parts[1:] if entry.parts[:1] == [leave_out] else entry.parts))
            if entry.stream is None:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                _write(_pieces(entry.stream, archive), path, anew=path not in written)
                written.add(path)
            show(entry.done, size)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(
            f"'{archive}' holds two entries of the same name where upper and lower case are the same, "
            f"or a file and a folder of one name: '{error.filename}'. Nothing of it is kept."
        ) from error


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Turn errors of reading, which are the archive's fault, into a DataError, unlike errors of writing."""
    try:
        yield
    except _DAMAGE as error:
        raise DataError(f"'{archive}' is damaged, cut off or no archive ({error}). Get it anew.") from error


def _pieces(stream: IO[bytes], archive: Path) -> Iterator[bytes]:
    with _reading(archive):
        while chunk := stream.read(_CHUNK):
            yield chunk


def _write(pieces: Iterable[bytes], path: Path, *, anew: bool) -> None:
    # On systems that ignore letter case, mode "x" refuses a file that exists under this name in another case.
    with path.open("xb" if anew else "wb") as target:
        for piece in pieces:
            target.write(piece)


def _parts(name: str, archive: Path) -> list[str]:
    """Split a path in an archive, refusing one that could lead elsewhere, on Windows as well."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    # Windows strips dots and spaces at the end of a name, so '.. ' is '..' there.
    if name.startswith("/") or any(not part.rstrip(". ") or set(part) & set("\\:\0") for part in parts):
        raise DataError(f"'{archive}' holds the path {name!r}, which leads out of its folder. Nothing of it is kept.")
    return parts


def _entries(archive: Path, size: int, into: Path) -> Iterator[_Entry]:
    most = _GROWTH * size + _SPARE
    with archive.open("rb") as raw, _reading(archive):
        magic = raw.read(4)
        raw.seek(0)
        if magic == b"PK\x03\x04":
            yield from _zip_entries(archive, raw, most)
        elif magic[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=raw) as plain:
                yield from _tar_entries(archive, _Bounded(plain, most, archive), raw, into)
        else:
            yield from _tar_entries(archive, _Bounded(raw, most, archive), raw, into)


class _Bounded:
    """A stream that refuses to return more than a limit: tarfile reads headers, too, completely into memory."""

    def __init__(self, stream: io.BufferedIOBase, most: int, archive: Path) -> None:
        self._stream, self._most, self._archive = stream, most, archive
        self.given = 0

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        chunk = self._stream.read(size)
        self.given += len(chunk)
        if self.given > self._most:
            raise _bomb(self._archive, self._most)
        return chunk


def _tar_entries(archive: Path, source: _Bounded, raw: io.BufferedIOBase, into: Path) -> Iterator[_Entry]:
    with tarfile.open(fileobj=source, mode="r|") as tar:  # type: ignore[call-overload]  # it needs nothing but read()
        for member in tar:
            if not member.isdir() and (not member.isreg() or member.issparse()):
                raise _special(archive, member.name)
            parts = _parts(member.name, archive)
            if hasattr(tarfile, "data_filter"):  # a second opinion; Python before 3.10.12 and 3.11.4 has none
                tarfile.data_filter(member, str(into))
            yield _Entry(parts, None if member.isdir() else tar.extractfile(member), raw.tell())
        _require_end(tar, source, archive)


def _require_end(tar: tarfile.TarFile, source: _Bounded, archive: Path) -> None:
    """Check that the two empty end blocks were read: tarfile takes a damaged header or missing data for the end."""
    assert tar.fileobj is not None
    second = tar.fileobj.read(tarfile.BLOCKSIZE)
    if second.strip(b"\0") or source.given < tar.offset + tarfile.BLOCKSIZE:
        raise DataError(f"'{archive}' is damaged or cut off (its end is missing). Get it anew.")
    while tar.fileobj.read(_CHUNK):  # gzip compares its checksum at the last byte
        pass


def _zip_entries(archive: Path, raw: io.BufferedReader, most: int) -> Iterator[_Entry]:
    with zipfile.ZipFile(raw) as packed:
        if sum(info.file_size for info in packed.infolist()) > most:  # zipfile gives no more than is stated
            raise _bomb(archive, most)
        for info in packed.infolist():
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _special(archive, info.filename)
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"'{archive}' is encrypted or packed in an unusual way. Pack it anew as a plain zip.")
            parts = _parts(info.filename, archive)
            if info.filename.endswith("/"):  # is_dir() fails for an empty name
                yield _Entry(parts, None, info.header_offset)
            else:
                with packed.open(info) as stream:
                    yield _Entry(parts, stream, info.header_offset)


def _special(archive: Path, name: str) -> DataError:
    return DataError(f"'{archive}' holds {name!r}, a link, device or other special file. Nothing of it is kept.")


def _bomb(archive: Path, most: int) -> DataError:
    return DataError(f"'{archive}' would grow beyond {most} bytes, as no data set does. Nothing of it is kept.")
