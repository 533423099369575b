"""Transferring one file so that an interruption at any moment leaves it whole in one of the two places.

Nothing is ever overwritten. The new name is first reserved with an empty file, which fails if the name exists; then the
complete file replaces the empty one atomically. So the state after an interruption is clear without any record: the
target is a complete file, an empty one, or missing. Repeating the same call completes it.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from tlaam.errors import RunError
from tlaam.utils.atomic import sync_folder
from tlaam.utils.checksums import checksum_of, file_checksum

Mode = Literal["copy", "link", "move"]
_PIECE = 1 << 20
_LINKLESS = {errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class OccupiedError(RunError):
    """Another file has the intended name."""


def put(source: Path, target: Path, mode: Mode, part: Path) -> None:
    """Bring a file to `target`, or complete an interrupted transfer.

    Args:
        source: a regular file.
        target: destination in an existing folder.
        mode: copy, link (a second name of the same file) or move.
        part: temporary path for a copy, on the same disk as `target`.

    Raises:
        OccupiedError: another file exists at `target`.
        RunError: the file is in neither place, or it cannot be linked.
        OSError: the operating system refused.
    """
    if mode == "link":
        _link(source, target)
    elif mode == "copy":
        if not os.path.lexists(source):
            raise RunError(f"'{source}' is gone.")
        if _is_reserved(source, target):
            _copy(source, target, part)
    elif os.path.lexists(source):
        if _is_reserved(source, target):
            _rename(source, target, part)
        elif os.path.lexists(source):  # the copy to another disk is complete
            source.unlink()
    elif not os.path.lexists(target):
        raise RunError(f"'{source}' is gone, and not at '{target}'.")


def same_content(one: Path, other: Path) -> bool:
    """Return whether two files hold the same bytes."""
    return filecmp.cmp(one, other, shallow=False)


def _is_reserved(source: Path, target: Path) -> bool:
    """Reserve the name `target` for a file; return False if the file is already there.

    Raises:
        OccupiedError: another file exists at `target`.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    except FileExistsError as error:
        if target.is_symlink() or not target.is_file():
            raise OccupiedError(f"'{target}' is something else.") from error
        if target.stat().st_size and not same_content(source, target):
            raise OccupiedError(f"'{target}' is another file.") from error
        return target.stat().st_size == 0
    return True


def _rename(source: Path, target: Path, part: Path) -> None:
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(source, target, part)
        sync_folder(target.parent)  # make the copy's name survive a power cut before the original is removed
        source.unlink()


def _copy(source: Path, target: Path, part: Path) -> None:
    """Copy a file over an empty one after checking that the checksum on disk matches what was read."""
    with source.open("rb") as reading, part.open("wb") as writing:

        def pieces() -> Iterator[bytes]:
            while piece := reading.read(_PIECE):
                writing.write(piece)
                yield piece

        read = checksum_of(pieces())
        writing.flush()
        os.fsync(writing.fileno())
    if file_checksum(part) != read:
        raise RunError(f"the copy of '{source}' is not what was read; check the disk of '{target.parent}'.")
    with suppress(OSError):  # the disk may not store times or permissions
        shutil.copystat(source, part)
    part.replace(target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError as error:
        if not target.is_file() or not target.samefile(source):
            raise OccupiedError(f"'{target}' is another file.") from error
    except OSError as error:
        if error.errno not in _LINKLESS:
            raise
        raise RunError(
            f"'{source}' cannot be linked to from '{target.parent}': another disk, or one that knows no links. Leave "
            "--link out, which copies."
        ) from error
