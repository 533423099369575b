from __future__ import annotations

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from packed_images import archive_of, class_folders, packed, picture

from tlaam.data import tar_index as tar_index_module
from tlaam.data.check import check
from tlaam.data.container import Member
from tlaam.data.copies import find_copies
from tlaam.data.open import open_dataset
from tlaam.data.tar_index import tar_index
from tlaam.errors import DataError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "GNU": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_class_folders_are_those_of_the_unpacked_folder(tmp_path: Path, format: int) -> None:
    folder = open_dataset(class_folders(tmp_path / "birds"))
    tar = open_dataset(packed(tmp_path / "birds.tar", tmp_path / "birds", format))
    assert (tar.kind, tar.name, tar.classes) == ("tar", "birds", ("crow", "jay"))
    assert [(s.name, s.label, s.split) for s in tar.samples] == [(s.name, s.label, s.split) for s in folder.samples]
    assert tar.fingerprint() == folder.fingerprint()
    for ours, theirs in zip(tar.samples, folder.samples, strict=True):
        assert isinstance(ours.source, Member) and ours.source.read() == theirs.path.read_bytes()
        assert ours.picture_size() == (24, 24)
        np.testing.assert_array_equal(np.asarray(ours.picture()), np.asarray(theirs.picture()))
    assert str(tar.samples[0].source) == f"{tmp_path / 'birds.tar'}/train/crow/0.png"


def test_a_folder_around_all_does_not_count(tmp_path: Path) -> None:
    images = {f"photos/{name}/1.png": picture(n) for n, name in enumerate("ab")}
    found = open_dataset(archive_of(tmp_path / "x.tar", images))
    assert [(s.name, s.label) for s in found.samples] == [("a/1.png", 0), ("b/1.png", 1)]
    assert "The folder 'photos' around all images" in found.notes[0]


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_the_index_is_that_of_tarfile(tmp_path: Path, format: int) -> None:
    names = ["a/1.png", "a/" + "long/" * 30 + "é.png" if format != tarfile.USTAR_FORMAT else "a/é.png", "b/" + "x" * 90]
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=format) as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = 500 * number
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
        link = tarfile.TarInfo("b/hard.png")
        link.type, link.linkname = tarfile.LNKTYPE, names[1]
        tar.addfile(link)
    index = tar_index(path)
    with tarfile.open(path) as tar:
        plain = {m.name: (m.offset_data, m.size) for m in tar.getmembers() if m.isreg() and not m.islnk()}
    found = {n: (o, s) for n, o, s in zip(index.names, index.offsets.tolist(), index.sizes.tolist(), strict=True)}
    assert found == {**plain, "b/hard.png": plain[names[1]]}
    assert index.notes == []


def test_large_numbers_and_old_headers(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    info = tarfile.TarInfo("a")
    info.size = 3
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")  # binary, as of members of 8 GiB and more
    header[257:265] = bytes(8)  # of the seventh edition of Unix
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(bytes(header) + b"xyz".ljust(512, b"\0") + bytes(1024))
    index = tar_index(path)
    assert (index.names, index.offsets.tolist(), index.sizes.tolist()) == (["a"], [512], [3])


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in [
            ("a/1.png", picture(0)),
            ("b/1.png", picture(1)),
            ("../c/1.png", b"x"),
            ("a/1.png", picture(2)),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, kind in (("a/link.png", tarfile.SYMTYPE), ("a/device.png", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "1.png"
            tar.addfile(info)
    found = open_dataset(path)
    assert [s.name for s in found.samples] == ["a/1.png", "b/1.png"]
    np.testing.assert_array_equal(np.asarray(found.samples[0].picture()), _pixels(picture(2)))  # the last one counts
    said = "\n".join(found.notes)
    for what in ("symbolic link", "device", "name that leads out of the archive", "earlier file of the same name"):
        assert f"{what}, 1 times, such as" in said


def _pixels(content: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)))


def test_damage_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = packed(tmp_path / "x.tar", class_folders(tmp_path / "birds"))
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        second = next(member for member in tar.getmembers()[4:] if member.isreg())
    for content, fault in {
        whole[: second.offset_data + 20]: "is cut off: './train/crow/",
        whole[: second.offset + 100]: "is damaged: at byte",
        whole[: second.offset + 5] + b"?" + whole[second.offset + 6 :]: f"is damaged: at byte {second.offset:,}",
        b"": "is no tar archive",
        b"\x1f\x8b" + bytes(600): "is compressed, so its images cannot be read one by one. Unpack it: gzip -dk",
        b"hello" * 300: "is no tar archive",
    }.items():
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            open_dataset(path)
        assert fault in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.write_bytes(whole.rstrip(b"\0") + bytes(-len(whole.rstrip(b"\0")) % 512))
    assert any("without the mark of an archive's end" in note for note in open_dataset(path).notes)
    path.write_bytes(whole + whole)
    assert any("goes on behind the end of its first archive" in note for note in open_dataset(path).notes)


def test_sparse_and_compressed_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    info = tarfile.TarInfo("a/1.png")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
    with tarfile.open(path, "w") as tar:
        tar.addfile(info)
    with pytest.raises(DataError, match=r"'a/1.png' as a sparse file"):
        open_dataset(path)
    for name, command in {"x.tar.gz": "tar -xf", "x.TGZ": "tar -xf", "x.tar.zst": "tar -xf", "x.zip": "unzip"}.items():
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(DataError, match=rf"compressed, .* Unpack it \({command} "):
            open_dataset(tmp_path / name)


def test_webdataset(tmp_path: Path) -> None:
    for shard in range(2):
        members: dict[str, bytes] = {}
        for number in range(3):
            members[f"{number:04d}.png"] = picture(shard * 3 + number)
            members[f"{number:04d}.cls"] = b"%d\n" % (number % 2)
        archive_of(
            tmp_path / "data" / f"train-{shard:03d}.tar"
            if (tmp_path / "data").mkdir(exist_ok=True) is None
            else tmp_path,
            members,
        )
    archive_of(tmp_path / "data" / "val-000.tar", {"0.png": picture(9), "0.cls": b"1"})
    found = open_dataset(tmp_path / "data")
    assert found.classes == ("0", "1") and found.name == "data"
    assert [(s.name, found.classes[s.label], s.split) for s in found.samples[2:4]] == [
        ("train-000.tar/0002.png", "0", "train"), ("train-001.tar/0000.png", "0", "train"),
    ]  # fmt: skip
    assert [(s.name, s.label) for s in found.split("val")] == [("val-000.tar/0.png", 1)]
    assert found.samples[3].source.read() == picture(3)  # type: ignore[union-attr]
    assert str(found.samples[3].source) == f"{tmp_path / 'data' / 'train-001.tar'}/0000.png"


@pytest.mark.parametrize(
    ("ending", "contents"),
    [
        ("json", [b'{"label": "crow", "id": 3}', b'{"label": "jay"}']),
        ("txt", [b"crow\n", b"jay"]),
        ("cls", [b"crow", b"jay"]),
    ],
)
def test_labels_beside_images(tmp_path: Path, ending: str, contents: list[bytes]) -> None:
    members = {}
    for number, content in enumerate(contents):
        members[f"{number}.png"], members[f"{number}.{ending}"] = picture(number), content
    found = open_dataset(archive_of(tmp_path / "x.tar", members))
    assert [(s.name, found.classes[s.label]) for s in found.samples] == [("0.png", "crow"), ("1.png", "jay")]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"1.cls": None}, r"holds no '1.cls' with the label of '1.png'"),
        ({"1.mask.png": b"x"}, r"holds '1.png' and '1.mask.png' for one label"),
        ({"1.cls": b"\xff"}, "not UTF-8"),
        ({"1.cls": b""}, "holds no label"),
        ({"1.cls": b"a\nb"}, "holds several lines"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, change: dict[str, bytes | None], fault: str) -> None:
    members = {"0.png": picture(0), "0.cls": b"0", "1.png": picture(1), "1.cls": b"1", **change}
    with pytest.raises(DataError, match=fault):
        open_dataset(archive_of(tmp_path / "x.tar", {n: c for n, c in members.items() if c is not None}))


