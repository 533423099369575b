"""Mutated manifests, opened, checked and predicted from, and compared with a reading of their own."""

from __future__ import annotations

import codecs
import csv
import io
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from stress.attempts import Outcome, judged_refusal, plain, random_of, refusal, tlaam
from stress.colours import write_model
from stress.mutate import BYTES, Random, mangled_line
from stress.special_files import make_special
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages

_SPLITS = ("train", "val", "test")
_BOX = ("x_min", "y_min", "x_max", "y_max")
_COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200)}


class Row(NamedTuple):
    """What a line says of an image."""

    image: str
    label: str
    split: str
    box: tuple[float, ...] | None


class _Made(NamedTuple):
    kind: str
    content: bytes
    accepted: bool | None = None
    """Whether it has to be; None where that is not known."""


def _table(delimiter: str = ",", end: str = "\n", columns: str = "image label split x_min y_min x_max y_max") -> str:
    lines = [delimiter.join(columns.split())]
    for number in range(9):
        label = list(_COLOURS)[number % 3]
        split = _SPLITS[0] if number < 6 else _SPLITS[1 + number % 2]
        cells = {
            "image": f"photos/{number}.png", "label": label, "split": split, "x_min": "2", "y_min": "3.5",
            "x_max": f"{20 + number}", "y_max": "18",
        }  # fmt: skip
        lines.append(delimiter.join(cells.get(column.lower(), "x") for column in columns.split()))
    return end.join(lines) + end


def _with_cell(column: int, text: str, row: int = 2) -> bytes:
    lines = [line.split(",") for line in _table().splitlines()]
    lines[row][column] = text
    return "\n".join(map(",".join, lines)).encode("utf-8", "surrogateescape") + b"\n"


_NO_NUMBERS = ("nan", "inf", "-inf", "x", "1e999", "0x10")

FORMS: dict[str, Callable[[Random, Path], tuple[bytes, bool | None]]] = {
    "byte-order mark": lambda r, f: (codecs.BOM_UTF8 + _table().encode(), True),
    "UTF-16": lambda r, f: (_table().encode("utf-16"), True),
    "UTF-16 cut off": lambda r, f: (_table().encode("utf-16")[:-1], False),
    "UTF-32": lambda r, f: (_table().encode("utf-32"), None),
    "Latin-1": lambda r, f: (_table().replace("red", "ré").encode("latin-1"), False),
    "CRLF": lambda r, f: (_table(end="\r\n").encode(), True),
    "CR": lambda r, f: (_table(end="\r").encode(), True),
    "no last line end": lambda r, f: (_table().rstrip("\n").encode(), True),
    "semicolons": lambda r, f: (_table(";").encode(), True),
    "tabs": lambda r, f: (_table("\t").encode(), True),
    "mixed delimiters": lambda r, f: (_table().replace(",", ";", 4).encode(), None),
    "missing column": lambda r, f: (_table(columns="image split").encode(), False),
    "missing box column": lambda r, f: (_table(columns="image label x_min y_min x_max").encode(), False),
    "doubled column": lambda r, f: (_table(columns="image label label split").encode(), False),
    "misnamed column": lambda r, f: (_table(columns="image labels split").encode(), False),
    "another order": lambda r, f: (_table(columns="y_max split label image x_min y_min x_max note").encode(), True),
    "upper case": lambda r, f: (_table(columns="IMAGE Label SPLIT").encode(), True),
    "absolute path": lambda r, f: (_with_cell(0, str(f / "photos" / "1.png")), None),
    "escaping path": lambda r, f: (_with_cell(0, "../../../../etc/hostname"), None),
    "path with zero byte": lambda r, f: (_with_cell(0, "photos/\0.png"), None),
    "path that is no text": lambda r, f: (_with_cell(0, "photos/\udcff.png"), False),
    "path of a device": lambda r, f: (_with_cell(0, "/dev/zero"), None),
    "endless path": lambda r, f: (_with_cell(0, "a/" * 40_000 + ".png"), None),
    "path through dots": lambda r, f: (_with_cell(0, "photos/../photos/./7.png"), None),
    "box inside out": lambda r, f: (_with_cell(5, "1"), False),
    "box without area": lambda r, f: (_with_cell(5, "2"), False),
    "box of no numbers": lambda r, f: (_with_cell(3, str(r.choice(_NO_NUMBERS))), False),
    "box of three numbers": lambda r, f: (_with_cell(4, ""), False),
    "box beyond the image": lambda r, f: (_with_cell(5, "99999999999"), True),
    "unknown split": lambda r, f: (_with_cell(2, "trian"), False),
    "empty label": lambda r, f: (_with_cell(1, "  "), False),
    "label unseen in training": lambda r, f: (_with_cell(1, "grey", row=8), False),
    "endless label": lambda r, f: (_with_cell(1, "x" * 200_000), None),
    "endless header": lambda r, f: (b"image,label," + b"x" * 200_000 + b"\n" + _table().encode(), False),
    "endless line": lambda r, f: (b"image,label\n" + b"x" * 3_000_000, False),
    "many columns": lambda r, f: (("image,label" + "".join(f",c{i}" for i in range(9999)) + "\na,b\n").encode(), None),
    "open quote": lambda r, f: (_with_cell(1, '"red'), None),
    "quote in the header": lambda r, f: (b'"image,label\n' + _table().encode(), False),
    "line break in a cell": lambda r, f: (_with_cell(1, '"re\nd"'), None),
    "zero bytes": lambda r, f: (bytes(5000), False),
    "empty": lambda r, f: (b"", False),
    "header alone": lambda r, f: (_table().splitlines()[0].encode(), False),
    "twice the same": lambda r, f: ((_table() + _table().split("\n", 1)[1]).encode(), True),
    "one image, two labels": lambda r, f: ((_table() + "photos/0.png,blue,train,,,,\n").encode(), False),
    "one class": lambda r, f: (_table().replace("green", "red").replace("blue", "red").encode(), False),
    "formula": lambda r, f: (_with_cell(1, "=cmd|' /C calc'!A0"), None),
}  # fmt: skip
"""Manifests of a known form, each with whether it has to be accepted."""

