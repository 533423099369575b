"""Damaged lists of public data sets, whose labels must never slip to a neighbour.

The lists of CUB-200-2011, FGVC-Aircraft and Stanford Cars are read a second time here, in few lines and without mercy:
what the product accepts must be what these say. Of the other data sets only the ending is judged.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stress.attempts import Outcome, checked, random_of, refusal
from stress.mutate import BYTES, Random, mangled_line
from stress.special_files import make_special
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages

Entries = dict[str, tuple[str, str, tuple[float, ...] | None]]
"""Label, split and box by the path of the image below the data set's folder."""

_COUNT = 12
_CLASSES = ("crow", "jay", "wren")


def _picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (60, 50), (20 * number, 250 - 20 * number, 99)).save(path)


def _lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def _cub(home: Path) -> list[str]:
    names = [f"{number % 3 + 1:03d}.{_CLASSES[number % 3]}" for number in range(_COUNT)]
    numbers = range(_COUNT)
    _lines(home / "images.txt", [f"{n + 1} {names[n]}/{n}.jpg" for n in numbers])
    _lines(home / "image_class_labels.txt", [f"{n + 1} {n % 3 + 1}" for n in numbers])
    _lines(home / "train_test_split.txt", [f"{n + 1} {int(n < 9)}" for n in numbers])
    _lines(home / "bounding_boxes.txt", [f"{n + 1} {n}.0 2.0 20.0 {10 + n}.0" for n in numbers])
    _lines(home / "classes.txt", [f"{n + 1} {n + 1:03d}.{name}" for n, name in enumerate(_CLASSES)])
    _lines(home / "parts" / "part_locs.txt", [f"{n + 1} {p} {n}.5 4.0 {p % 2}" for n in numbers for p in (1, 2)])
    for n in numbers:
        _picture(home / "images" / names[n] / f"{n}.jpg", n)
    return [
        "images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt",
        "parts/part_locs.txt",
    ]  # fmt: skip


def _pairs(path: Path) -> dict[str, str]:
    """Return the rest of each line by its first word; a word twice is the caller's to find odd."""
    if not path.exists():
        return {}
    rows = [line.split(maxsplit=1) for line in path.read_text("utf-8-sig").split("\n") if line.strip()]
    return {first: rest.strip() for first, rest in rows}


def _cub_again(home: Path) -> Entries:
    files, labels, splits = (_pairs(home / f"{n}.txt") for n in ("images", "image_class_labels", "train_test_split"))
    boxes, names = _pairs(home / "bounding_boxes.txt"), _pairs(home / "classes.txt")
    by_number = {int(number): name for number, name in names.items()}
    entries: Entries = {}
    boxes, labels, splits = ({int(key): value for key, value in each.items()} for each in (boxes, labels, splits))
    for key, file in files.items():
        number = int(key)
        box = None
        if number in boxes:
            x, y, width, height = map(float, boxes[number].split())
            box = (x, y, x + width, y + height)
        entries[f"images/{file}"] = by_number[int(labels[number])], {"1": "train", "0": "test"}[splits[number]], box
    return entries


def _aircraft(home: Path) -> list[str]:
    data = home / "data"
    _lines(data / "variants.txt", _CLASSES)
    for split, numbers in {"train": range(6), "val": range(6, 9), "test": range(9, _COUNT)}.items():
        _lines(data / f"images_variant_{split}.txt", [f"{n:07d} {_CLASSES[n % 3]}" for n in numbers])
    _lines(data / "images_box.txt", [f"{n:07d} {n} 2 40 {20 + n}" for n in range(_COUNT)])
    for n in range(_COUNT):
        _picture(data / "images" / f"{n:07d}.jpg", n)
    return ["data/variants.txt", "data/images_variant_train.txt", "data/images_variant_val.txt",
            "data/images_variant_test.txt", "data/images_box.txt"]  # fmt: skip


def _aircraft_again(home: Path) -> Entries:
    boxes, entries = _pairs(home / "data" / "images_box.txt"), Entries()
    for split in ("train", "val", "test"):
        for image, label in _pairs(home / "data" / f"images_variant_{split}.txt").items():
            box = None
            if image in boxes:
                x0, y0, x1, y1 = map(float, boxes[image].split())
                box = (x0, y0, x1 + 1, y1 + 1)
            entries[f"data/images/{image}.jpg"] = label, split, box
    return entries


