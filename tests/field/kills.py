"""Work in a fork that is killed as it is about to change the disk for the so-manieth time."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from stress.changes import killed_at_change


def killed_at(change: int, below: Path, work: Callable[[], object]) -> bool:
    """Do some work in a fork; return whether it was killed before it was done."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            killed_at_change(below, change)
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
