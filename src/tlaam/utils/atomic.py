"""Write files that are either whole or not there."""

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
    """A file could not be written; the file that was there before is intact.

    Args:
        path: the file, or the folder that it belongs to.
        error: what the system said.
        then: what to do once the cause is gone.
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
    """Replace `path` by `pieces` one after the other; after a crash the old or the new file is there, never a half.

    Raises:
        WriteError: the disk is full, or a quota or limit reached; the old file is untouched.
        OSError: the system refused otherwise; it names the file, and the old one is untouched.
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
        error.filename = str(path)  # writing to an open file does not know it, and the temporary one says little
        raise


@contextmanager
def grown_atomically(path: Path, then: str = _AGAIN) -> Iterator[Path]:
    """Yield where a file can grow; it replaces `path` when the block ends without an exception.

    What killed processes left of the same file is removed, and the folder made where it is missing.

    Raises:
        WriteError: it cannot be written; the message says what to do `then`.
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
    """Replace a file by UTF-8 text (see `write_atomically`)."""
    write_atomically(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Replace a file by indented JSON (see `write_atomically`)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=True) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file by a CSV table; None becomes an empty field (see `write_atomically`)."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(path, text.getvalue())


@contextmanager
def full_disk_named(path: Path, then: str = _AGAIN) -> Iterator[None]:
    """Let every file that cannot be written below `path` end in a `WriteError` that says what to do `then`.

    Faults of the system that come from elsewhere pass, but for a full disk.
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
    """Remove what a killed process left half written in `folder` by `write_atomically`, of all files or one `name`."""
    for path in folder.glob(f".{name if name == '*' else glob.escape(name)}.*.tmp"):
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system knows how."""
    if os.name == "posix":  # a rename outlives a power cut only when the folder, too, is on the disk
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
