from __future__ import annotations

import gzip
import io
import os
import random
import stat
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from packing import packed, special, tar

from tlaam.data.download import unpack as module
from tlaam.data.download.unpack import unpack
from tlaam.errors import DataError


@pytest.fixture
def into(tmp_path: Path) -> Path:
    folder = tmp_path / "box" / "into"
    folder.mkdir(parents=True)
    return folder


def extract(content: bytes, into: Path) -> dict[str, bytes]:
    archive = into.parent.with_name("archive")
    archive.write_bytes(content)
    shown: list[tuple[int, int]] = []
    unpack(archive, into, leave_out="set", show=lambda *now: shown.append(now))
    assert shown == sorted(shown) and all(0 <= done <= total == len(content) for done, total in shown)
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


FILES = [("set/images/a.jpg", b"a" * 1000), ("set/.hidden", b""), ("./set/ä b.txt", b"b"), ("loose.txt", b"c")]
HELD = {"images/a.jpg": b"a" * 1000, ".hidden": b"", "ä b.txt": b"b", "loose.txt": b"c"}


@pytest.mark.parametrize(
    "content", [tar(*FILES), tar(*FILES, compressed=False), packed(*FILES)], ids=["gz", "tar", "zip"]
)
def test_files_are_extracted_without_the_set_s_own_folder(content: bytes, into: Path) -> None:
    assert extract(content, into) == HELD


def test_folders_are_made_and_rights_are_those_of_new_files(into: Path) -> None:
    entries = [
        special("set", tarfile.DIRTYPE, mode=0),
        special("set/empty/", tarfile.DIRTYPE, mode=0),
        special("set/shell", tarfile.REGTYPE, size=3, mode=0o6777),
        special("set/secret", tarfile.REGTYPE, size=3, mode=0),
    ]
    assert extract(tar(*entries), into) == {"shell": bytes(3), "secret": bytes(3)}
    (into / "new").touch()
    assert {(into / name).stat().st_mode for name in ("shell", "secret")} == {(into / "new").stat().st_mode}
    assert (into / "empty").is_dir() and os.access(into / "empty", os.W_OK)
    assert extract(packed(("set/folder/", b"")), into).keys() == {"new", "shell", "secret"}
    assert (into / "folder").is_dir()


