"""Reading untrusted files without blocking forever or exhausting memory.

A path may lead to a pipe, which does not open until somebody writes to it, or to a device that never ends. A file of a
few bytes on disk may also claim to hold a huge amount of data.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

LONGEST_LINE = 1 << 20
"""Maximum length of a line of a table or list in characters."""
LARGEST_TEXT = 1 << 26
"""Maximum size in bytes of a text file that is read as a whole."""


class UnfitFileError(OSError):
    """A file that is refused because of its kind or size; `strerror` says so."""


def require_regular(path: str | Path, most: int | None = None) -> None:
    """Check, without opening it, that a path leads to a regular file of at most `most` bytes.

    Raises:
        UnfitFileError: it is a pipe, a socket or a device, or is too large.
        OSError: it does not exist, or is a folder.
    """
    status = Path(path).stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise UnfitFileError(errno.EINVAL, "it is not a regular file (a pipe, socket or device)", str(path))
    if most is not None and status.st_size > most:
        raise UnfitFileError(errno.EFBIG, f"it has {status.st_size:,} bytes, more than {most:,}", str(path))


def read_text(path: str | Path, most: int = LARGEST_TEXT) -> str:
    """Return the UTF-8 text of a file.

    Raises:
        OSError: see `require_regular`, or the file cannot be read.
        UnicodeDecodeError: the file is not UTF-8.
    """
    require_regular(path, most)
    return Path(path).read_text(encoding="utf-8")


def bounded_lines(stream: TextIO, path: str | Path) -> Iterator[str]:
    """Yield the lines of an open text file of any length.

    Raises:
        UnfitFileError: a line has more than `LONGEST_LINE` characters.
    """
    while line := stream.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise UnfitFileError(errno.EFBIG, f"it has a line of more than {LONGEST_LINE:,} characters", str(path))
        yield line
