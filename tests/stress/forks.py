"""Commands as forks of a process that has imported everything, so that an attempt takes a second instead of ten.

What is forked runs `tlaam.cli.main.main` in a session of its own, as ``python -m tlaam`` does after its imports; the
runs that ``tlaam compare`` starts are forked as well, each in a session of its own, as they are in earnest.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stress.changes import killed_at_change


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: its exit code, negative for a signal.
        out, err: what it said.
        seconds: that it took.
        late: seconds from the signal that it was sent to its end.
    """

    code: int
    out: str
    err: str
    seconds: float
    late: float = 0.0

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


def imported() -> None:
    """Import what the commands need, without starting a thread or a kernel that forks could not use."""
    import onnxruntime  # noqa: F401
    import torch
    import torch.utils.tensorboard

    import tlaam.cleaning.clean
    import tlaam.cli.clean
    import tlaam.cli.compare
    import tlaam.cli.download
    import tlaam.cli.predict
    import tlaam.cli.train
    import tlaam.cli.undo
    import tlaam.comparison.run
    import tlaam.comparison.systems
    import tlaam.training.run

    torch.set_num_threads(1)
    tlaam.comparison.systems.PROBES = ("probe",)  # all three would do nothing else, in thrice the time


def imported_for_export() -> None:
    """Import what exporting needs besides, which is much."""
    import onnx  # noqa: F401
    import onnxscript  # noqa: F401

    import tlaam.cli.export
    import tlaam.export.onnx  # noqa: F401


class Command:
    """A command that runs.

    Args:
        arguments: of ``tlaam``, or what is called instead.
        log: folder for what it says.
        setup: called in the fork before it begins.
        at_event: kill it as it is about to change the disk for the so-manieth time, counted from 1.
        below: only changes below this folder count.
        environment: variables besides.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path] | Callable[[], int],
        log: Path,
        *,
        setup: Callable[[], None] = lambda: None,
        at_event: int = 0,
        below: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        log.mkdir(parents=True, exist_ok=True)
        self._log, self._begun, self._signalled = log, time.monotonic(), 0.0
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                os.setsid()
                _redirected(log)
                os.environ.update(environment or {})
                setup()
                if below is not None:
                    killed_at_change(below, at_event, log / "changes")
                code = _called(arguments)
            except BaseException:
                traceback.print_exc()
            finally:
                with suppress(OSError, ValueError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)

    def running(self) -> bool:
        """Return whether it has not ended."""
        if self._status is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self._status = status
        return self._status is None

    def send(self, number: int, *, all_of_them: bool = False) -> None:
        """Send a signal, on wish to all processes that it has started, too."""
        self._signalled = time.monotonic()
        for pid in [self.pid, *(descendants(self.pid) if all_of_them else ())]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self, seconds: float = 300.0) -> Ended:
        """Wait for its end; one that does not end is killed with all that it has started."""
        until = time.monotonic() + seconds
        while self.running():
            if time.monotonic() > until:
                self.send(signal.SIGKILL, all_of_them=True)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"not done in {seconds:.0f} s: {self._said('err')[-300:]}")
            time.sleep(0.005)
        assert self._status is not None
        now = time.monotonic()
        late = now - self._signalled if self._signalled else 0.0
        return Ended(
            os.waitstatus_to_exitcode(self._status), self._said("out"), self._said("err"), now - self._begun, late
        )

    def _said(self, stream: str) -> str:
        said = self._log / stream
        return said.read_text("utf-8", "backslashreplace") if said.exists() else ""  # it was killed at once


def changes(log: Path) -> int:
    """Return how often a command that counted them has changed the disk."""
    return (log / "changes").stat().st_size


def descendants(pid: int) -> list[int]:
    """Return the processes that a process has started, and theirs."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found, look = [], [pid]
    while look:
        below = children.get(look.pop(), [])
        found += below
        look += below
    return found


def _redirected(log: Path) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(log / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _called(arguments: Sequence[str | Path] | Callable[[], int]) -> int:
    import tlaam.comparison.run as comparison
    from tlaam.cli.main import main

    if callable(arguments):
        return arguments()
    if arguments[0] == "compare":
        comparison.run_child = _Nursery().run
    sys.argv = ["tlaam", *map(str, arguments)]
    return main(sys.argv[1:])


class _Nursery:
    """Stands in for `tlaam.comparison.child.run_child`: forks from a process that has not computed anything yet.

    What it forks outlives whoever asked for it, as a process that was started anew does.
    """

    def __init__(self) -> None:
        (asked, self._ask), (self._answer, answered) = os.pipe(), os.pipe()
        if os.fork() == 0:
            os.close(self._ask)
            os.setsid()
            with os.fdopen(asked) as requests:
                for line in requests:
                    status = _forked(json.loads(line))
                    os.write(answered, f"{status}\n".encode())
            os._exit(0)
        os.close(asked)
        os.close(answered)

    def run(self, command: Sequence[str]) -> int:
        """Run ``python -m tlaam ...`` as a fork and return its exit code."""
        os.write(self._ask, json.dumps(list(command[3:])).encode() + b"\n")
        reply = b""
        while not reply.endswith(b"\n"):
            reply += os.read(self._answer, 16)
        return int(reply)


def _forked(arguments: list[str]) -> int:
    from tlaam.cli.main import main

    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            sys.argv = ["tlaam", *arguments]
            code = main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
