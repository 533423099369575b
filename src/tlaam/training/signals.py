"""Stop a run cleanly when the system or the user requests it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tlaam.errors import RunError


class Interrupted(RunError):
    """A run was asked to stop and has saved a checkpoint; `exit_code` is the shell's exit code for the signal."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class StopRequest:
    """Remembers the first signal that requested a stop; 0 while there is none."""

    def __init__(self) -> None:
        self.signal_number = 0


@contextmanager
def listening() -> Iterator[StopRequest]:
    """Record SIGTERM and Ctrl-C instead of exiting; a second one acts as usual. Handlers are restored at the end."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, frame: FrameType | None) -> None:
        request.signal_number = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
