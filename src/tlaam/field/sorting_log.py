"""The log of a sorting in JSON lines: each action is written down before it is done, and again once it is done.

A last line that is incomplete because the process was killed counts as not written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

from tlaam.errors import RunError
from tlaam.field.transfer import Mode
from tlaam.utils.atomic import WriteError, write_text
from tlaam.utils.reading import bounded_lines, require_regular

NAME = "tlaam sorting"
VERSION = 1


@dataclass
class Entry:
    """One file to be sorted.

    Attributes:
        number: number of the entry in its log, from 0.
        source: original location of the file; absolute.
        target: destination, relative to the folder of the log.
        image: the photograph's path in the answers; for an accompanying file such as a sidecar, that of its photograph.
        state: ``meant``, ``done``, ``void`` if another file had the name, ``undone``, or ``kept`` if it could not be
            undone.
    """

    number: int
    source: Path
    target: str
    image: str
    state: str = "meant"


@dataclass
class Log:
    """The content of a log file.

    Attributes:
        path: the log file.
        mode: how files are sorted.
        answers: identifies the answers that were sorted.
        entries: the entries in order of their numbers.
        folders: folders created for the sorting, relative to the log's folder.
        being_undone: whether undoing it has begun.
        size: length of the complete lines in bytes.
    """

    path: Path
    mode: Mode
    answers: str
    entries: list[Entry] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    being_undone: bool = False
    size: int = 0

    @property
    def folder(self) -> Path:
        """The folder that files are sorted into."""
        return self.path.absolute().parent

    @property
    def is_undone(self) -> bool:
        """Whether nothing is left to undo, apart from files that could not be put back."""
        return all(entry.state in ("undone", "kept", "void") for entry in self.entries)

    def target(self, entry: Entry) -> Path:
        """Return the destination of an entry's file."""
        return self.folder / entry.target

    def part(self, entry: Entry) -> Path:
        """Return the temporary path under which the entry's copy is written."""
        return self.target(entry).parent / f".tlaam-{entry.number}.part"


def read_log(path: Path) -> Log:
    """Read a log.

    Raises:
        RunError: the file is not a log, is damaged, or names paths outside its folder.
        OSError: the file cannot be read.
    """
    require_regular(path)
    log: Log | None = None
    number = 0
    with path.open(encoding="ascii", newline="\n") as stream:
        try:
            for line in bounded_lines(stream, path):
                number += 1
                if not line.endswith("\n"):
                    break
                values = json.loads(line)
                if log is None:
                    log = _begun(path, values)
                else:
                    _take(log, values)
                log.size += len(line)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise RunError(f"{path} is no log of tlaam predict --sort-into, or line {number} is damaged.") from error
    if log is None:
        raise RunError(f"{path} is no log of tlaam predict --sort-into, or empty.")
    return log


class Writer:
    """Appends to a log. Everything written is on disk once `settle` returns."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, values: Mapping[str, Any]) -> None:
        """Append a line."""
        self._stream.write(json.dumps(values).encode("ascii") + b"\n")

    def settle(self) -> None:
        """Wait until everything written is on disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextmanager
def new_log(path: Path, mode: Mode, answers: str) -> Iterator[tuple[Log, Writer]]:
    """Start a new log at an unused path."""
    head = json.dumps({"log": NAME, "version": VERSION, "mode": mode, "answers": answers}) + "\n"
    write_text(path, head)
    with continued(Log(path, mode, answers, size=len(head))) as opened:
        yield opened


@contextmanager
def continued(log: Log) -> Iterator[tuple[Log, Writer]]:
    """Continue a log after its last complete line."""
    with log.path.open("r+b") as stream, _named(log.path):
        stream.truncate(log.size)
        stream.seek(log.size)
        yield log, Writer(stream)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise WriteError(path, error, "give the same command again.") from error  # from the log's own stream


def _begun(path: Path, values: dict[str, Any]) -> Log:
    if values["log"] != NAME or values["version"] != VERSION or values["mode"] not in get_args(Mode):
        raise ValueError
    return Log(path, cast(Mode, values["mode"]), str(values["answers"]))


def _take(log: Log, values: dict[str, Any]) -> None:
    if "to" in values:
        target = str(values["to"])
        _require_inside(target)
        entry = Entry(int(values["n"]), Path(values["from"]), target, str(values["image"]))
        if entry.number != len(log.entries):
            raise ValueError
        log.entries.append(entry)
    elif "folder" in values:
        _require_inside(str(values["folder"]))
        log.folders.append(str(values["folder"]))
    elif "undo" in values:
        log.being_undone = True
    else:
        ((state, number),) = values.items()
        if state not in ("done", "void", "undone", "kept") or number < 0:
            raise ValueError
        log.entries[number].state = state


def _require_inside(name: str) -> None:
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise ValueError
