"""Atomic file writing: a file is either complete or unchanged."""

from __future__ import annotations

import csv
import errno
import glob
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tlaam.errors import RunError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_AGAIN = "try again."


class WriteError(RunError):
    """A file could not be written; the previous file is intact.

    Args:
        path: the file, or its folder.
        error: the operating system's error.
        then: what to do once the cause is removed.
    """

    def __init__(self, path: Path, error: OSError, then: str) -> None:
        full = error.errno in _FULL
        fault = "The disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        remedy = "Free some space (or lift the limit on it)" if full else "Check the folder and its rights"
        super().__init__(
            f"{fault}: {path} could not be written, and what was saved before is intact. {remedy}, then {then}"
        )
        self.path, self.error = path, error


def write_atomically(path: Path, *pieces: bytes | memoryview) -> None:
    """Replace `path` with the concatenated `pieces`; after a crash, either the old or the new file is there, complete.

    Raises:
        WriteError: the disk is full, or a quota or limit is reached; the old file is intact.
        OSError: the operating system refused for another reason; it names the file, and the old one is intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            with temporary.open("wb") as stream:
                for piece in pieces:
                    stream.write(piece)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in _FULL:
            raise WriteError(path, error, _AGAIN) from error
        error.filename = str(path)  # it may be unset, or the name of the temporary file, which means little to users
        raise


@contextmanager
def grown_atomically(path: Path, then: str = _AGAIN) -> Iterator[Path]:
    """Yield a temporary path to write to; it replaces `path` if the block ends without an exception.

    What killed processes left of the same file is removed, and the folder is created if it is missing.

    Raises:
        WriteError: the file cannot be written; the message says what to do `then`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with full_disk_named(path.parent, then):
            yield temporary
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file with UTF-8 text (see `write_atomically`)."""
    write_atomically(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace a file with indented JSON (see `write_atomically`)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file with a CSV table; None becomes an empty field (see `write_atomically`)."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


@contextmanager
def full_disk_named(path: Path, then: str = _AGAIN) -> Iterator[None]:
    """Convert errors from writing files below `path` to a `WriteError` that says what to do `then`.

    Other operating system errors pass unchanged, except for a full disk.
    """
    try:
        yield
    except WriteError as error:
        raise WriteError(error.path, error.error, then) from error
    except OSError as error:
        file = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else path
        if error.errno not in _FULL and (file == path or not file.is_relative_to(path)):
            raise
        raise WriteError(file, error, then) from error


def remove_leftovers(folder: Path, name: str = "*") -> None:
    """Remove incomplete files that a killed `write_atomically` left in `folder`, for all files or only for `name`."""
    for path in folder.glob(f".{name if name == '*' else glob.escape(name)}.*.tmp"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to disk, where the system supports it."""
    if os.name == "posix":  # a rename survives a power cut only if the folder is on disk, too
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
