"""Run a command in a process of its own that is asked to stop when this one is."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType


def run_child(command: Sequence[str]) -> int:
    """Run a command without its standard output and return its exit code, negative if a signal ended it.

    SIGINT and SIGTERM are passed on, once each, and then its end is waited for: a training saves a checkpoint first.
    """
    # In a session of its own, Ctrl-C in the terminal does not reach it a second time.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    with _passed_on(process):
        return process.wait()


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return

    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