_SPECIAL = ("pipe", "endless device", "link loop", "folder", "sparse gigabytes", "no rights")


class Manifests:
    """See the module."""

    name = "manifests"
    attempts = 1000
    batch = 8
    seconds = 10.0
    megabytes = 1500

    def prepare(self, folder: Path) -> Any:
        """Make the images that manifests name, and a model."""
        (folder / "photos").mkdir()
        for number in range(9):
            colour = list(_COLOURS.values())[number % 3]
            Image.new("RGB", (40, 30), (*colour[:2], colour[2] + number)).save(folder / "photos" / f"{number}.png")
        return folder / "photos", write_model(folder / "model.onnx", ("red", "green", "blue"))

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Open, check and predict from each."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            place = folder / str(number)
            place.mkdir()
            (place / "photos").symlink_to(prepared[0])
            outcomes.append(_attempt(random, place, folder / "kind", prepared[1]))
        return outcomes


def _attempt(random: Random, place: Path, note: Path, model: Path) -> Outcome:
    path = place / "manifest.csv"
    way = random.random()
    if way < 0.06:
        kind = str(random.choice(_SPECIAL))
        make_special(path, kind)
        made = _Made(f"no manifest: {kind}", b"", False)
    elif way < 0.5:
        form = str(random.choice(list(FORMS)))
        content, accepted = FORMS[form](random, place)
        made = _Made(form, content, accepted)
    elif way < 0.75:
        text = _table(str(random.choice([",", ";", "\t"])))
        for _ in range(int(random.integers(1, 4))):
            text = mangled_line(text, random)
        made = _Made("mangled lines", text.encode("utf-8", "surrogateescape"))
    else:
        how = str(random.choice(list(BYTES)))
        made = _Made(how, BYTES[how](_table().encode(), random))
    note.write_text(made.kind)
    if made.content or (not path.is_symlink() and not path.exists()):
        path.write_bytes(made.content)
    opened, outcome = refusal(lambda: open_dataset(path), made.kind, path, place)
    expected = None if made.kind.startswith("no manifest") else rows_of(path.read_bytes())
    if outcome is None:
        outcome = _compared(made, opened, expected)
    elif outcome.ending == "refused" and made.accepted:
        outcome = Outcome(made.kind, "wrong", f"refused: {outcome.detail}")
    if outcome.ending not in ("right", "refused"):
        return outcome
    return _commands(made, path, place, model) or outcome


