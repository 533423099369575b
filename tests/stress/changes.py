"""A process that is killed as it is about to change the disk for the so-manieth time."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EVENTS = (
    "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.utime", "os.chmod", "shutil.rmtree",
    "shutil.copyfile",
)  # fmt: skip


def killed_at_change(below: Path, at: int, tally: Path | None = None) -> None:
    """Let this process be killed at its `at`-th change of the disk below a folder; 0: never.

    Args:
        below: the folder.
        at: which change it does not live to make.
        tally: a file that gets a byte for each change.
    """
    place = None if tally is None else os.open(tally, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    count = 0

    def look(event: str, details: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            if not isinstance(details[2], int) or not details[2] & _WRITING:
                return
        elif event not in _EVENTS:
            return
        path = details[0]
        if not isinstance(path, (str, bytes, os.PathLike)) or not os.fsdecode(path).startswith(str(below)):
            return
        if place is not None:
            os.write(place, b".")
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
