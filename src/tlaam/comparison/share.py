"""A comparison's folder, in which several processes may work: each takes runs that no other has.

On a machine with several GPUs, or on several machines with one file system, the same command is given once for each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tlaam.atomic import write_json
from tlaam.comparison.results import RunResult
from tlaam.errors import RunError
from tlaam.lock import locked

_PATIENCE = 0.1


class SharedFolder:
    """Where runs, what they came to, and the tables of a comparison lie.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, name: str) -> Path:
        """Return a run's folder."""
        return self.path / "runs" / name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the folder's own files to oneself, once the others are done with them."""
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(self.path / _LOCK, self.path))
                    break
                except RunError:  # held for moments only
                    time.sleep(_PATIENCE)
            yield

    @contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Have a run to oneself; yields whether that is so, or another process has it."""
        self.run(name).parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.path / "runs" / f"{name}.lock", self.run(name)))
                mine = True
            except RunError:
                mine = False
            yield mine

    def has_result(self, name: str) -> bool:
        """Return whether a run was measured."""
        return self._result(name).exists()

    def keep(self, name: str, result: RunResult) -> None:
        """Write down what a run came to."""
        self._result(name).parent.mkdir(exist_ok=True)
        write_json(self._result(name), result.to_dict())

    def result(self, name: str) -> RunResult:
        """Return what a run came to."""
        return RunResult.from_dict(json.loads(self._result(name).read_text(encoding="utf-8")))

    def is_strange(self) -> bool:
        """Return whether something lies in the folder that no comparison has put there."""
        return any(entry.name != _LOCK for entry in self.path.iterdir())

    def _result(self, name: str) -> Path:
        return self.path / "results" / f"{name}.json"


_LOCK = ".lock"
