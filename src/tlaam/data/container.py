"""Images inside a file that holds many: each is named by the position of its bytes, and read there without unpacking.

`tlaam.data.sample.Sample.file` is a string. For an image in a container it is ``<container>\\0<offset>+<size>``; no
path of a file contains a zero byte. Nothing is kept open, so any thread or process that knows the string can read the
member.
"""

from __future__ import annotations

import errno
import io
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from tlaam.utils.cache import cache_folder
from tlaam.utils.checksums import checksum

PARQUET = ".parquet"
"""Suffix of tables whose images are unpacked before they are read (`tlaam.data.parquet`)."""

_BETWEEN = "\0"
_MEMBER = re.compile(f"(.+){_BETWEEN}([0-9]{{1,18}})\\+([0-9]{{1,18}})", re.DOTALL)
_WHOLE = 1 << 20  # a member of at most this many bytes is read in one go
_VERSION = b"1"  # version of the cached data about containers


@dataclass(frozen=True, slots=True)
class Member:
    """One file inside a container.

    Attributes:
        container: the file that holds it.
        name: its name in the container, for messages.
        offset: position of its first byte, in the container or in the file of its unpacked images.
        size: its size in bytes.
    """

    container: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.container}/{self.name}"

    @property
    def suffix(self) -> str:
        """The suffix of its name, as for a `Path`."""
        return Path(self.name).suffix

    def open(self) -> BinaryIO:
        """Open the member for reading.

        Raises:
            OSError: the container no longer exists, or ends before the member does.
        """
        if self.size <= _WHOLE:
            return io.BytesIO(self.read())
        return io.BufferedReader(_Window(self), 1 << 16)

    def read(self, start: int = 0, size: int | None = None) -> bytes:
        """Return the member's bytes, or some of them.

        Raises:
            OSError: see `open`.
        """
        wanted = max(0, min(self.size - start, self.size if size is None else size))
        with open(_file_with_bytes(os.fspath(self.container)), "rb", buffering=0) as stream:  # noqa: PTH123 (hot)
            stream.seek(self.offset + start)
            content = stream.read(wanted)
            while len(content) < wanted:  # the system may return fewer bytes at a time
                more = stream.read(wanted - len(content))
                if not more:
                    raise OSError(errno.EIO, "its container is shorter than it was", str(self.container))
                content += more
        return content


Source = Path | Member
"""Where an image is stored."""


def reference(container: str, offset: int, size: int) -> str:
    """Return the string that stands for a member in `tlaam.data.sample.Sample.file`.

    Examples:
        >>> source_of(reference("birds.tar", 1536, 20480), "crow/1.jpg")
        Member(container=PosixPath('birds.tar'), name='crow/1.jpg', offset=1536, size=20480)
    """
    return f"{container}{_BETWEEN}{offset}+{size}"


def source_of(file: str, name: str) -> Source:
    """Return where the image of a sample is stored.

    Args:
        file: `tlaam.data.sample.Sample.file`.
        name: the sample's name, for messages.
    """
    member = _MEMBER.fullmatch(file) if _BETWEEN in file else None
    if member is None:
        return Path(file)
    path = Path(member[1])
    inside = name.partition(f"{path.name}/")[2]  # in a folder of containers, the name begins with the container
    return Member(path, inside or name, int(member[2]), int(member[3]))


def path_of(file: str) -> Path:
    """Return the file of a sample's image, or the container that holds it."""
    member = _MEMBER.fullmatch(file) if _BETWEEN in file else None
    return Path(file if member is None else member[1])


def absolute(file: str) -> str:
    """Return a sample's ``file`` with an absolute path."""
    member = _MEMBER.fullmatch(file) if _BETWEEN in file else None
    if member is None:
        return os.fspath(Path(file).absolute())
    return reference(os.path.abspath(member[1]), int(member[2]), int(member[3]))  # noqa: PTH100


def size_of(source: Source) -> int:
    """Return the size of an image in bytes.

    Raises:
        OSError: its file does not exist.
    """
    return source.size if isinstance(source, Member) else source.stat().st_size


def piece_of(source: Source, start: int, size: int) -> bytes:
    """Return some of an image's bytes; fewer if it ends earlier.

    Raises:
        OSError: it cannot be read.
    """
    if isinstance(source, Member):
        return source.read(start, size)
    with source.open("rb") as stream:
        stream.seek(start)
        return stream.read(size)


def kept_of(container: str | Path) -> Path:
    """Return the cache folder for data about a container in its present state; the folder need not exist.

    Raises:
        OSError: the container does not exist.
    """
    path = Path(container).absolute()
    state = path.stat()
    key = checksum(os.fsencode(path), b"\0%d\0%d\0" % (state.st_size, state.st_mtime_ns), _VERSION)
    return cache_folder("containers") / key[:20]


IMAGES = "images"
"""Name of the file that holds the images of a table, one after the other, in its folder of `kept_of`."""


@lru_cache(maxsize=4096)
def _file_with_bytes(container: str) -> str:
    """Return the file that the offsets of a container's members refer to."""
    return str(kept_of(container) / IMAGES) if container.endswith(PARQUET) else container


def forget_places() -> None:
    """Forget where the bytes of containers lie, for example after one was replaced by another of the same name."""
    _file_with_bytes.cache_clear()


class _Window(io.RawIOBase):
    """A member as a file of its own, for images too large to be read at once."""

    def __init__(self, member: Member) -> None:
        super().__init__()
        self._member, self._at = member, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._member.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._member.read(self._at, len(buffer)) if self._at < self._member.size else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


__all__ = [
    "IMAGES",
    "PARQUET",
    "Member",
    "Source",
    "absolute",
    "forget_places",
    "kept_of",
    "path_of",
    "piece_of",
    "reference",
    "size_of",
    "source_of",
]
