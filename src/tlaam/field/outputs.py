"""All outputs made from finished answers: a workbook, a page, a Timelapse file, sidecars and sorted photographs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tlaam.errors import ConfigError, DataError
from tlaam.field.answer import Answer
from tlaam.field.answers import Answers
from tlaam.field.answers_page import write_page
from tlaam.field.csv_table import csv_table
from tlaam.field.made import MadeFiles
from tlaam.field.sorting import Sorted, log_of, sort_into
from tlaam.field.timelapse import write_timelapse
from tlaam.field.transfer import Mode
from tlaam.field.xlsx import require_xlsxwriter, write_xlsx
from tlaam.field.xmp import ROOT, Naming, keywords_of, sidecar_of, write_sidecar
from tlaam.utils.atomic import full_disk_named, grown_atomically
from tlaam.utils.checksums import checksum
from tlaam.utils.text import printable

Say = Callable[[str], None]
Progress = Callable[[str], Callable[[], None]]
"""Takes the name of the output being written and returns a function to call after each answer."""

_NAMED = 20  # maximum number of faults of one kind that are reported individually
_THEN = "give the same command again."
_ENDINGS = {"xlsx": (".xlsx",), "page": (".html", ".htm"), "timelapse": (".json",)}
BESIDE = Path()
"""Value of `Outputs.sidecars` that puts each sidecar beside its photograph."""


@dataclass(frozen=True)
class Outputs:
    """The requested outputs; None for those not requested.

    Attributes:
        csv, xlsx, timelapse, page, jsonl: files to write.
        sidecars: folder for XMP sidecars, or `BESIDE`.
        naming, root: naming scheme of the sidecar files, and root of their hierarchical keywords.
        sort_into: folder that gets one subfolder per class.
        mode: how files get there: copied, linked or moved.
    """

    csv: Path | None = None
    xlsx: Path | None = None
    timelapse: Path | None = None
    page: Path | None = None
    jsonl: Path | None = None
    sidecars: Path | None = None
    naming: Naming = "stem"
    root: str = ROOT
    sort_into: Path | None = None
    mode: Mode = "copy"

    @property
    def are_wanted(self) -> bool:
        """Whether any output is requested."""
        wanted = (self.csv, self.xlsx, self.timelapse, self.page, self.sidecars, self.sort_into)
        return any(path is not None for path in wanted)

    @property
    def replaced(self) -> list[Path]:
        """The files that are written as a whole, and replace an earlier one."""
        return [path for path in (self.jsonl, self.timelapse, self.xlsx, self.page) if path is not None]

    @property
    def answers(self) -> Path | None:
        """The default folder for answers, beside the first output; None if there is no output to place it beside."""
        first = next((path for path in (self.csv, self.xlsx, self.page, self.timelapse) if path is not None), None)
        first = first or self.sort_into
        return None if first is None else first.with_name(f"{first.name}.answers")

    def require_possible(self, inputs: Iterable[str | Path], folder: Path | None = None) -> None:
        """Refuse, before anything is done, what is impossible or would damage photographs or files.

        Args:
            inputs: the input images or folders.
            folder: folder of the answers; by default `answers`.

        Raises:
            ConfigError: the outputs cannot be written as requested; the message says why.
            RunError: a file exists that was not made from these answers, or was changed since.
            MissingPackageError: an Excel workbook is requested and XlsxWriter is not installed.
        """
        for option, endings in _ENDINGS.items():
            given = getattr(self, option)
            if given is not None and given.suffix.lower() not in endings:
                raise ConfigError(f"--{option} writes a file that ends in {endings[0]}; '{given}' does not.")
        if self.csv is not None and self.csv.suffix.lower() in (".xlsx", ".html", ".json"):
            raise ConfigError(f"--csv writes text with commas, and '{self.csv}' would not open as what it is called.")
        if self.xlsx is not None:
            require_xlsxwriter()
        if (folder := folder or self.answers) is not None:
            for path in self.replaced:
                MadeFiles(folder).require_ours(path)
        if self.sort_into is None and self.mode != "copy":
            raise ConfigError(f"--{self.mode} goes with --sort-into, which it is about.")
        if self.sort_into is None:
            return
        inside = self.sort_into.absolute().resolve()
        for given in map(Path, inputs):
            if given.is_dir() and inside.is_relative_to(given.resolve()):
                raise ConfigError(
                    f"--sort-into '{self.sort_into}' lies in '{given}', whose images are to be sorted; give a folder "
                    "elsewhere."
                )


def identity_of(answers: Answers) -> str:
    """Return an identifier that tells answers apart from those for other images or by another model."""
    return checksum(json.dumps([answers.plan.get(name) for name in ("of", "model", "classes")]).encode())[:16]


def places_of(answers: Answers, outputs: Outputs) -> dict[str, Path]:
    """Return the current locations of photographs that an earlier call of this command has moved."""
    if outputs.sort_into is None or outputs.mode != "move" or not outputs.sort_into.is_dir():
        return {}
    log = log_of(outputs.sort_into, identity_of(answers), "move")
    entries = [] if log is None else log.entries
    return {
        entry.image: log.target(entry)
        for entry in entries
        if log is not None
        and entry.state in ("meant", "done")
        and entry.source == Path(entry.image).absolute()
        and log.target(entry).exists()
        and not entry.source.exists()
    }


def base_of(inputs: Iterable[str | Path], answers: Answers) -> Path:
    """Return the folder that paths are relative to: the input folder, else the deepest one that holds all images."""
    given = [Path(each) for each in inputs]
    if len(given) == 1 and given[0].is_dir():
        return given[0].absolute()
    common: str | None = None
    for path in answers.paths():
        folder = os.path.dirname(os.path.abspath(path))  # noqa: PTH100, PTH120 (pathlib is slow for a million paths)
        try:
            common = folder if common is None else os.path.commonpath((common, folder))
        except ValueError:  # the paths are on several drives
            return Path(Path(path).anchor)
    return Path(common or ".").absolute()


def write_outputs(outputs: Outputs, answers: Answers, inputs: Iterable[str | Path], *, model: str, say: Say,
                  progress: Progress) -> int:  # fmt: skip
    """Write all requested outputs. Finished work is not repeated.

    Files are written atomically, except that the CSV table grows row by row (see `tlaam.field.csv_table`).

    Args:
        outputs: the requested outputs.
        answers: the answers to write.
        inputs: the input images or folders.
        model: name of the model.
        say: called with a message for each output written and each fault.
        progress: see `Progress`.

    Returns:
        The number of files that could not be processed.

    Raises:
        TlaamError: an output cannot be written; see the function that writes it.
        OSError: a file cannot be written.
    """
    base, faults, made = base_of(inputs, answers), 0, MadeFiles(answers.folder)
    moved = places_of(answers, outputs)

    def where(file: str) -> Path:
        return moved.get(file) or Path(file)

    if outputs.csv is not None:
        write_csv(outputs.csv, answers, ranked=answers.are_ranked)
        say(f"{outputs.csv}: a row an object of {len(answers)} files.")
    if outputs.jsonl is not None:
        with made.making(outputs.jsonl):
            _write_lines(outputs.jsonl, answers)
    if outputs.sidecars is not None:
        faults += _write_sidecars(outputs, answers, base, where, say, progress("sidecars"))
    if outputs.sort_into is not None and outputs.mode == "move":  # now, so that the files name the new places
        faults += _sort(outputs, outputs.sort_into, answers, say, progress)
        moved = places_of(answers, outputs)
    if outputs.timelapse is not None:
        now = outputs.sort_into.absolute() if outputs.sort_into is not None and moved else base
        with made.making(outputs.timelapse):
            write_timelapse(
                outputs.timelapse, answers, base=now, model=model, where=where, progress=progress("Timelapse")
            )  # fmt: skip
        say(f"{outputs.timelapse}: for Timelapse, paths from {now}.")
    if outputs.xlsx is not None:
        with made.making(outputs.xlsx):
            write_xlsx(outputs.xlsx, answers, ranked=answers.are_ranked, where=where, progress=progress("workbook"))
        say(f"{outputs.xlsx}: a workbook.")
    if moved and (outputs.csv or outputs.xlsx):
        say("the column `file` says where photographs were before they were moved; the log of the sorting says both.")
    if outputs.page is not None:
        identity = identity_of(answers)
        with made.making(outputs.page):
            write_page(outputs.page, answers, base=base, identity=identity, where=where, progress=progress("page"))
        say(f"{outputs.page}: open it in a browser.")
    if outputs.sort_into is not None and outputs.mode != "move":
        faults += _sort(outputs, outputs.sort_into, answers, say, progress)
    return faults


def _sort(outputs: Outputs, folder: Path, answers: Answers, say: Say, progress: Progress) -> int:
    done = sort_into(folder, answers, identity_of(answers), outputs.mode, progress=progress("sorting"))
    return _say_sorted(outputs, done, say)


def write_csv(path: Path, answers: Iterable[Answer], *, ranked: bool = False) -> None:
    """Write the table of all answers, or complete it; `ranked` if answers are given by taxonomic rank."""
    with full_disk_named(path.parent, _THEN), csv_table(path, ranked=ranked) as table:
        for answer in answers:
            table.add(answer)


def _write_lines(path: Path, answers: Answers) -> None:
    with grown_atomically(path, _THEN) as growing, growing.open("w", encoding="ascii") as stream:
        for record in answers.records():
            del record["row"]
            print(json.dumps(record), file=stream)


def _write_sidecars(
    outputs: Outputs, answers: Answers, base: Path, where: Callable[[str], Path], say: Say, step: Callable[[], None]
) -> int:
    written = same = 0
    faults: list[str] = []
    for answer in answers:
        step()
        flat, deep = keywords_of(answer, outputs.root)
        if not flat:
            continue
        beside = sidecar_of(where(answer.file).absolute(), outputs.naming)
        sidecar = beside
        if outputs.sidecars is not None and outputs.sidecars != BESIDE:
            path = Path(answer.file).absolute()
            below = path.relative_to(base) if path.is_relative_to(base) else Path(path.name)
            sidecar = sidecar_of(outputs.sidecars / below, outputs.naming)
        try:
            is_new = write_sidecar(sidecar, flat, deep, based_on=beside)
        except (DataError, OSError) as error:
            reason = f"'{sidecar}': {error.strerror}" if isinstance(error, OSError) else str(error)
            faults.append(f"no keywords for '{answer.file}': {reason}")
            continue
        written, same = written + is_new, same + (not is_new)
    there = f", {same} had their keywords already" if same else ""
    say(f"sidecars: {written} written{there}.")
    return _say_faults(faults, say)


def _say_sorted(outputs: Outputs, done: Sorted, say: Say) -> int:
    left = f"; {done.left} without an answer stay where they are" if done.left else ""
    links = f"; {done.links} that are links or no longer there are left out" if done.links else ""
    say(f"{outputs.sort_into}: {done.photographs} photographs sorted{left}{links}. All back: tlaam undo '{done.log}'.")
    return _say_faults([f"not sorted: {fault}" for fault in done.faults], say)


def _say_faults(faults: list[str], say: Say) -> int:
    """Report the first few faults and how many there are; return their number."""
    for fault in faults[:_NAMED]:
        say(printable(fault))
    if len(faults) > _NAMED:
        say(f"and {len(faults) - _NAMED} more of this kind.")
    return len(faults)
