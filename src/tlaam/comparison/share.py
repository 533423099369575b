"""A comparison's folder, in which several processes may work: each takes runs that no other process has.

On a machine with several GPUs, or on several machines with a shared file system, start the same command once for each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tlaam.comparison.results import RunResult
from tlaam.errors import RunError
from tlaam.utils.atomic import remove_leftovers, write_json
from tlaam.utils.checksums import is_intact, with_checksum
from tlaam.utils.lock import locked
from tlaam.utils.reading import read_text
from tlaam.utils.work_sharing import claimed

_PATIENCE = 0.1


class SharedFolder:
    """The folder with the runs, results and tables of a comparison.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.path / "runs" / name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock on the folder's own files; wait while another process holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(locked(self.path / _LOCK, self.path))
                    break
                except RunError:  # others hold it only for moments
                    time.sleep(_PATIENCE)
            yield

    def claimed(self, name: str) -> AbstractContextManager[bool]:
        """Try to claim a run; yields True if this process has it, False if another one does."""
        return claimed(self.path / "runs" / f"{name}.lock", self.run(name))

    def has_result(self, name: str) -> bool:
        """Return whether a run has an intact result."""
        return self._read(name) is not None

    def is_damaged(self, name: str) -> bool:
        """Return whether a run has a result that is damaged."""
        return self._result(name).exists() and self._read(name) is None

    def keep(self, name: str, result: RunResult) -> None:
        """Store the result of a run."""
        self._result(name).parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._result(name).parent, self._result(name).name)
        write_json(self._result(name), with_checksum(result.to_dict()))

    def result(self, name: str) -> RunResult:
        """Return the result of a run.

        Raises:
            RunError: the result is missing or damaged.
        """
        values = self._read(name)
        if values is None:
            raise RunError(f"{self._result(name)} is missing or damaged; give the same command again.")
        return RunResult.from_dict(values)

    def is_strange(self) -> bool:
        """Return whether the folder contains anything besides the lock file."""
        return any(entry.name != _LOCK for entry in self.path.iterdir())

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            values = json.loads(read_text(self._result(name)))
        except (OSError, ValueError, RecursionError):
            return None
        return values if isinstance(values, dict) and is_intact(values) else None

    def _result(self, name: str) -> Path:
        return self.path / "results" / f"{name}.json"


_LOCK = ".lock"