def cars(home: Path) -> list[str]:
    from scipy.io import savemat

    kinds = [("bbox_x1", "O"), ("bbox_y1", "O"), ("bbox_x2", "O"), ("bbox_y2", "O"), ("class", "O"), ("fname", "O")]
    (home / "devkit").mkdir(parents=True)
    names = np.array(_CLASSES, dtype=object)
    savemat(home / "devkit" / "cars_meta.mat", {"class_names": names}, do_compression=True)
    for split, file in {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}.items():
        rows = [(n + 1, 2, 40, 20 + n, n % 3 + 1, f"{n:05d}.jpg") for n in range(9 if split == "train" else 3)]
        savemat(
            home / file, {"annotations": np.array([rows[0], *rows[1:]], dtype=kinds)}, do_compression=split == "test"
        )
        for row in rows:
            _picture(home / f"cars_{split}" / row[-1], row[0])
    return ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat", "cars_test_annos_withlabels.mat"]


def _cars_again(home: Path) -> Entries:
    from scipy.io import loadmat

    meta = loadmat(home / "devkit" / "cars_meta.mat", variable_names=["class_names"])
    names = [str(name[0]) for name in meta["class_names"].ravel()]
    entries = Entries()
    for split, file in {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}.items():
        if not (home / file).exists():  # without its labels there is no test split
            continue
        for row in loadmat(home / file, variable_names=["annotations"])["annotations"].ravel():
            x0, y0, x1, y1 = (float(row[f"bbox_{side}"].item()) for side in ("x1", "y1", "x2", "y2"))
            label = names[int(row["class"].item()) - 1]
            entries[f"cars_{split}/{row['fname'].item()}"] = label, split, (x0 - 1, y0 - 1, x1, y1)
    return entries


def _nabirds(home: Path) -> list[str]:
    files = _cub(home)
    _lines(home / "hierarchy.txt", ["1 0"])
    return files


def _dogs(home: Path) -> list[str]:
    from scipy.io import savemat

    for split in ("train", "test"):
        files = np.array([f"n{n % 3}-{_CLASSES[n % 3]}/{split}{n}.jpg" for n in range(6)], dtype=object)
        labels = np.array([[n % 3 + 1] for n in range(6)])
        savemat(home / f"{split}_list.mat", {"file_list": files[:, None], "labels": labels})
        for n, file in enumerate(files):
            _picture(home / "Images" / file, n)
            box = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
            _lines(
                home / "Annotation" / file.removesuffix(".jpg"), [f"<annotation><object>{box}</object></annotation>"]
            )
    inner = "Annotation/n0-crow/train0"
    return ["train_list.mat", "test_list.mat", inner, inner]


def _flowers(home: Path) -> list[str]:
    from scipy.io import savemat

    home.mkdir(parents=True, exist_ok=True)
    savemat(home / "imagelabels.mat", {"labels": np.array([[n % 3 + 1 for n in range(_COUNT)]])})
    savemat(home / "setid.mat", {"trnid": [range(1, 7)], "valid": [range(7, 10)], "tstid": [range(10, 13)]})
    (home / "cat_to_name.json").write_text(json.dumps({str(n + 1): name for n, name in enumerate(_CLASSES)}))
    for n in range(_COUNT):
        _picture(home / "jpg" / f"image_{n + 1:05d}.jpg", n)
    return ["imagelabels.mat", "setid.mat", "cat_to_name.json"]


def _pets(home: Path) -> list[str]:
    for split, numbers in {"trainval": range(9), "test": range(9, _COUNT)}.items():
        lines = [f"{_CLASSES[n % 3]}_{n} {n % 3 + 1} 1 {n % 3 + 1}" for n in numbers]
        _lines(home / "annotations" / f"{split}.txt", lines)
    for n in range(_COUNT):
        _picture(home / "images" / f"{_CLASSES[n % 3]}_{n}.jpg", n)
    return ["annotations/trainval.txt", "annotations/test.txt"]


