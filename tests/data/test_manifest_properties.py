"""Whatever a manifest holds, it is read as another reading reads it, or refused in a line that names it."""

from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import pytest

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as some

from tlaam.data.manifest import image_paths, read_manifest
from tlaam.errors import DataError

_TEXT = some.text(some.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).map(str.strip)
_NAMES = _TEXT.filter(lambda text: text and "./" not in text and "//" not in text and not text.startswith(("/", ".")))


def opened(content: bytes, *, strict: bool = True) -> object:
    """Read a manifest; None where it is refused, which has to name it in bearable length."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some manifest.csv"
        path.write_bytes(content)
        try:
            return read_manifest(path, strict=strict), list(image_paths(path))
        except DataError as error:
            assert str(path) in str(error) and len(str(error)) < 2000
            return None


@settings(max_examples=150, deadline=None)
@given(
    content=some.binary(max_size=300),
    head=some.sampled_from([b"", b"image,label\n", b"\xef\xbb\xbfimage;label;split\r\n"]),
)
def test_any_bytes_are_read_or_refused(content: bytes, head: bytes) -> None:
    opened(head + content)
    opened(head + content, strict=False)


@settings(max_examples=100, deadline=None)
@given(
    rows=some.lists(
        some.tuples(_NAMES, some.sampled_from(["crow", "jay ñ", "wren;x", 'a "b"', "7"])),
        min_size=2,
        max_size=12,
        unique_by=lambda row: row[0],
    ),
    delimiter=some.sampled_from(",;\t"),
    end=some.sampled_from(["\n", "\r\n"]),
    encoding=some.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    columns=some.permutations(["image", "label", "note"]),
)
def test_every_spelling_of_a_table_is_read_alike(
    rows: list[tuple[str, str]], delimiter: str, end: str, encoding: str, columns: list[str]
) -> None:
    stream = io.StringIO()
    table = csv.DictWriter(stream, columns, delimiter=delimiter, lineterminator=end)
    table.writeheader()
    table.writerows({"image": image, "label": label, "note": "x"} for image, label in rows)
    read = opened(stream.getvalue().encode(encoding), strict=False)
    assert read is not None
    images, paths = read  # type: ignore[misc]
    assert [(sample.path.name, images.classes[sample.label]) for sample in images.samples] == [
        (Path(image).name, label) for image, label in rows
    ]
    assert [Path(path).name for path in paths] == [Path(image).name for image, _ in rows]


@pytest.mark.parametrize("content", [
    b"image,label," + b"x" * 200_000 + b"\na,b\n",  # longer than what the table's reader takes for a field
    bytes(5000),
    b"x" * (3 << 20),
    b"image,label\n" + b"x" * (3 << 20),
    b'image,label\n"' + b"x" * 200_000,
    b"image,label\n",
    b"image,split\na," + b"s" * 100_000 + b"\n",
])  # fmt: skip
def test_what_is_too_long_or_nothing_is_refused_in_a_line(content: bytes) -> None:
    assert opened(content) is None
