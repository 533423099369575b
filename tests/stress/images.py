"""Image files of every kind and fault, predicted and checked beside good ones whose answers are known."""

from __future__ import annotations

import io
import json
import os
import random as python_random
import socket
import struct
import traceback
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stress.attempts import Outcome, Said, judged_refusal, last_lines, random_of, tlaam
from stress.colours import CLASSES, expected, write_model
from stress.mutate import BYTES, Random

READ = ("JPEG", "MPO", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000", "AVIF")
"""What the product reads; whatever else Pillow writes has to be refused."""

_CLOSE = 0.02
"""How far a probability may be from the expected one: decoders at a reduced size round otherwise."""


def picture(random: Random, width: int = 0, height: int = 0) -> Image.Image:
    """Return a smooth picture of a colour of its own, of random size where none is given."""
    width, height = width or int(random.integers(20, 62)), height or int(random.integers(20, 62))
    y, x = np.mgrid[0:height, 0:width]
    base, slope = random.integers(30, 220, 3), random.integers(-30, 31, (2, 3))
    pixels = base + slope[0] * (x[..., None] / width) + slope[1] * (y[..., None] / height)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _exif(random: Random) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = int(random.integers(1, 9))
    exif[0x010E] = "a" * int(random.integers(0, 40))
    return exif


def _deep(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)


def _frames(random: Random, image: Image.Image) -> dict[str, Any]:
    others = [picture(random, *image.size) for _ in range(int(random.integers(1, 4)))]
    return {"save_all": True, "append_images": others, "duration": 20}


BASES: dict[str, Callable[[Random], bytes]] = {
    "JPEG": lambda r: _saved(picture(r), "JPEG", quality=int(r.integers(30, 100))),
    "JPEG progressive": lambda r: _saved(picture(r), "JPEG", progressive=True, exif=_exif(r)),
    "JPEG large": lambda r: _saved(picture(r, 400, 300), "JPEG", exif=_exif(r)),
    "JPEG grey": lambda r: _saved(picture(r).convert("L"), "JPEG"),
    "JPEG CMYK": lambda r: _saved(picture(r).convert("CMYK"), "JPEG"),
    "MPO": lambda r: _saved(p := picture(r), "MPO", **_frames(r, p)),
    "PNG": lambda r: _saved(picture(r), "PNG", exif=_exif(r)),
    "PNG palette": lambda r: _saved(picture(r).quantize(16), "PNG", transparency=int(r.integers(16))),
    "PNG alpha": lambda r: _saved(picture(r).convert("RGBA"), "PNG"),
    "PNG grey alpha": lambda r: _saved(picture(r).convert("LA"), "PNG"),
    "PNG 1 bit": lambda r: _saved(picture(r).convert("1"), "PNG"),
    "PNG 16 bit": lambda r: _saved(_deep(picture(r)), "PNG"),
    "APNG": lambda r: _saved(p := picture(r), "PNG", **_frames(r, p)),
    "GIF": lambda r: _saved(picture(r).quantize(32), "GIF"),
    "GIF animated": lambda r: _saved(p := picture(r), "GIF", **_frames(r, p)),
    "BMP": lambda r: _saved(picture(r), "BMP"),
    "BMP palette": lambda r: _saved(picture(r).quantize(64), "BMP"),
    "TIFF": lambda r: _saved(picture(r), "TIFF", exif=_exif(r)),
    "TIFF LZW": lambda r: _saved(picture(r), "TIFF", compression="tiff_lzw"),
    "TIFF deflate": lambda r: _saved(picture(r), "TIFF", compression="tiff_adobe_deflate"),
    "TIFF JPEG": lambda r: _saved(picture(r), "TIFF", compression="jpeg"),
    "TIFF CMYK": lambda r: _saved(picture(r).convert("CMYK"), "TIFF"),
    "TIFF 16 bit": lambda r: _saved(_deep(picture(r)), "TIFF"),
    "TIFF float": lambda r: _saved(Image.fromarray(r.random((30, 40), np.float32)), "TIFF"),
    "TIFF pages": lambda r: _saved(p := picture(r), "TIFF", **_frames(r, p)),
    "WEBP": lambda r: _saved(picture(r), "WEBP", exif=_exif(r)),
    "WEBP lossless": lambda r: _saved(picture(r).convert("RGBA"), "WEBP", lossless=True),
    "WEBP animated": lambda r: _saved(p := picture(r), "WEBP", **_frames(r, p)),
    "PPM": lambda r: _saved(picture(r), "PPM"),
    "PGM": lambda r: _saved(picture(r).convert("L"), "PPM"),
    "PBM": lambda r: _saved(picture(r).convert("1"), "PPM"),
    "JPEG2000": lambda r: _saved(picture(r), "JPEG2000"),
    "AVIF": lambda r: _saved(picture(r), "AVIF", speed=10),
    "AVIF animated": lambda r: _saved(p := picture(r), "AVIF", speed=10, **_frames(r, p)),
}
"""Good files, each kind of which the product reads."""


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG file, its checksum right."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, data: bytes, depth: int = 8, colours: int = 0) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def _flat_png(width: int, height: int) -> bytes:
    squeezer = zlib.compressobj(9)
    row = bytes(1 + -(-width // 8))
    return _png(width, height, b"".join(squeezer.compress(row) for _ in range(height)) + squeezer.flush(), depth=1)


def _tiff_tags(random: Random) -> bytes:
    """Return a TIFF whose tags are of a random type and count."""
    tags = [256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 339, 274]
    entries = b""
    for tag in tags:
        kind, count = int(random.integers(1, 13)), int(random.choice([0, 1, 1, 1, 2, 4, 1 << 20]))
        entries += struct.pack("<HHII", tag, kind, count, int(random.choice([0, 1, 2, 8, 24, 200, 1 << 31])))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4) + random.bytes(400)


BOMBS: dict[str, Callable[[Random], bytes]] = {
    "PNG of 3.6 gigapixels": lambda r: _png(60000, 60000, zlib.compress(b"")),
    "PNG of no width": lambda r: _png(0, 9, zlib.compress(b"")),
    "PNG of negative size": lambda r: _png(0xFFFFFFFF, 0xFFFFFFFF, zlib.compress(b"")),
    "PNG with endless text": lambda r: _saved(picture(r), "PNG")[:33]
    + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80 << 20)))
    + _saved(picture(r), "PNG")[33:],
    "PNG with endless profile": lambda r: _saved(picture(r), "PNG")[:33]
    + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(80 << 20)))
    + _saved(picture(r), "PNG")[33:],
    "PNG of too much data": lambda r: _png(20, 20, zlib.compress(bytes(80 << 20))),
    "PPM of absurd size": lambda r: b"P6 999999 999999 255\n" + bytes(99),
    "PPM of endless digits": lambda r: b"P6 " + b"9" * 100_000 + b" 9 255\n",
    "PPM of endless comment": lambda r: b"P6 #" + b"x" * 3_000_000,
    "GIF of 4 gigapixels": lambda r: b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b",\0\0\0\0\xff\xff\xff\xff\0\x02",
    "GIF frame beyond its screen": lambda r: b"GIF89a\x01\0\x01\0\x80\0\0"
    + bytes(6)
    + b",\0\0\0\0\x10\x27\x10\x27\0\x02\x02\x4c\x01\0;",
    "BMP of absurd size": lambda r: b"BM"
    + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 2**31 - 1, -(2**31), 1, 24, 0, 0, 0, 0, 0, 0),
    "TIFF of random tags": _tiff_tags,
    "TIFF that points to itself": lambda r: b"II*\0\x08\0\0\0" + struct.pack("<H", 0) + struct.pack("<I", 8),
    "JPEG of 65500 x 65500": lambda r: _saved(picture(r), "JPEG").replace(
        b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\x03", 1
    ),
    "JPEG of countless scans": lambda r: (j := _saved(picture(r), "JPEG", progressive=True))[:-2]
    + j[j.index(b"\xff\xda") : -2] * 400
    + b"\xff\xd9",
    "WEBP of absurd size": lambda r: b"RIFF\xff\xff\xff\x7fWEBPVP8X\x0a\0\0\0" + b"\x10\0\0\0" + b"\xff" * 6,
}  # fmt: skip
"""Files that claim or unfold to what they have not."""