def test_captions_are_no_classes(tmp_path: Path) -> None:
    members = {}
    for number in range(30):
        members[f"{number}.png"], members[f"{number}.txt"] = picture(0), b"a bird number %d" % number
    with pytest.raises(DataError, match="captions rather than class names"):
        open_dataset(archive_of(tmp_path / "x.tar", members))


def test_images_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds images without labels"):
        open_dataset(archive_of(tmp_path / "x.tar", {"1.png": picture(0), "2.png": picture(1)}))
    folders = {
        f"{order}/{kind}/1.png": picture(0) for order, kind in [("p", "jay"), ("p", "tit"), ("q", "owl"), ("q", "emu")]
    }
    path = archive_of(tmp_path / "y.tar", folders)
    with pytest.raises(DataError, match=r"y.tar:depth=2"):
        open_dataset(path)
    assert open_dataset(f"{path}:depth=2").classes == ("emu", "jay", "owl", "tit")
    assert open_dataset(f"{path}:depth=1").classes == ("p", "q")


def test_an_index_is_kept_and_follows_the_file(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_index_module, "KEPT", 1)
    path = archive_of(tmp_path / "x.tar", {"a/é.png": b"1", "b/2.png": b"22", "../x": b""})
    first = tar_index(path)
    kept = next(cache.rglob("index.npz"))
    with monkeypatch.context() as patch:
        patch.setattr(tar_index_module, "entries", None)
        again = tar_index(path)
    assert (again.names, again.notes) == (first.names, first.notes) and again.offsets.tolist() == first.offsets.tolist()
    kept.write_bytes(kept.read_bytes()[:-9])
    assert tar_index(path).names == first.names  # damaged, and made again
    archive_of(path, {"c/3.png": b"333"})
    os.utime(path, ns=(1, 1))
    assert tar_index(path).names == ["c/3.png"]


def test_check_and_copies_see_into_archives(tmp_path: Path) -> None:
    images = {
        "a/1.png": picture(0),
        "a/2.png": picture(0),
        "b/1.png": picture(1),
        "b/2.png": b"",
        "b/3.png": b"no image",
    }
    path = archive_of(tmp_path / "x.tar", images)
    found = open_dataset(path)
    assert [[s.name for s in equal] for equal in find_copies(found.samples)] == [["a/1.png", "a/2.png"]]
    report = check(path)
    kinds = {(finding.kind, finding.name) for finding in report.findings}
    assert {("copy", "a/2.png"), ("empty", "b/2.png"), ("unreadable", "b/3.png")} <= kinds


def test_large_members_are_read_through_a_window(tmp_path: Path) -> None:
    big = picture(5, side=700, kind="BMP")
    assert len(big) > 1 << 20
    found = open_dataset(archive_of(tmp_path / "x.tar", {"a/1.bmp": big, "b/1.png": picture(1)}))
    member = pickle.loads(pickle.dumps(found.samples[0].source))
    with member.open() as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == big[-10:]
    np.testing.assert_array_equal(np.asarray(found.samples[0].picture()), _pixels(big))
