"""A record of the files made from answers, so that one that somebody has changed since is never overwritten."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tlaam.errors import RunError
from tlaam.utils.atomic import write_json
from tlaam.utils.checksums import file_checksum
from tlaam.utils.reading import read_text

RECORD = "made.json"
"""Name of the record, in the folder of the answers."""


class MadeFiles:
    """The files that were made from the answers in a folder, by their checksums.

    Args:
        folder: the folder of the answers, which holds the record.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECORD

    def require_ours(self, path: Path) -> None:
        """Refuse to replace a file that was not made from these answers, or was changed since.

        Raises:
            RunError: the file must not be replaced.
        """
        if not path.exists():
            return
        known = self._known()
        name = str(path.absolute())
        if name not in known:
            raise RunError(f"{path} exists and was not made from these answers; give another file, or remove it.")
        if known[name] is not None and known[name] != file_checksum(path):
            raise RunError(f"{path} was changed since it was made; give another file, or move it away.")

    @contextmanager
    def making(self, path: Path) -> Iterator[None]:
        """Record that the block makes a file; if the process is killed in it, the file counts as made.

        Raises:
            RunError: see `require_ours`.
        """
        self.require_ours(path)
        self._note(path, None)
        yield
        self._note(path, file_checksum(path))

    def _known(self) -> dict[str, str | None]:
        try:
            known: dict[str, str | None] = json.loads(read_text(self._path))["files"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # none yet, or damaged
            return {}
        return known if isinstance(known, dict) else {}

    def _note(self, path: Path, checksum: str | None) -> None:
        write_json(self._path, {"files": {**self._known(), str(path.absolute()): checksum}})