OUTSIDE = [
    "../x",
    "set/../../x",
    "a/../x",
    "/x",
    "//x",
    "..",
    ".. /x",
    ".../x",
    "..\\x",
    "C:/x",
    "set/C:x",
    "\\\\host\\x",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("pack", [tar, packed])
@pytest.mark.parametrize("filtered", [True, False])
def test_no_path_leads_out(
    name: str, pack: object, filtered: bool, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not filtered:  # as in Python releases before 3.10.12 and 3.11.4
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(DataError, match=r"holds the path .* leads out of its folder\. Nothing of it is kept"):
        extract(pack(("good", b""), (name, b"evil")), into)  # type: ignore[operator]
    assert [path.name for path in into.parent.parent.rglob("*")] == ["archive", "box", "into", "good"]


@pytest.mark.parametrize(
    "entry",
    [
        special("link", tarfile.SYMTYPE, "../../x"),
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("link", tarfile.SYMTYPE, "inside"),
        special("link", tarfile.LNKTYPE, "../../x"),
        special("link", tarfile.LNKTYPE, "good"),
        special("pipe", tarfile.FIFOTYPE),
        special("device", tarfile.CHRTYPE),
        special("device", tarfile.BLKTYPE),
        special("sparse", tarfile.GNUTYPE_SPARSE),
        special("unknown", b"Z"),
    ],
)
@pytest.mark.parametrize("filtered", [True, False])
def test_nothing_but_files_and_folders(
    entry: tarfile.TarInfo, filtered: bool, into: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not filtered:
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(DataError, match=r"special file|damaged"):
        extract(tar(("good", b""), entry, ("link/x", b"through")), into)
    assert [path.name for path in into.iterdir()] == ["good"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_zip_s_special_files_are_refused_too(kind: int, into: Path) -> None:
    with pytest.raises(DataError, match="special file"):
        extract(packed(("link", b"/etc/passwd"), mode=kind | 0o777), into)
    assert list(into.iterdir()) == []


def test_bombs_are_refused_before_they_fill_the_disk(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SPARE", 1 << 20)
    for content in (tar(("big", bytes(3 << 20))), packed(("big", bytes(3 << 20)))):
        assert len(content) < 100_000
        with pytest.raises(DataError, match="would grow beyond"):
            extract(content, into)
        assert sum(path.stat().st_size for path in into.iterdir()) <= 2 << 20
        (into / "big").unlink(missing_ok=True)
    head = special("x", tarfile.XHDTYPE, size=1 << 32).tobuf(tarfile.USTAR_FORMAT)
    with pytest.raises(DataError, match="would grow beyond"):  # a header that tarfile reads into memory whole
        extract(gzip.compress(head + bytes(3 << 20), 1), into)


def test_numberless_files_are_refused(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_ENTRIES", 10)
    for pack in (tar, packed):
        with pytest.raises(DataError, match="more than 10 files"):
            extract(pack(*((str(i), b"") for i in range(11))), into)
        assert len(list(into.iterdir())) == 10
        for path in into.iterdir():
            path.unlink()


def test_a_zip_that_understates_its_size_yields_no_more(into: Path) -> None:
    content = packed(("set/a", bytes(100_000)))
    lie = content.replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    assert lie != content
    with pytest.raises(DataError, match="damaged"):
        extract(lie, into)
    assert (into / "a").stat().st_size <= 10


def test_a_name_listed_twice_is_the_later_file(into: Path) -> None:
    assert extract(tar(("a", b"1"), ("set/a", b"2")), into) == {"a": b"2"}


def test_names_that_a_system_takes_for_one_are_refused(into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.open

    def ignoring_case(self: Path, mode: str = "r", *rest: object, **more: object) -> object:
        path = self.with_name(self.name.lower()) if self.parent == into else self
        return plain(path, mode, *rest, **more)  # type: ignore[call-overload]

    assert extract(tar(("Jay.jpg", b"1"), ("jay.jpg", b"2")), into).keys() == {"Jay.jpg", "jay.jpg"}
    for path in into.iterdir():
        path.unlink()
    monkeypatch.setattr(Path, "open", ignoring_case)
    with pytest.raises(DataError, match="two entries of the same name where upper and lower case"):
        extract(tar(("Jay.jpg", b"1"), ("jay.jpg", b"2")), into)


@pytest.mark.parametrize("pack", [tar, packed])
def test_a_file_needs_a_name(pack: object, into: Path) -> None:
    for name in ("", ".", "set"):
        with pytest.raises(DataError, match="a file and a folder of one name"):
            extract(pack((name, b"1")), into)  # type: ignore[operator]


def test_a_file_cannot_be_a_folder(into: Path) -> None:
    for entries in ([("a", b""), ("a/b", b"")], [("a/b", b""), ("a", b"")]):
        with pytest.raises(DataError, match="a file and a folder of one name"):
            extract(tar(*entries), into)
        for path in sorted(into.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


PLAIN = tar(("a", b"1" * 600), ("b", b"2" * 600), compressed=False)
GZIP = gzip.compress(PLAIN, mtime=0)  # without the time, so that every process of the tests names these tests alike
ZIP = packed(("a", b"1" * 600), ("b", random.Random(0).randbytes(600)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>not found</html>" * 100,
        PLAIN[:100],
        PLAIN[:1536],  # after a whole file
        PLAIN[:1800],
        PLAIN[:3072],  # after the last
        PLAIN[:1536] + b"?" + PLAIN[1537:],  # a damaged header
        GZIP[:-1],
        GZIP[:100],
        GZIP[:-8] + bytes(8),
        gzip.compress(b"no tar", mtime=0),
        ZIP[:-1],
        ZIP[: len(ZIP) // 2],
        ZIP.replace(ZIP[750:760], bytes(10)),
    ],
)
def test_damage_is_said(content: bytes, into: Path) -> None:
    with pytest.raises(DataError, match=r"archive' is damaged.*Get it anew"):
        extract(content, into)


def test_a_zip_that_needs_more_than_zlib_is_said(into: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", b"1")
    encrypted = bytearray(ZIP)
    for place in (ZIP.index(b"PK\3\4") + 6, ZIP.index(b"PK\1\2") + 8):
        encrypted[place] |= 1
    for content in (stream.getvalue(), bytes(encrypted)):
        with pytest.raises(DataError, match="Pack it anew as a plain zip"):
            extract(content, into)


@pytest.mark.parametrize("whole", [PLAIN, GZIP, ZIP], ids=["tar", "gz", "zip"])
def test_whatever_the_bytes_the_answer_is_one_error(whole: bytes, into: Path) -> None:
    chance, archive = random.Random(1), into.parent.with_name("archive")
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        archive.write_bytes(content)
        with suppress(DataError):
            unpack(archive, into, leave_out="set", show=lambda done, total: None)
        assert {path.name for path in into.parent.parent.iterdir()} == {"archive", "box"}
        for path in sorted(into.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
