"""Sorting photographs into one folder per class by their answers; a log lets `tlaam.field.undo` restore everything."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from tlaam.errors import RunError
from tlaam.field.answer import Answer
from tlaam.field.filing import Heading, heading_of
from tlaam.field.names import FolderNames, safe_name
from tlaam.field.sorting_log import Entry, Log, Writer, continued, new_log, read_log
from tlaam.field.transfer import Mode, OccupiedError, put
from tlaam.field.xmp import sidecar_of
from tlaam.utils.atomic import remove_leftovers
from tlaam.utils.lock import locked

_BATCH = 32  # number of answers per fsync of the log
LOCK = ".tlaam-sorting.lock"
"""Name of the lock file that keeps other processes out of a folder."""


@dataclass
class Sorted:
    """The result of a sorting.

    Attributes:
        log: the file to give to ``tlaam undo``.
        photographs: number of photographs now in their folders.
        left: number left where they are, because they have no answer.
        links: number left out, because they are symbolic links or no longer there.
        faults: what could not be done, one line each.
    """

    log: Path
    photographs: int
    left: int
    links: int
    faults: list[str]


def logs_in(folder: Path) -> Iterator[Log]:
    """Yield the logs of sortings into a folder, oldest first."""
    return map(read_log, sorted(folder.glob("sorted-*.jsonl")))


def log_of(folder: Path, answers: str, mode: Mode) -> Log | None:
    """Return the log of sorting these answers in this mode that has not been undone; None if there is none.

    Raises:
        RunError: undoing it has begun, or a log is damaged.
    """
    for log in logs_in(folder):
        if log.answers == answers and log.mode == mode and not log.is_undone:
            if log.being_undone:
                raise RunError(f"{log.path} is half undone; finish that first: tlaam undo '{log.path}'.")
            return log
    return None


def sort_into(
    folder: Path,
    answers: Iterable[Answer],
    name: str,
    mode: Mode = "copy",
    *,
    progress: Callable[[], None] = lambda: None,
) -> Sorted:
    """Put photographs into ``folder/<class>/``, as far as their answers vouch for it (`tlaam.field.filing`).

    Repeating an interrupted call completes it.

    Sidecars beside a photograph go along with it. Nothing is overwritten: if names collide, a number is added.

    Args:
        folder: the target folder; created if it is missing.
        answers: the photographs and their class names.
        name: identifies this set of answers.
        mode: copy, link (a hard link, a second name of the same file) or move.
        progress: called after each answer.

    Raises:
        RunError: another process is working in the folder, a log is damaged, or the disk is full.
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK, folder):
        begun = log_of(folder, name, mode)
        opened: AbstractContextManager[tuple[Log, Writer]]
        if begun is None:
            path = _new_name(folder)
            remove_leftovers(folder, path.name)
            opened = new_log(path, mode, name)
        else:
            opened = continued(begun)
        with opened as (log, writer):
            return _Sorting(log, writer).run(answers, progress)


