"""Keep other processes out of a folder while one works in it."""

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
    """Hold the file `lock`, which is made where it is missing, on behalf of the work in `folder`.

    The system frees the lock when the process ends, however it ends, so there are no stale locks. Where the file system
    knows no locks, the work goes on without.

    Raises:
        RunError: another process holds it; says which.
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
        stream.seek(1 << 30)  # a byte far behind the text, which stays readable
        msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(stream: BinaryIO) -> None:
        # lockf, not flock: its locks are not inherited by loader processes, which may outlive a killed run by seconds
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
