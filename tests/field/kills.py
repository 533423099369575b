"""Work in a fork that is killed as it is about to change the disk for the so-manieth time."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.utime", "os.chmod")


def killed_at(change: int, below: Path, work: Callable[[], object]) -> bool:
    """Do some work in a fork; return whether it was killed before it was done."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            _count(change, below)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


def _count(at: int, below: Path) -> None:
    count = 0

    def look(event: str, details: tuple[object, ...]) -> None:
        nonlocal count
        if event == "open":
            if not isinstance(details[2], int) or not details[2] & _WRITING:
                return
        elif event not in _EVENTS:
            return
        if not isinstance(details[0], (str, os.PathLike)) or not os.fspath(details[0]).startswith(str(below)):
            return
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)
