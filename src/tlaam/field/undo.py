"""Undo a sorting by means of its log. Repeating an interrupted call completes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tlaam.errors import RunError
from tlaam.field.sorting import LOCK
from tlaam.field.sorting_log import Entry, Log, continued, read_log
from tlaam.field.transfer import OccupiedError, put, same_content
from tlaam.utils.lock import locked

_BATCH = 32


@dataclass
class Undone:
    """The result of undoing a sorting.

    Attributes:
        files: number of files put back or, for copies and links, removed by this call.
        before: number of files that earlier calls had already undone.
        kept: files that were left as they are, with the reason, one line each.
    """

    files: int = 0
    before: int = 0
    kept: list[str] = field(default_factory=list)


def undo(path: Path, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Undone:
    """Put moved files back where they were, and remove copies and links whose originals are unchanged.

    Nothing is overwritten, and no file is removed unless it exists a second time.

    Args:
        path: the log of a sorting, in the folder that was sorted into.
        progress: called with (files done, files in all).

    Raises:
        RunError: the file is not a log or is damaged, or another process is working in the folder.
        OSError: a file cannot be read or written.
    """
    read_log(path)  # check the log before writing anything beside it
    with locked(path.absolute().parent / LOCK, path.parent), continued(read_log(path)) as (log, writer):
        done = Undone()
        if not log.being_undone:
            writer.write({"undo": True})
        writer.settle()
        for number, entry in enumerate(reversed(log.entries), start=1):
            if entry.state == "void":
                continue
            if entry.state == "undone":
                done.before += 1
                continue
            if reason := _kept(log, entry):
                done.kept.append(reason)
                writer.write({"kept": entry.number})
            else:
                writer.write({"undone": entry.number})
                done.files += 1
            progress(number, len(log.entries))
        writer.settle()
        for name in reversed(log.folders):
            with suppress(OSError):  # the folder holds other files, too
                (log.folder / name).rmdir()
    return done


def _kept(log: Log, entry: Entry) -> str:
    """Undo one entry; return the reason if it is left as it is, else an empty string."""
    target = log.target(entry)
    with suppress(FileNotFoundError):
        log.part(entry).unlink()
    try:
        if log.mode == "move":
            return _moved_back(log, entry, target)
        return _removed(log, entry, target)
    except OSError as error:
        return f"'{target}': {error.strerror or error}"


def _moved_back(log: Log, entry: Entry, target: Path) -> str:
    source = entry.source
    if not os.path.lexists(target):
        return "" if os.path.lexists(source) else f"'{target}' is gone, and '{source}' is not there either."
    if entry.state == "meant" and target.stat().st_size == 0 and os.path.lexists(source) and source.stat().st_size:
        target.unlink()  # an empty file that only reserved the name
        return ""
    source.parent.mkdir(parents=True, exist_ok=True)
    try:
        put(target, source, "move", source.parent / f".tlaam-{entry.number}.part")
    except OccupiedError:
        return f"'{target}' stays: there is another file at '{source}' now."
    except RunError as error:
        return str(error)
    return ""


def _removed(log: Log, entry: Entry, target: Path) -> str:
    source = entry.source
    if not os.path.lexists(target):
        return ""
    if not source.is_file():
        return f"'{target}' stays: '{source}' is gone, so that it may be the last copy."
    if entry.state == "meant" and target.stat().st_size == 0 and log.mode == "copy":
        target.unlink()  # an empty file that only reserved the name
        return ""
    if target.samefile(source) if log.mode == "link" else same_content(source, target):
        target.unlink()
        return ""
    return f"'{target}' stays: it is not the same as '{source}' any more."
