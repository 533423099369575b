"""Damaged files of label tools, whose labels and boxes must never slip to another image.

COCO JSON, iNaturalist's, Label Studio's and CVAT's files are read a second time here, in few lines and without mercy:
what the product accepts must be what these say. Of YOLO's folders only the ending is judged. Values of a document are
replaced by hostile ones, and bytes of its file are damaged.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from PIL import Image

from stress.attempts import Outcome, checked, random_of, refusal
from stress.mutate import BYTES, Random, mangled_line
from stress.special_files import make_special
from tlaam.data.names import clean_name
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample

Entries = set[tuple[str, str, tuple[float, ...] | None]]
"""File without folder and ending, label, and box to a thousandth of a pixel."""

_SIZE = (40, 30)
_COUNT = 6
_CLASSES = ("crow", "jay")
_FILES = [f"{number}.jpg" for number in range(_COUNT)]


def _coco(random: Random) -> Any:
    numbers = range(_COUNT)
    return {
        "info": {"year": 2024},
        "images": [{"id": n, "file_name": _FILES[n], "width": 40, "height": 30, "seq_id": f"s{n}"} for n in numbers],
        "annotations": [
            {"id": n, "image_id": n, "category_id": n % 2, "bbox": [n, 2, 9.5, 8], "iscrowd": 0, "segmentation": []}
            for n in numbers
        ],
        "categories": [{"id": n, "name": name, "supercategory": "bird"} for n, name in enumerate(_CLASSES)],
    }


def _inaturalist(random: Random) -> Any:
    document = _coco(random)
    for annotation in document["annotations"]:
        del annotation["bbox"], annotation["iscrowd"], annotation["segmentation"]
    return document


def _coco_again(content: bytes) -> Entries:
    document = json.loads(content)
    names = {_key(each["id"]): clean_name(str(each["name"])) for each in document["categories"]}
    found: Entries = set()
    for image in document["images"]:
        mine = [each for each in document.get("annotations", []) if _key(each["image_id"]) == _key(image["id"])]
        labels = {names[_key(each["category_id"])] for each in mine}
        if labels:
            (label,) = labels
            box = mine[0].get("bbox") or None
            is_one = len(mine) == 1 and box and float(mine[0].get("iscrowd") or 0) == 0
            x, y, width, height = map(float, box) if is_one else (0, 0, 0, 0)
            found.add(_entry(image["file_name"], label, (x, y, x + width, y + height) if is_one else None))
    return found


def _label_studio(random: Random) -> Any:
    value = {"x": 25, "y": 50, "width": 40, "height": 40, "rotation": 0, "rectanglelabels": ["bird"]}
    return [
        {
            "id": n, "data": {"image": f"/data/upload/1/0123abcd-{_FILES[n]}"}, "predictions": [],
            "annotations": [{"id": n, "was_cancelled": False, "ground_truth": False, "result": [
                {"id": "a", "type": "choices", "from_name": "species", "value": {"choices": [_CLASSES[n % 2]]}},
                {"id": "b", "type": "rectanglelabels", "from_name": "box", "value": dict(value)},
            ]}],
        }
        for n in range(_COUNT)
    ]  # fmt: skip


def _label_studio_again(content: bytes) -> Entries:
    found: Entries = set()
    for task in json.loads(content):
        given = task.get("annotations", task.get("completions", []))
        given = [each for each in given if not each.get("was_cancelled")]
        given = [each for each in given if each.get("ground_truth") is True] or given
        tags: set[str] = set()
        of_each: list[list[tuple[float, ...] | None]] = []
        for each in given:
            boxes: dict[str, tuple[float, ...] | None] = {}
            for number, result in enumerate(each.get("result", [])):
                value = result.get("value")
                if not isinstance(value, dict):
                    continue
                if "choices" in value and "x" not in value:
                    names = value["choices"] if isinstance(value["choices"], list) else [value["choices"]]
                    tags |= {clean_name(str(name)) for name in names}
                elif value.get("rectanglelabels"):
                    boxes[str(result.get("id", number))] = _rectangle(value)
            if boxes and list(boxes.values()) not in of_each:
                of_each.append(list(boxes.values()))
        if tags:
            (label,) = tags
            way, _, file = str(task["data"]["image"]).rpartition("/")
            if way.startswith("/data/upload"):  # where the tool gives names a prefix
                file = file.removeprefix("0123abcd-")
            found.add(_entry(file, label, of_each[0][0] if len(of_each) == 1 == len(of_each[0]) else None))
    return found


def _rectangle(value: dict[str, Any]) -> tuple[float, ...] | None:
    known = [value.get(name) for name in ("x", "y", "width", "height")]
    if None in known or float(value.get("rotation") or 0) != 0:
        return None
    x, y, width, height = (float(each) / 100 for each in known if each is not None)
    return x * 40, y * 30, (x + width) * 40, (y + height) * 30


def _cvat(random: Random) -> str:
    images = [
        f'<image id="{n}" name="{_FILES[n]}" width="40" height="30">\n'
        f'<box label="{_CLASSES[n % 2]}" xtl="{n}.0" ytl="2" xbr="20.50" ybr="18" z_order="0"/>\n</image>\n'
        for n in range(_COUNT)
    ]
    return f'<?xml version="1.0"?>\n<annotations>\n<version>1.1</version>\n{"".join(images)}</annotations>\n'


def _cvat_again(content: bytes) -> Entries:
    found: Entries = set()
    images = ElementTree.fromstring(content).findall("image")
    has_tags = any(image.find("tag") is not None for image in images)
    for image in images:
        shapes = [each for each in image if each.tag in ("box", "polygon", "points")]
        labels = {clean_name(each.attrib["label"]) for each in (image.findall("tag") if has_tags else shapes)}
        if labels:
            (label,) = labels
            box = None
            if len(shapes) == 1 and shapes[0].tag == "box":
                box = tuple(float(shapes[0].attrib[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
            found.add(_entry(image.attrib["name"], label, box))
    return found


def _key(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _entry(file: str, label: str, box: Sequence[float] | None) -> tuple[str, str, tuple[float, ...] | None]:
    stem = clean_name(file.replace("\\", "/").rpartition("/")[2]).removesuffix(".jpg").casefold()
    return stem, label, None if box is None else tuple(round(value, 3) for value in box)


_HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3.0, 2**70, 1e300, float("nan"), float("inf")),
    *("", " ", "0", "1", "nan", "jay", "x" * 5000, "9" * 5000, "\ud800", "\0", "\u200bcrow", "train"),
    *("../0.jpg", "..\\0.jpg", "/etc/hostname", "0.JPG", "photos/0.jpg", "http://[", "https://a/0.jpg"),
    "data:image/png;base64,AA",
    *([], {}, [[]], [None], ["crow"], ["crow", "jay"], {"choices": ["jay"]}, {"x": 1}),
    *([1, 2, 3], [1, 2, 3, 4], [0, 0, 0, 0], ["1", "2", "3", "4"], [1, 2, float("nan"), 4], [-5, -5, 90, 90]),
)


def _replaced(document: Any, random: Random) -> Any:
    """Replace, remove, double or exchange a value anywhere in a document."""
    holders: list[Any] = []
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, (dict, list)) and value:
            holders.append(value)
            pending += value.values() if isinstance(value, dict) else value
    holder = holders[int(random.integers(len(holders)))] if holders else [document]
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key, other = (keys[int(random.integers(len(keys)))] for _ in range(2))
    way = int(random.integers(6))
    if way == 0:
        del holder[key]
    elif way == 1:
        holder[key], holder[other] = holder[other], holder[key]
    elif way == 2 and isinstance(holder, list):
        holder.append(json.loads(json.dumps(holder[key])))
    else:
        holder[key] = _HOSTILE[int(random.integers(len(_HOSTILE)))]
    return document


_EVIL = (
    b"[" * 200_000,
    b"{\"images\":" * 50_000,
    b"{\"images\": [{\"id\": " + b"9" * 6000 + b"}]}",
    b"<annotations>" + b"<image>" * 100_000,
    b"<!DOCTYPE a [<!ENTITY b '" + b"x" * 1000 + b"'>]><annotations>" + b"&b;" * 1000 + b"</annotations>",
    b"<?xml version='1.0' encoding='utf-99'?><annotations/>",
    b"\xff\xfe{\x00",
    bytes(3000),
    b"",
)  # fmt: skip
_ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32-le")

_FORMS: dict[str, tuple[str, Callable[[Random], Any], Callable[[bytes], Entries] | None]] = {
    "COCO": ("annotations.json", _coco, _coco_again),
    "iNaturalist": ("train2021.json", _inaturalist, _coco_again),
    "Label Studio": ("export.json", _label_studio, _label_studio_again),
    "CVAT": ("annotations.xml", _cvat, _cvat_again),
    "YOLO": ("labels/0.txt", lambda random: "0 0.5 0.5 0.2 0.2\n0 0.4 0.4 0.1 0.1\n", None),
    "YOLO's names": ("data.yaml", lambda random: "train: images\nnames:\n  0: crow\n  1: jay\n", None),
}


def written_seeds(reader: str, random: Random) -> list[bytes]:
    """Return good files of a reader, by the name that `stress.fuzz` gives it, to begin with."""
    names = {"coco": ("COCO", "iNaturalist"), "label-studio": ("Label Studio",), "cvat": ("CVAT",)}[reader]
    documents = [_FORMS[name][1](random) for name in names]
    return [(each if isinstance(each, str) else json.dumps(each)).encode() for each in documents]


class Annotations:
    """See the module."""

    name = "annotations"
    attempts = 2000
    batch = 16
    seconds = 10.0
    megabytes = 1500

    def prepare(self, folder: Path) -> Any:
        """Make the photographs."""
        for number, file in enumerate(_FILES):
            Image.new("RGB", _SIZE, (40 * number, 99, 20)).save(folder / file)
        return folder

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Damage one file for each, open it, also as crops, and check it."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            name = str(random.choice(list(_FORMS)))
            home = folder / str(number)
            photographs = home / "images" if name.startswith("YOLO") else home
            photographs.mkdir(parents=True)
            for file in _FILES:
                os.link(prepared / file, photographs / file)
            if name.startswith("YOLO"):
                (home / "labels").mkdir()
                (home / "data.yaml").write_text(str(_FORMS["YOLO's names"][1](random)))
                for place, file in enumerate(_FILES):
                    (home / "labels" / file.replace(".jpg", ".txt")).write_text(f"{place % 2} 0.5 0.5 0.4 0.4\n")
            outcomes.append(_attempt(random, name, home, folder / "kind"))
        return outcomes


def _attempt(random: Random, name: str, home: Path, note: Path) -> Outcome:
    file, make, again = _FORMS[name]
    path, document, way = home / file, make(random), random.random()
    is_json = not isinstance(document, str)
    path.unlink(missing_ok=True)
    if way < 0.05:
        kind = str(random.choice(["pipe", "endless device", "folder", "sparse gigabytes"]))
        make_special(path, kind)
    elif way < 0.12:
        kind = "evil text"
        path.write_bytes(_EVIL[int(random.integers(len(_EVIL)))])
    elif is_json and way < 0.75:
        kind = "hostile values"
        for _ in range(int(random.integers(0, 4))):
            document = _replaced(document, random)
        text = json.dumps(document, indent=1, ensure_ascii=bool(random.integers(2)))
        path.write_bytes(text.encode(str(random.choice(_ENCODINGS)), "surrogatepass"))
    elif way < 0.8:
        kind, text = "mangled lines", json.dumps(document, indent=0) if is_json else document
        for _ in range(int(random.integers(1, 3))):
            text = mangled_line(text, random)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    else:
        kind = str(random.choice(list(BYTES)))
        path.write_bytes(BYTES[kind]((json.dumps(document) if is_json else document).encode(), random))
    kind = f"{name}, {kind}"
    note.write_text(kind)
    given = path if not name.startswith("YOLO") and random.integers(2) else home
    images, outcome = refusal(lambda: open_dataset(given), kind, path, home)
    if outcome is None:
        outcome = _compared(kind, images, path, again)
    if outcome.ending not in ("right", "refused"):
        return outcome
    images, crash = refusal(lambda: open_dataset(f"{given}:crops=1"), kind, path, home)
    if crash is not None and crash.ending != "refused":
        return crash
    return checked(given, home, kind) or outcome


def _is_photograph(sample: Sample) -> bool:
    return sample.path.name in _FILES and os.path.isfile(sample.file)  # noqa: PTH113 (a NUL is no error)


def _compared(kind: str, images: LabelledImages, path: Path, again: Callable[[bytes], Entries] | None) -> Outcome:
    """Compare what was opened with the other reading."""
    if again is None:
        return Outcome(kind, "right")
    found = {_entry(sample.name, images.classes[sample.label], sample.box) for sample in images.samples}
    try:
        wanted = again(path.read_bytes())
    except Exception as error:
        return Outcome(kind, "wrong", f"accepted what is no such file: {error!r:.200}")
    lost = {  # of which no size is known
        _entry(s.name, images.classes[s.label], None)[:2]
        for s in images.samples
        if images.kind == "label-studio" and not _is_photograph(s)
    }
    wanted = {(stem, label, None if (stem, label) in lost else box) for stem, label, box in wanted}
    if found != wanted:
        return Outcome(kind, "wrong", f"{sorted(map(str, found ^ wanted))[:3]}")
    return Outcome(kind, "right")
