"""Mutated files of decisions, applied with ``tlaam clean --apply``, and compared with a reading of their own."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from stress.attempts import Outcome, plain, random_of, refusal, tlaam
from stress.mutate import BYTES, Random, mangled_line
from stress.special_files import make_special
from tlaam.data.open import open_dataset

_HEADER = "image,label,decision,new_label,data"
_CLASSES = ("crow", 'jay, "blue"', "=wren")
_SPECIAL = ("pipe", "endless device", "link loop", "folder", "sparse gigabytes", "no rights", "absent")

Row = tuple[str, str, str]
"""Image, label and split."""


class _Prepared(NamedTuple):
    data: Path
    rows: tuple[Row, ...]
    fingerprint: str
    content: dict[str, bytes]


class _Made(NamedTuple):
    kind: str
    content: bytes
    accepted: bool | None = None
    """Whether it has to be; None where that is not known."""


def _escaped(cell: str) -> str:
    cell = f"'{cell}" if cell.startswith(tuple("=+-@'")) else cell
    return '"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\n') else cell


def _table(found: _Prepared, *changes: tuple[int, int, str], end: str = "\n") -> str:
    """Return decisions on the first eight images, with cells (row, column) changed."""
    rows = []
    for place, (image, label, _) in enumerate(found.rows[:8]):
        decision = ("keep", "relabel", "remove", "unsure")[place % 4]
        other = _CLASSES[(_CLASSES.index(label) + 1) % 3] if decision == "relabel" else ""
        rows.append([image, label, decision, other, found.fingerprint])
    for row, column, text in changes:
        rows[row][column] = text
    return end.join([_HEADER, *(",".join(map(_escaped, row)) for row in rows)]) + end


def _with(*changes: tuple[int, int, str]) -> Callable[[_Prepared], bytes]:
    return lambda found: _table(found, *changes).encode("utf-8", "surrogateescape")


FORMS: dict[str, tuple[Callable[[_Prepared], bytes], bool | None]] = {
    "as downloaded": (_with(), True),
    "byte order mark": (lambda f: b"\xef\xbb\xbf" + _table(f).encode(), True),
    "carriage returns": (lambda f: _table(f, end="\r\n").encode(), True),
    "twice the same": (lambda f: (_table(f) + _table(f).split("\n", 1)[1]).encode(), True),
    "header alone": (lambda f: f"{_HEADER}\n".encode(), True),
    "other data": (_with((3, 4, "0" * 16)), False),
    "other label": (_with((0, 1, "=wren")), False),
    "unknown image": (_with((2, 0, "../../etc/passwd")), False),
    "endless image": (_with((2, 0, "x" * 200_000)), False),
    "unknown decision": (_with((0, 2, "delete")), False),
    "decision in upper case": (_with((0, 2, "KEEP")), False),
    "relabelled to nothing": (_with((1, 3, "")), False),
    "relabelled to what there is not": (_with((1, 3, "crwo")), False),
    "kept with a new label": (_with((0, 3, "crow")), False),
    "code for terminals": (_with((0, 0, "\x1b[2J\x1b]0;x\x07.png")), False),
    "line break in a cell": (_with((0, 2, "ke\nep")), False),
    "contradiction": (lambda f: (_table(f) + _table(f, (0, 2, "remove")).split("\n", 2)[1] + "\n").encode(), False),
    "all removed": (lambda f: _all_removed(f).encode(), False),
    "missing column": (lambda f: _table(f).replace(",data", "", 1).encode(), False),
    "columns in another order": (lambda f: _table(f).replace("image,label", "label,image", 1).encode(), False),
    "semicolons": (lambda f: _table(f).replace(",", ";").encode(), False),
    "open quote": (lambda f: (_table(f) + '"').encode(), False),
    "endless line": (lambda f: _HEADER.encode() + b"\n" + b"x" * 3_000_000, False),
    "zero bytes": (lambda f: bytes(5000), False),
    "not UTF-8": (lambda f: _table(f).encode("utf-16"), False),
    "empty": (lambda f: b"", False),
    "a picture": (lambda f: f.content["photos/0.png"], False),
}
"""Files of a known form, each with whether it has to be accepted."""


def _all_removed(found: _Prepared) -> str:
    rows = [[image, label, "remove", "", found.fingerprint] for image, label, _ in found.rows]
    return "\n".join([_HEADER, *(",".join(map(_escaped, row)) for row in rows)]) + "\n"


class Decisions:
    """See the module."""

    name = "decisions"
    attempts = 1000
    batch = 8
    seconds = 10.0
    megabytes = 1500

    def prepare(self, folder: Path) -> Any:
        """Make a data set of nine photographs."""
        folder = folder.resolve()
        (folder / "photos").mkdir()
        rows = [
            (
                f"photos/{'=' if number == 4 else ''}{number}.png",
                _CLASSES[number % 3],
                "test" if number > 6 else "train",
            )
            for number in range(9)
        ]
        for number, (image, _, _) in enumerate(rows):
            Image.new("RGB", (20, 20), (9 * number, 0, 0)).save(folder / image)
        data = folder / "all.csv"
        with data.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("image", "label", "split"), *rows])
        return _Prepared(data, tuple(rows), open_dataset(data).fingerprint(), _content(folder))

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Apply each, and look at what was written and at the data."""
        outcomes = []
        for number in numbers:
            place = folder.resolve() / str(number)
            place.mkdir()
            outcomes.append(_attempt(random_of(seed, self.name, number), prepared, place, folder / "kind"))
        return outcomes