def rows_of(content: bytes) -> list[Row] | None:
    """Read a manifest in another way than the product: all at once. None where it is no table of images and labels."""
    try:
        utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        text = content.decode("utf-16" if utf16 else "utf-8-sig")
        head = io.StringIO(text, newline="").readline()
        known = ("image", "label", "split", *_BOX)
        delimiter = max(",;\t", key=lambda d: (sum(h.strip().lower() in known for h in head.split(d)), head.count(d)))
        table = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except (UnicodeError, csv.Error):
        return None
    header = [name.strip().lower() for name in table[0]] if table else []
    if "image" not in header or "label" not in header:
        return None
    if "split" not in header:  # a column that holds nothing but names of splits is one, whatever it is called
        for place, name in enumerate(header):
            values = {cells[place].strip().lower() for cells in table[1:] if len(cells) > place}
            if values and values <= set(_SPLITS):
                header[header.index(name)] = "split"
                break
    rows = []
    for cells in table[1:]:
        entry = dict(zip(header, [*cells, *[""] * len(header)], strict=False))
        numbers = [entry.get(name, "").strip() for name in _BOX]
        try:
            box = tuple(map(float, numbers)) if any(numbers) else None
        except ValueError:
            box = (math.nan,) * 4
        rows.append(Row(entry["image"].strip(), entry["label"].strip(), entry.get("split", "").strip().lower(), box))
    return rows


def _compared(made: _Made, images: LabelledImages, expected: list[Row] | None) -> Outcome:
    """Compare what was opened with the other reading, row for row."""
    if made.accepted is False:
        return Outcome(made.kind, "wrong", "accepted")
    if expected is None:
        return Outcome(made.kind, "wrong", "accepted what is no manifest")
    root = images.root.parent
    names = {"": "train", "training": "train", "validation": "val", "valid": "val", "dev": "val", "testing": "test"}
    wanted = {(str(root / row.image), row.label, names.get(row.split, row.split), row.box) for row in expected}
    # The product keeps one of several spellings of a path, so that paths are compared as they lead; a name without an
    # ending, or in other letters' case, is that of the one image that differs in nothing else.
    wanted = {(_on_the_disk(os.path.normpath(path)), *rest) for path, *rest in wanted}
    found = {(os.path.normpath(s.path), images.classes[s.label], s.split, s.box) for s in images.samples}
    if found != wanted:
        return Outcome(made.kind, "wrong", f"{sorted(map(str, found ^ wanted))[:3]}")
    return Outcome(made.kind, "right")


def _on_the_disk(path: str) -> str:
    if os.path.lexists(path) or not os.path.isdir(folder := os.path.dirname(path)):  # noqa: PTH112, PTH120 (NULs)
        return path
    meant = os.path.basename(path).casefold()  # noqa: PTH119
    alike = [name for name in os.listdir(folder) if name.casefold() in (meant, meant + ".png")]  # noqa: PTH208
    return os.path.join(folder, alike[0]) if len(alike) == 1 else path  # noqa: PTH118


def _commands(made: _Made, path: Path, place: Path, model: Path) -> Outcome | None:
    """Run the commands that take a manifest; return an outcome where one of them ends badly."""
    for arguments in (["check", path], ["predict", model, path]):
        said, crash = refusal(lambda arguments=arguments: tlaam(*arguments, "--json", "-"), made.kind)
        if crash is not None:
            return crash
        if arguments[0] == "check" and made.accepted and said.code != 0:
            report = json.loads(said.out)
            if report["refusal"] is not None or report["counts"]["unreadable"]:
                return Outcome(made.kind, "wrong", f"the check finds {said.out[:300]}")
        if not said.out:
            named = plain(str(place)) in plain(said.err)
            if said.code == 0 or not named or len(said.err.splitlines()) != 1:
                return Outcome(made.kind, "unnamed", f"{arguments[0]}: {said.code} {said.err[:300]}")
        elif arguments[0] == "predict":
            for line in said.out.splitlines():
                row = json.loads(line)
                if row["error"] and judged_refusal(made.kind, row["error"], row["path"]).ending != "refused":
                    return Outcome(made.kind, "unnamed", row["error"][:300])
    return None