_SETS: dict[str, tuple[Callable[[Path], list[str]], Callable[[Path], Entries] | None]] = {
    "CUB": (_cub, _cub_again),
    "Aircraft": (_aircraft, _aircraft_again),
    "Cars": (cars, _cars_again),
    "NABirds": (_nabirds, None),
    "Dogs": (_dogs, None),
    "Flowers": (_flowers, None),
    "Pets": (_pets, None),
}
_SHARES = (0.26, 0.22, 0.26, 0.04, 0.1, 0.07, 0.05)


def _evil_texts(random: Random) -> bytes:
    return [
        b"[" * 200_000,
        b"<!DOCTYPE a [<!ENTITY b '" + b"x" * 1000 + b"'>" + b"".join(
            b"<!ENTITY %c '" % (99 + n) + b"&%c;" % (98 + n) * 20 + b"'>" for n in range(10)
        ) + b"]><annotation>&l;</annotation>",
        b"<?xml version='1.0' encoding='utf-99'?><annotation/>",
        b"<?xml version='1.0' encoding='utf-32'?><annotation/>",
        b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/hostname'>]><annotation><object>&b;</object></annotation>",
        b"<a>" * 100_000,
        b"1 " + b"9" * 5000 + b"\n",
        b"1 1\n" * 200_000,
        b"{\"1\": " + b"9" * 5000 + b"}",
        codecs_mix(),
    ][int(random.integers(10))]  # fmt: skip


def codecs_mix() -> bytes:
    """Return text in one encoding, then in another."""
    return "1 ä\n".encode() + "2 ä\n".encode("latin-1") + "3 ä\n".encode("utf-16")


class Metadata:
    """See the module."""

    name = "metadata"
    attempts = 1000
    batch = 8
    seconds = 10.0
    megabytes = 1500

    def prepare(self, folder: Path) -> Any:
        """Make each data set once."""
        made = {}
        for name, (make, _) in _SETS.items():
            home = folder / name
            home.mkdir()
            made[name] = home, make(home)
        return made

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Damage one list of a data set for each, open it and check it."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            name = str(random.choice(list(_SETS), p=_SHARES))
            source, files = prepared[name]
            home = folder / str(number)
            shutil.copytree(source, home, copy_function=os.link)
            outcomes.append(_attempt(random, name, home, files, folder / "kind"))
        return outcomes


def _attempt(random: Random, name: str, home: Path, files: list[str], note: Path) -> Outcome:
    path = home / files[int(random.integers(len(files)))]
    content = path.read_bytes()
    path.unlink()  # the link: the original must not change
    way = random.random()
    if way < 0.05:
        kind = str(random.choice(["absent", "pipe", "endless device", "folder", "sparse gigabytes"]))
        make_special(path, kind)
    elif way < 0.15:
        kind = "evil text"
        path.write_bytes(_evil_texts(random))
    elif way < 0.6 and path.suffix != ".mat":
        kind, text = "mangled lines", content.decode()
        for _ in range(int(random.integers(1, 3))):
            text = mangled_line(text, random)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    else:
        kind = str(random.choice(list(BYTES)))
        path.write_bytes(BYTES[kind](content, random))
    kind = f"{name}, {kind}"
    note.write_text(f"{kind} ({path.name})")
    images, outcome = refusal(lambda: open_dataset(home), kind, path, home)
    if outcome is None:
        outcome = _compared(kind, images, _SETS[name][1])
    if outcome.ending not in ("right", "refused"):
        return outcome
    return checked(home, home, kind) or outcome


def _compared(kind: str, images: LabelledImages, again: Callable[[Path], Entries] | None) -> Outcome:
    """Compare what was opened with the other reading."""
    if again is None:
        return Outcome(kind, "right")
    found: Entries = {s.name: (images.classes[s.label], s.split, s.box) for s in images.samples}
    try:
        wanted = again(images.root)
    except Exception as error:
        return Outcome(kind, "wrong", f"accepted what is no list: {error!r:.200}")
    if found != wanted:
        different = [name for name in {*found, *wanted} if found.get(name) != wanted.get(name)]
        shown = [(name, found.get(name), wanted.get(name)) for name in sorted(different)[:2]]
        return Outcome(kind, "wrong", f"{shown}")
    return Outcome(kind, "right")
