"""Attempts in child processes that are watched: when one dies, hangs or swells, what did it is found and counted."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stress.attempts import GOOD, Campaign, Outcome

_LOOK = 0.05  # seconds between two looks at a child's memory
_START = 600.0  # seconds that a child may take to import and prepare
_KEPT = 40  # failures of one campaign whose inputs are kept
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Tally:
    """What came of a campaign.

    Attributes:
        counts: by kind of input, then by ending.
        failures: kind, ending, number and detail of each failure.
        attempts: how many were made.
        seconds: how long they took, together.
        slowest: seconds of the slowest batch, for each of its attempts.
        peak: megabytes that a child occupied at most.
        processes: how many children were needed.
        measures: what the campaign itself measured, as its last child had it.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    failures: list[dict[str, Any]] = field(default_factory=list)
    attempts: int = 0
    seconds: float = 0.0
    slowest: float = 0.0
    peak: int = 0
    processes: int = 0
    measures: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for the report."""
        endings: Counter[str] = sum(self.counts.values(), Counter())
        return {
            "attempts": self.attempts,
            "endings": dict(endings),
            "survived": sum(endings[name] for name in GOOD),
            "by_kind": {kind: dict(sorted(counts.items())) for kind, counts in sorted(self.counts.items())},
            "seconds": round(self.seconds, 1),
            "slowest_seconds_an_attempt": round(self.slowest, 2),
            "peak_megabytes": self.peak,
            "processes": self.processes,
            **({"measures": self.measures} if self.measures else {}),
            "failures": self.failures,
        }


class _Child:
    """One process; `ask` says what became of a batch."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self.folder = folder / f"child-{time.monotonic_ns()}"
        self.folder.mkdir(parents=True)
        root = Path(__file__).parents[1]
        paths = [str(root), str(root.parent / "src"), os.environ.get("PYTHONPATH", "")]
        self._log = (self.folder / "stderr.txt").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stress.child", name, str(seed), str(self.folder / "prepared")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
            },
        )  # fmt: skip
        (self.folder / "prepared").mkdir()
        self._buffer = b""
        reply = self._reply(_START, sys.maxsize)
        if not isinstance(reply, dict):
            raise RuntimeError(f"the campaign '{name}' cannot begin: {reply}: {self.said()}")

    def ask(self, numbers: Sequence[int], inputs: Path, seconds: float, megabytes: int) -> dict[str, Any] | str:
        """Return the reply, or ``hang``, ``memory`` or ``crash``; then this child is gone."""
        request = json.dumps({"numbers": list(numbers), "folder": str(inputs)}) + "\n"
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(request.encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return "crash"
        return self._reply(seconds, megabytes)

    def said(self) -> str:
        """Return the end of what was written to the error stream."""
        return (self.folder / "stderr.txt").read_text(errors="replace")[-600:]

    def end(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()
        self._log.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _reply(self, seconds: float, megabytes: int) -> dict[str, Any] | str:
        assert self._process.stdout is not None
        until = time.monotonic() + seconds
        while True:
            line, newline, rest = self._buffer.partition(b"\n")
            if newline:
                self._buffer = rest
                reply: dict[str, Any] = json.loads(line)
                return reply
            if select.select([self._process.stdout], [], [], _LOOK)[0]:
                piece = os.read(self._process.stdout.fileno(), 1 << 16)
                if not piece:
                    return "crash"
                self._buffer += piece
                continue
            if self._occupied() > megabytes:
                return "memory"
            if time.monotonic() > until:
                return "hang"

    def _occupied(self) -> int:
        try:
            pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError, ValueError):
            return 0
        return (pages * _PAGE) >> 20


def run_campaign(
    campaign: Campaign, seed: int, count: int, work: Path, failures: Path, deadline: float, only: Sequence[int] = ()
) -> Tally:
    """Make `count` attempts, or those numbered `only`, and return what came of them.

    Args:
        campaign: what to try.
        seed: of the inputs.
        count: how many.
        work: folder for inputs, emptied behind the attempts.
        failures: folder that the inputs of failures are kept in.
        deadline: of `time.monotonic`, at which no further batch is begun.
        only: numbers of attempts to repeat.
    """
    tally, begun = Tally(), time.monotonic()
    chosen = list(only) or list(range(count))
    pending = deque(chosen[at : at + campaign.batch] for at in range(0, len(chosen), campaign.batch))
    child: _Child | None = None
    try:
        while pending and time.monotonic() < deadline:
            numbers = pending.popleft()
            if child is None:
                child = _Child(campaign.name, seed, work)
                tally.processes += 1
            inputs = work / "inputs"
            shutil.rmtree(inputs, ignore_errors=True)
            inputs.mkdir(parents=True)
            reply = child.ask(numbers, inputs, campaign.seconds + 2 * len(numbers), campaign.megabytes)
            if isinstance(reply, dict):
                outcomes = [Outcome(*values) for values in reply["outcomes"]]
                tally.peak = max(tally.peak, reply["peak"])
                tally.measures = reply.get("measures") or tally.measures
                tally.slowest = max(tally.slowest, reply["seconds"] / len(numbers))
            else:
                said = child.said()
                child.end()
                child = None
                if len(numbers) > 1:
                    pending.extendleft([number] for number in reversed(numbers))
                    continue
                outcomes = [Outcome(_kind_in(inputs), reply, said)]
            if len(numbers) > 1 and any(outcome.kind == "batch" for outcome in outcomes):
                pending.extendleft([number] for number in reversed(numbers))
                continue
            for number, outcome in zip(numbers, outcomes, strict=True):
                tally.attempts += 1
                tally.counts.setdefault(outcome.kind, Counter())[outcome.ending] += 1
                if outcome.ending not in GOOD:
                    _keep(tally, campaign, number, outcome, inputs, failures, seed)
    finally:
        if child is not None:
            child.end()
        shutil.rmtree(work, ignore_errors=True)
    tally.seconds = time.monotonic() - begun
    return tally


def _kind_in(inputs: Path) -> str:
    """Return what a campaign noted of the attempt before it began, since a dead process cannot say."""
    note = inputs / "kind"
    return note.read_text() if note.is_file() else "unknown"


def _keep(
    tally: Tally, campaign: Campaign, number: int, outcome: Outcome, inputs: Path, failures: Path, seed: int
) -> None:
    detail = outcome.detail
    for place in (str(inputs), str(Path(__file__).parents[2]), sys.prefix, sys.base_prefix, str(Path.home())):
        detail = detail.replace(place, "…")  # a report is to be passed on: where things lie here is nobody's business
    tally.failures.append({**outcome._asdict(), "detail": detail, "number": number})
    target = failures / campaign.name / f"{seed}-{number}-{outcome.ending}"
    if len(tally.failures) <= _KEPT and inputs.is_dir() and not target.exists():
        shutil.copytree(inputs, target, symlinks=True, ignore=_special, ignore_dangling_symlinks=True)


def _special(folder: str, names: list[str]) -> list[str]:
    """Leave out pipes, sockets and devices, which cannot be copied, and what is too large to keep."""
    return [
        name
        for name in names
        if not (path := Path(folder) / name).is_symlink()
        and not path.is_dir()
        and (not path.is_file() or path.stat().st_size > 32 << 20)
    ]
