"""Mutated tar archives and Parquet files, opened and checked, and compared with another reading of the same bytes."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stress.attempts import Outcome, random_of, refusal, tlaam
from stress.mutate import BYTES, Random
from tlaam.data.container import Member
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages

_DAMAGED = 300  # bytes of an image that three mutations change
_CLASSES = ("green", "red")
_FORMATS = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)
_COMPRESSIONS = ("none", "snappy", "zstd", "gzip")


Files = dict[str, tuple[bytes, str | None]]
"""Images by name, with their classes, where these are known."""


class Containers:
    """See the module."""

    name = "containers"
    attempts = 2000
    batch = 16
    seconds = 10.0
    megabytes = 1500

    def prepare(self, folder: Path) -> Any:
        """Draw images, and keep what is unpacked beside them."""
        os.environ["TLAAM_CACHE"] = str(folder / "cache")
        return [_picture(number) for number in range(8)]

    def attempt(self, prepared: Any, seed: int, numbers: Sequence[int], folder: Path) -> list[Outcome]:
        """Open and check each."""
        outcomes = []
        for number in numbers:
            random = random_of(seed, self.name, number)
            place = folder / str(number)
            place.mkdir()
            outcomes.append(_attempt(random, place, folder / "kind", prepared))
        return outcomes


def _picture(number: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG" if number % 2 else "PNG")
    return stream.getvalue()


def _attempt(random: Random, place: Path, note: Path, pictures: Sequence[bytes]) -> Outcome:
    make, read = random.choice([0, 1]), (_members_by_tarfile, _rows_by_table)  # type: ignore[var-annotated]
    path, content, made = (_archive if make == 0 else _table)(place, random, pictures)
    kind = path.suffix[1:]
    whole = random.random() < 0.05
    if not whole:
        how = str(random.choice(list(BYTES)))
        kind += f", {how}"
        for _ in range(int(random.integers(1, 4))):
            content = BYTES[how](content, random)
        if random.random() < 0.5 and path.suffix == ".tar":
            content = _with_checksums(content)
            kind += ", checksums mended"
    path.write_bytes(content)
    note.write_text(kind)
    opened, outcome = refusal(lambda: open_dataset(path, strict=False), kind, path)
    if outcome is not None:
        return outcome if not whole else Outcome(kind, "wrong", f"refused: {outcome.detail}")
    outcome = _compared(kind, opened, read[make], path, made)
    if outcome.ending != "right":
        return outcome
    said = tlaam("check", path)
    if said.code and not said.err and "unreadable" not in said.out and "Refused" not in said.out:
        return Outcome(kind, "wrong", f"check ended with {said.code} and said nothing of it: {said.out[-300:]}")
    return outcome


def _archive(place: Path, random: Random, pictures: Sequence[bytes]) -> tuple[Path, bytes, Files]:
    """Return an archive of class folders, or of images with labels beside them."""
    stream = io.BytesIO()
    made: Files = {}
    beside, long = random.random() < 0.4, "n" * int(random.choice([1, 130]))
    with tarfile.open(fileobj=stream, mode="w", format=_FORMATS[int(random.integers(3))]) as tar:
        for number, picture in enumerate(pictures):
            label, ending = _CLASSES[number % 2], "jpg" if number % 2 else "png"
            files = {f"{number}.{ending}": picture, f"{number}.cls": label.encode()}
            if not beside:
                files = {f"{label}/{long}/{number}.{ending}": picture}
            made[next(iter(files))] = picture, label
            for name, content in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return place / "x.tar", stream.getvalue(), made


def _table(place: Path, random: Random, pictures: Sequence[bytes]) -> tuple[Path, bytes, Files]:
    """Return a Parquet file as Hugging Face's hub has them, or a plain one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    numbers = [number % 2 for number in range(len(pictures))]
    if random.random() < 0.5:
        features = {"label": {"names": list(_CLASSES), "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = pa.table({"image": [{"bytes": picture, "path": "x"} for picture in pictures], "label": numbers})
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    else:
        table = pa.table({"image": list(pictures), "label": [_CLASSES[number] for number in numbers]})
    pq.write_table(
        table, stream, compression=_COMPRESSIONS[int(random.integers(4))], row_group_size=int(random.integers(1, 9)),
        use_dictionary=bool(random.random() < 0.5), data_page_size=int(random.choice([64, 1 << 20])),
    )  # fmt: skip
    made = {f"x.parquet/{n}": (picture, _CLASSES[n % 2]) for n, picture in enumerate(pictures)}
    return place / "x.parquet", stream.getvalue(), made


def _with_checksums(content: bytes) -> bytes:
    """Give headers that look as such their right checksums, so that what else is wrong with them is met."""
    data = bytearray(content)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 148 : at + 156] = b" " * 8
            data[at + 148 : at + 156] = b"%06o\0 " % sum(data[at : at + 512])
    return bytes(data)


def _compared(kind: str, opened: LabelledImages, read: Callable[[Path], Files], path: Path, made: Files) -> Outcome:
    """Hold what was opened against another reading, or what was written: `tarfile` also stops at a damaged date."""
    try:
        expected = read(path)
    except Exception:
        expected = {}
    for sample in opened.samples:
        source = sample.source
        assert isinstance(source, Member)
        try:
            content = source.read()
        except OSError as error:
            return Outcome(kind, "wrong", f"'{sample.name}' cannot be read: {error!r}")
        both = [*expected.items(), *made.items()]
        ends = [value for name, value in both if name == sample.name or name.endswith(f"/{sample.name}")]
        label = opened.classes[sample.label]
        if not any(_alike(content, other) and named in (None, label) for other, named in ends):
            return Outcome(kind, "wrong", f"'{sample.name}' of class '{label}' is not what another reading gives")
    missing = len(expected or made) - len(opened.samples)
    said = any(word in note for note in opened.notes for word in ("Left out", "goes on behind", "without the mark"))
    if path.suffix == ".parquet" and missing and not said:
        return Outcome(kind, "wrong", f"{missing} rows are missing, and nothing says so: {opened.notes}")
    return Outcome(kind, "right", f"{len(opened.samples)} images")


def _alike(content: bytes, other: bytes) -> bool:
    """Whether bytes are others, but for some that were damaged where another reading did not come."""
    differing = sum(map(int.__ne__, content, other)) if len(content) == len(other) else len(content)
    return content == other or (0 < differing <= _DAMAGED)


def _members_by_tarfile(path: Path) -> Files:
    with tarfile.open(path) as tar:
        found: Files = {}
        for member in tar:
            if member.isreg() or member.islnk():
                stream = tar.extractfile(member)
                assert stream is not None
                found[os.path.normpath(member.name.lstrip("/"))] = stream.read(), None
        return found


def _rows_by_table(path: Path) -> Files:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    names = None
    with suppress(TypeError, KeyError, ValueError):
        names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    found: Files = {}
    for number, row in enumerate(table.to_pylist()):
        image = row["image"]
        content = (image["bytes"] if isinstance(image, dict) else image) or b""
        label = row["label"]
        named = (
            names[label].strip()
            if isinstance(label, int) and names
            else None
            if isinstance(label, int)
            else label.strip()
        )
        found[f"{path.name}/{number}"] = content, named
    return found
