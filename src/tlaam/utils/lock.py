"""Locking a folder against other processes."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tlaam.errors import RunError


@contextmanager
def locked(lock: Path, folder: Path) -> Iterator[None]:
    """Hold a lock on the file `lock`, created if it is missing, while working in `folder`.

    The system releases the lock when the process ends, however it ends, so there are no stale locks. If the file system
    does not support locks, the work continues without.

    Raises:
        RunError: another process holds the lock; the message says which.
    """
    with lock.open("a+b") as stream:
        try:
            _lock(stream)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                stream.seek(0)
                owner = stream.read().decode(errors="replace").strip() or "unknown"
                raise RunError(f"{folder} is in use by another process ({owner}); wait for it or end it.") from error
        else:
            stream.truncate(0)
            stream.write(f"process {os.getpid()}".encode())
            stream.flush()
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(stream: BinaryIO) -> None:
        stream.seek(1 << 30)  # lock a byte far after the text, so that the text stays readable
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(stream: BinaryIO) -> None:
        # Not flock: lockf's locks are not inherited by loader processes, which may outlive a killed run by seconds
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