def _content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _attempt(random: Random, found: _Prepared, place: Path, note: Path) -> Outcome:
    path, out = place / "decisions.csv", place / "cleaned.csv"
    made = _made(random, found, path)
    note.write_text(made.kind)
    if made.content or (not path.is_symlink() and not path.exists() and made.kind != "no decisions: absent"):
        path.write_bytes(made.content)
    said, crash = refusal(lambda: tlaam("clean", found.data, "--apply", path, "--manifest", out), made.kind)
    if crash is not None:
        return crash
    if _content(found.data.parent) != found.content:
        return Outcome(made.kind, "wrong", "the data were changed")
    if left := sorted(each.name for each in place.iterdir() if each not in (path, out)):
        return Outcome(made.kind, "wrong", f"{left} are left over")
    expected = None if made.kind.startswith("no decisions") else _expected(found, path.read_bytes())
    if said.code:
        if out.exists():
            return Outcome(made.kind, "wrong", f"refused, but written: {said.err[:300]}")
        if made.accepted:
            return Outcome(made.kind, "wrong", f"refused: {said.err[:300]}")
        named = plain(str(path)) in plain(said.err)
        fair = named and len(said.err.splitlines()) == 1 and len(said.err) < 2000 and said.err[:-1].isprintable()
        return Outcome(made.kind, "refused" if fair else "unnamed", said.err[:300])
    if made.accepted is False or expected is None:
        return Outcome(made.kind, "wrong", f"accepted: {said.out[:300]}")
    images = open_dataset(out)
    home = f"{found.data.parent}/"
    rows = {(s.name.removeprefix(home), images.classes[s.label], s.split) for s in images.samples}
    if rows != set(expected) or len(images.samples) != len(expected):
        return Outcome(made.kind, "wrong", f"{sorted(rows ^ set(expected))[:3]}")
    return Outcome(made.kind, "right")


def _made(random: Random, found: _Prepared, path: Path) -> _Made:
    way = random.random()
    if way < 0.06:
        kind = str(random.choice(_SPECIAL))
        make_special(path, kind)
        return _Made(f"no decisions: {kind}", b"", False)
    if way < 0.4:
        form = str(random.choice(list(FORMS)))
        content, accepted = FORMS[form]
        return _Made(form, content(found), accepted)
    if way < 0.7:
        text = _table(found)
        for _ in range(int(random.integers(1, 4))):
            text = mangled_line(text, random)
        return _Made("mangled lines", text.encode("utf-8", "surrogateescape"))
    how = str(random.choice(list(BYTES)))
    return _Made(how, BYTES[how](_table(found).encode(), random))


def _expected(found: _Prepared, content: bytes) -> list[Row] | None:
    """Return the rows that decisions leave, by a reading of its own; None where they are none of this data."""
    try:
        table = cells_of(content.decode("utf-8").removeprefix("\ufeff"))
    except ValueError:
        return None
    if not table or ",".join(table[0]) != _HEADER:
        return None
    labels = {image: label for image, label, _ in found.rows}
    decided: dict[str, tuple[str, str]] = {}
    for row in table[1:]:
        cells = [cell[1:] if cell[:1] == "'" and cell[1:2] in set("=+-@\t\r'") else cell for cell in row]
        if len(cells) != 5 or cells[4] != found.fingerprint or labels.get(cells[0]) != cells[1]:
            return None
        image, decision, other = cells[0], cells[2], cells[3]
        if decision == "relabel":
            if other not in _CLASSES:
                return None
        elif decision not in ("keep", "remove", "unsure") or other:
            return None
        if decided.setdefault(image, (decision, other)) != (decision, other):
            return None
    left = []
    for image, label, split in found.rows:
        decision, other = decided.get(image, ("keep", ""))
        if decision != "remove":
            left.append((image, other or label, split))
    trained = {label for _, label, split in left if split == "train"}
    return left if len(trained) > 1 and {label for _, label, _ in left} <= trained else None


def cells_of(text: str) -> list[list[str]]:
    """Read a table by RFC 4180, character by character, without lines that are empty.

    Raises:
        ValueError: a quoted cell does not end, or goes on behind its quotes.
    """
    rows: list[list[str]] = []
    stream = io.StringIO(text.replace("\r\n", "\n").replace("\r", "\n"), newline="")
    row: list[str] = []
    while (letter := stream.read(1)) or row:
        if letter == '"':
            cell = ""
            while True:
                letter = stream.read(1)
                if not letter:
                    raise ValueError("a quoted cell does not end")
                if letter == '"' and (letter := stream.read(1)) != '"':
                    break
                cell += letter
        else:
            cell = ""
            while letter not in ("", ",", "\n"):
                cell += letter
                letter = stream.read(1)
        if letter not in ("", ",", "\n"):
            raise ValueError("a quoted cell goes on behind its quotes")
        row.append(cell)
        if letter != ",":
            rows.append(row)
            row = []
        elif stream.tell() == len(stream.getvalue()):
            rows.append([*row, ""])
            row = []
    return [row for row in rows if row != [""]]