_HEAVY: dict[str, Callable[[], bytes]] = {
    "60 megapixels": lambda: _saved(Image.new("RGB", (10000, 6000), (200, 40, 90)), "JPEG"),
    "60 megapixels, PNG": lambda: _flat_png(10000, 6000),
    "150 megapixels of a few bytes": lambda: _flat_png(15000, 10000),
}

_NAMES = (
    "new\nline.png", "quote'.png", 'double".png', "emoji🐦.png", b"bytes\xff\xfe.png", "-dash.png", "two  spaces.png",
    "tab\t.png", "\x1b[31mred.png", "brackets[1].png", "star*.png", "percent%s%n.png", "ünï.png", "e\u0301.png",
    "\u202egnp.png", "semi;colon.png", "dollar$HOME.png", "back\\slash.png", "a" * 240 + ".png", "no suffix",
)  # fmt: skip


class _Input:
    """A file to predict, and what is known of it beforehand."""

    def __init__(self, kind: str, path: Path, *, answer: Image.Image | None = None, may_be_read: bool = True) -> None:
        self.kind, self.path, self.answer, self.may_be_read = kind, path, answer, may_be_read


class Images:
    """See the module."""

    name = "images"
    attempts = 10_000
    batch = 16
    seconds = 10.0
    megabytes = 3000

    def prepare(self, folder: Path) -> Any:
        """Make the model and the heavy files."""
        Image.init()
        heavy = {}
        for number, (kind, make) in enumerate(_HEAVY.items()):
            heavy[kind] = folder / f"heavy-{number}"
            heavy[kind].write_bytes(make())
        others = sorted(name for name in Image.SAVE if name not in READ)
        return write_model(folder / "model.onnx"), heavy, others

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Predict and check the inputs of these numbers in one folder, good images between them."""
        model, heavy, others = prepared
        good = [_good(random_of(seed, "good", number), folder, number) for number in numbers[::4]]
        inputs = [_input(random_of(seed, self.name, number), folder, number, heavy, others) for number in numbers]
        (folder / "kind").write_text(inputs[0].kind)
        whole = "batch" if len(numbers) > 1 else inputs[0].kind
        shuffled = [*good, *inputs]
        python_random.Random(numbers[0]).shuffle(shuffled)
        try:
            predicted = tlaam("predict", model, "--batch-size", "4", "--json", "-", "--", *(i.path for i in shuffled))
            checked = tlaam("check", "--json", "-", "--", folder / "data")
        except Exception:
            return [Outcome(whole, "crash", last_lines(traceback.format_exc()))] * len(numbers)
        rows = [json.loads(line, parse_constant=_no_number) for line in predicted.out.splitlines()]
        faults = _faults(checked)
        if len(rows) != len(shuffled) or faults is None:
            detail = f"{len(rows)} rows of {len(shuffled)}; {predicted.err[-300:]} {checked.err[-300:]}"
            return [Outcome(whole, "wrong", detail)] * len(numbers)
        found = {id(each): _judged(each, row, faults) for each, row in zip(shuffled, rows, strict=True)}
        spoilt = [found[id(each)] for each in good if found[id(each)].ending != "right"]
        noise = [line for line in predicted.err.splitlines() if not line.startswith("tlaam: ")]
        outcomes = [found[id(each)] for each in inputs]
        if spoilt:
            outcomes[0] = Outcome(outcomes[0].kind, "wrong", f"a good image beside it: {spoilt[0].detail}")
        if noise:
            outcomes[0] = Outcome(outcomes[0].kind, "wrong", f"on the error stream: {noise[0][:300]}")
        return outcomes


def _no_number(text: str) -> float:
    raise ValueError(f"{text} in JSON")


def _good(random: Random, folder: Path, number: int) -> _Input:
    kind = str(random.choice(["JPEG", "PNG", "GIF", "BMP", "TIFF LZW", "PPM"]))
    content = BASES[kind](random)
    path = _written(folder, f"good-{number}.img.jpg", content)
    return _Input(f"good {kind}", path, answer=decoded(path))


def _written(folder: Path, name: str | bytes, content: bytes) -> Path:
    parent = folder / "data" / ("even" if len(name) % 2 else "odd")
    parent.mkdir(parents=True, exist_ok=True)
    path = parent / os.fsdecode(name)
    path.write_bytes(content)
    return path


def _input(random: Random, folder: Path, number: int, heavy: dict[str, Path], others: list[str]) -> _Input:
    way = random.random()
    base = str(random.choice(list(BASES)))
    name = f"{number}.{random.choice(['jpg', 'png', 'tif', 'webp'])}"
    if way < 0.72:
        how = str(random.choice(list(BYTES)))
        content = BASES[base](random)
        if random.random() < 0.1:  # half one file, half another
            other = BASES[str(random.choice(list(BASES)))](random)
            how, content = "spliced", content[: len(content) // 2] + other[len(other) // 2 :]
        else:
            content = BYTES[how](content, random)
        return _Input(f"{base.split()[0]}, {how}", _written(folder, name, content))
    if way < 0.77:
        content = BASES[base](random)
        path = _written(folder, name, content)
        return _Input(f"{base}, whole", path, answer=decoded(path))
    if way < 0.81:
        kind = str(random.choice(list(BOMBS)))
        return _Input(f"bomb: {kind}", _written(folder, name, BOMBS[kind](random)))
    if way < 0.814:
        kind = str(random.choice(list(heavy)))
        path = _written(folder, name, b"")
        path.unlink()
        os.link(heavy[kind], path)
        return _Input(kind, path)
    if way < 0.85:
        sides = [(1, 1), (1, 500), (500, 1), (2, 3), (1, 8000), (3, 1)]
        width, height = sides[int(random.integers(len(sides)))]
        kind = str(random.choice(["PNG", "BMP", "TIFF", "GIF", "PPM"]))
        path = _written(folder, name, _saved(picture(random, width, height), kind))
        return _Input("1 x 1 and 1 : 500", path, answer=decoded(path))
    if way < 0.90:
        return _broken_metadata(random, folder, name)
    if way < 0.93:
        kind = str(random.choice(others))
        try:
            content = _saved(picture(random), kind)
        except Exception:  # what Pillow cannot write of this picture
            content = random.bytes(300)
        return _Input("format that is not read", _written(folder, name, content), may_be_read=False)
    if way < 0.96:
        made = picture(random)
        own = _NAMES[int(random.integers(len(_NAMES)))]
        place = folder / "data" / "named" / str(number)
        place.mkdir(parents=True)
        path = place / os.fsdecode(own)
        path.write_bytes(_saved(made, "PNG") if random.random() < 0.7 else random.bytes(20))
        return _Input("name", path, answer=decoded(path))
    return _no_file(random, folder, number)


def _broken_metadata(random: Random, folder: Path, name: str) -> _Input:
    """Return a file whose pixels are good and whose EXIF block or colour profile is not."""
    image = picture(random)
    garbage = random.bytes(int(random.integers(1, 400)))
    block = b"Exif\0\0" + (garbage if random.random() < 0.5 else b"II*\0\x08\0\0\0\xff\xff" + garbage)
    kind = str(random.choice(["JPEG", "PNG", "WEBP"]))
    what: dict[str, Any] = {"exif": block} if random.random() < 0.5 else {"icc_profile": garbage}
    path = _written(folder, name, _saved(image, kind, **what))
    return _Input("broken EXIF" if "exif" in what else "broken ICC profile", path, answer=_pixels_alone(image, kind))


def _pixels_alone(image: Image.Image, kind: str) -> Image.Image:
    with Image.open(io.BytesIO(_saved(image, kind))) as again:
        return again.convert("RGB")


def _no_file(random: Random, folder: Path, number: int) -> _Input:
    path = _written(folder, f"{number}.jpg", b"")
    kind = str(random.choice([
        "empty", "pipe", "device", "link loop", "dangling link", "folder", "socket", "absent", "name too long",
        "endless device", "name with a zero byte",
    ]))  # fmt: skip
    if kind != "empty":
        path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "endless device":
        path.symlink_to("/dev/zero")
    elif kind == "link loop":
        path.symlink_to(path)
    elif kind == "dangling link":
        path.symlink_to(folder / "nowhere.jpg")
    elif kind == "folder":
        path.mkdir()
        (path / "inner.jpg").write_bytes(random.bytes(30))
        return _Input(f"no file: {kind}", path / "inner.jpg", may_be_read=False)
    elif kind == "socket":
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(path.name)
        finally:
            os.chdir(before)
    elif kind == "name too long":
        path = path.parent / ("x" * 300 + ".jpg")
    elif kind == "name with a zero byte":
        path = path.parent / "x\0y.jpg"
    return _Input(f"no file: {kind}", path, may_be_read=False)


def decoded(path: Path) -> Image.Image | None:
    """Decode a file with Pillow alone, upright and on white; None where Pillow cannot."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=READ) as image:
                image.load()
                try:
                    orientation = image.getexif().get(0x0112, 1)
                except Exception:
                    orientation = 1
                rgb = _on_white(image)
    except Exception:
        return None
    turns = {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.ROTATE_90, Image.Transpose.FLIP_TOP_BOTTOM],
        6: [Image.Transpose.ROTATE_270],
        7: [Image.Transpose.ROTATE_270, Image.Transpose.FLIP_TOP_BOTTOM],
        8: [Image.Transpose.ROTATE_90],
    }
    for turn in turns.get(orientation, []) if isinstance(orientation, int) else []:
        rgb = rgb.transpose(turn)
    return rgb


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.float64) / 257
        clear = image.info.get("transparency")
        if isinstance(clear, int):
            values[np.asarray(image) == clear] = 255
        return Image.fromarray(np.rint(values).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("its white is not known here")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), rgba).convert("RGB")