class _Sorting:
    def __init__(self, log: Log, writer: Writer) -> None:
        self._log, self._writer = log, writer
        self._names = FolderNames()
        self._known: dict[str, list[Entry]] = {}
        for entry in log.entries:
            self._known.setdefault(entry.image, []).append(entry)
        self._taken = {entry.target.casefold() for entry in log.entries if entry.state != "void"}
        self._siblings: tuple[Path, dict[str, int]] | None = None
        self._done = Sorted(log.path, 0, 0, 0, [])

    def run(self, answers: Iterable[Answer], progress: Callable[[], None]) -> Sorted:
        stream = iter(answers)
        while batch := list(islice(stream, _BATCH)):
            groups = [self._meant(answer) for answer in batch]
            self._writer.settle()  # before any file is touched
            for group in groups:
                self._carry_out(group)
                progress()
        self._writer.settle()
        return self._done

    def _meant(self, answer: Answer) -> list[Entry]:
        """Log the intended actions for one answer; if they are in the log already, continue with those."""
        known = [entry for entry in self._known.get(answer.file, []) if entry.state != "void"]
        if known:
            return known
        if not answer.objects:
            self._done.left += 1
            return []
        folder = self._folder(heading_of(answer, answer.objects[0]))
        source = Path(answer.file).absolute()
        if source.is_symlink() or not source.is_file():
            self._done.links += 1
            return []
        sources = [source, *self._companions(source)]
        entries = [
            Entry(len(self._log.entries) + place, each, target, answer.file)
            for place, (each, target) in enumerate(zip(sources, self._free(folder, source, sources), strict=True))
        ]
        for entry in entries:
            self._note(entry)
        self._known[answer.file] = entries
        return entries

    def _note(self, entry: Entry) -> None:
        self._log.entries.append(entry)
        self._taken.add(entry.target.casefold())
        self._writer.write({
            "n": entry.number, "from": str(entry.source), "to": entry.target, "image": entry.image,
        })  # fmt: skip

    def _carry_out(self, group: list[Entry]) -> None:
        for place, meant in enumerate(group):
            entry = meant
            while entry.state == "meant":
                try:
                    put(entry.source, self._log.target(entry), self._log.mode, self._log.part(entry))
                except OccupiedError:  # the file appeared after the name was chosen
                    entry = self._elsewhere(entry)
                    continue
                except FileNotFoundError as error:
                    self._done.faults.append(f"'{error.filename or entry.source}' is gone.")
                    break
                except RunError as error:
                    if self._log.mode == "link":
                        raise
                    self._done.faults.append(str(error))
                    break
                entry.state = "done"
                self._writer.write({"done": entry.number})
            self._done.photographs += entry.state == "done" and place == 0

    def _elsewhere(self, entry: Entry) -> Entry:
        """Log another target for a file whose name has been taken in the meantime."""
        entry.state = "void"
        self._writer.write({"void": entry.number})
        folder = entry.target.partition("/")[0]
        (target,) = self._free(folder, entry.source, [entry.source])
        other = Entry(len(self._log.entries), entry.source, target, entry.image)
        self._note(other)
        self._known[entry.image].append(other)
        self._writer.settle()
        return other

    def _folder(self, heading: Heading) -> str:
        """Return the folder of a heading; create it if it is missing. Only those without a name begin with ``_``."""
        name = heading.folder if heading.folder != heading.name else self._names.of(heading.name)
        path = self._log.folder / name
        if not path.is_dir():
            self._writer.write({"folder": name})
            self._writer.settle()
            path.mkdir()
        if path.resolve().parent != self._log.folder.resolve():
            raise RunError(f"'{path}' leads out of '{self._log.folder}'; remove that link, or give another folder.")
        return name

    def _free(self, folder: str, photo: Path, sources: list[Path]) -> list[str]:
        """Return unused targets for a photograph and its sidecars, all with the same number."""
        stem = safe_name(photo.stem)
        for number in count(1):
            start = stem if number == 1 else f"{stem}-{number}"
            ends = [source.name.removeprefix(photo.stem) for source in sources]
            targets = [f"{folder}/{start}{safe_name('x' + end).removeprefix('x')}" for end in ends]
            if not any(
                target.casefold() in self._taken or os.path.lexists(self._log.folder / target) for target in targets
            ):
                return targets
        raise AssertionError("there are more numbers than files")

    def _companions(self, photo: Path) -> list[Path]:
        """Return the sidecars that belong to this photograph only."""
        if self._siblings is None or self._siblings[0] != photo.parent:
            stems: dict[str, int] = {}
            for path in photo.parent.iterdir():
                if path.suffix.lower() != ".xmp":
                    stems[path.stem] = stems.get(path.stem, 0) + 1
            self._siblings = photo.parent, stems
        found = [sidecar_of(photo, "full")]
        if self._siblings[1].get(photo.stem, 0) <= 1:
            found.append(sidecar_of(photo, "stem"))
        return [path for path in found if path.is_file() and not path.is_symlink()]


def _new_name(folder: Path) -> Path:
    for number in count(1):
        path = folder / f"sorted-{number:03d}.jsonl"
        if not os.path.lexists(path):
            return path
    raise AssertionError("there are more numbers than files")
