"""The log of a sorting: what is going to be done, written before it is done, and what is done. JSON lines.

A last line that a kill cut off counts as not written.
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
    """One file on its way.

    Attributes:
        number: of the entry in its log, from 0.
        source: where the file was; absolute.
        target: where it goes, below the folder of the log.
        image: the path in the answers; of a file that goes along, as a sidecar, that of its photograph.
        state: ``meant``, ``done``, ``void`` where another file had the name, ``undone``, or ``kept`` where
            it could not be.
    """

    number: int
    source: Path
    target: str
    image: str
    state: str = "meant"


@dataclass
class Log:
    """A log that was read.

    Attributes:
        path: its file.
        mode: how files are sorted.
        answers: of which answers.
        entries: by number.
        folders: below the log's folder, which were made for the sorting.
        being_undone: whether it was begun to be undone.
        size: bytes of whole lines.
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
        """What files are sorted into."""
        return self.path.absolute().parent

    @property
    def is_undone(self) -> bool:
        """Whether nothing is left to be put back, as far as it can be."""
        return all(entry.state in ("undone", "kept", "void") for entry in self.entries)

    def target(self, entry: Entry) -> Path:
        """Return where the file of an entry goes."""
        return self.folder / entry.target

    def part(self, entry: Entry) -> Path:
        """Return where its copy grows."""
        return self.target(entry).parent / f".tlaam-{entry.number}.part"


def read_log(path: Path) -> Log:
    """Read a log.

    Raises:
        RunError: it is none, or damaged, or leads out of its folder.
        OSError: it cannot be read.
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
    """Appends to a log. What was given is on the disk after `settle`."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, values: Mapping[str, Any]) -> None:
        """Append a line."""
        self._stream.write(json.dumps(values).encode("ascii") + b"\n")

    def settle(self) -> None:
        """Wait until all that was written is on the disk."""
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextmanager
def new_log(path: Path, mode: Mode, answers: str) -> Iterator[tuple[Log, Writer]]:
    """Begin a log at a path where there is nothing."""
    head = json.dumps({"log": NAME, "version": VERSION, "mode": mode, "answers": answers}) + "\n"
    write_text(path, head)
    with continued(Log(path, mode, answers, size=len(head))) as opened:
        yield opened


@contextmanager
def continued(log: Log) -> Iterator[tuple[Log, Writer]]:
    """Go on with a log behind its last whole line."""
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
        raise WriteError(path, error, "give the same command again.") from error  # of the log's own stream


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
