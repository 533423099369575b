"""Running a command in a child process that is asked to stop when this process is."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


def run_child(command: Sequence[str]) -> int:
    """Run a command without its standard output and return its exit code, negative if a signal ended it.

    Each SIGINT or SIGTERM is passed on once. Then this process waits for the child to end: a training saves a
    checkpoint first.
    """
    process: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    # The current folder may hold a user's data; ``python -m`` would import from it (Python 3.10 still does).
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    with _handled(pass_on):
        # In a session of its own, the child does not receive Ctrl-C from the terminal a second time.
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True, env=environment)
        for number in early:
            process.send_signal(number)
        return process.wait()


@contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield
        return
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