def _judged(each: _Input, row: dict[str, Any], faults: dict[str, str]) -> Outcome:
    """Compare the answer for one file with what it must be, and with what the check said of it."""
    if row["path"] != str(each.path):
        return Outcome(each.kind, "wrong", f"row of {row['path']} in the place of {each.path}")
    if row["error"] is not None:
        if each.answer is not None:
            return Outcome(each.kind, "wrong", f"refused though it can be read: {row['error'][:300]}")
        return judged_refusal(each.kind, row["error"], each.path)
    if not each.may_be_read:
        return Outcome(each.kind, "wrong", "answered for what is not to be read")
    answer = {entry["label"]: entry["probability"] for entry in row["predictions"]}
    given = np.array([answer.get(name, np.nan) for name in CLASSES])
    if each.path.name in faults and each.path.parent.name in ("even", "odd"):
        return Outcome(each.kind, "wrong", f"predicted, but for the check {faults[each.path.name]}")
    image = each.answer or decoded(each.path)
    if image is None:  # Pillow alone fails on metadata that the product passes over, or does not know the white
        sound = np.isfinite(given).all() and abs(given.sum() - 1) < 1e-3
        return Outcome(each.kind, "right" if sound else "wrong", f"{given} without a reference")
    if np.abs(given - expected(image)).max() > _CLOSE:
        return Outcome(each.kind, "wrong", f"{given.round(3)} instead of {expected(image).round(3)}")
    return Outcome(each.kind, "right")


def _faults(said: Said) -> dict[str, str] | None:
    """Return the fault that ``tlaam check`` named for each file; None where it gave no report."""
    try:
        report = json.loads(said.out)
    except ValueError:
        return None
    return {
        finding["name"].rpartition("/")[2]: f"{finding['kind']}: {finding['detail']}"
        for finding in report["findings"]
        if finding["kind"] in ("unreadable", "empty")
    }
