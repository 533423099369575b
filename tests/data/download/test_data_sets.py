from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from archive_server import ArchiveServer, Honest, status
from packing import packed, special, tar, tiny_cub

from tlaam.data.download import archives, fetch
from tlaam.data.download import data_sets as module
from tlaam.data.download.archives import Archive, PublicDataSet
from tlaam.data.download.data_sets import STORE, download
from tlaam.data.open import open_dataset
from tlaam.errors import DataError, RunError
from tlaam.utils.atomic import WriteError

CUB = tiny_cub()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)


Publish = Callable[..., PublicDataSet]


@pytest.fixture
def publish(archive_server: ArchiveServer, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Serve other content as the archives of a data set, with what is known of it."""

    def publish(name: str, *contents: bytes, digest: str = "sha256", online: bool = True) -> PublicDataSet:
        known = archives.DATA_SETS[name]
        new = []
        for archive, content in zip(known.archives, contents, strict=True):
            path = f"/{name}/{archive.file}"
            archive_server.files[path] = content
            archive_server.etags[path] = f'"{sha256(content)}"'
            found = f"{digest}:{hashlib.new(digest, content).hexdigest()}" if digest else None
            size = len(content) if digest else None
            new.append(Archive(archive.file, size, found, archive_server.url(path) if online else None))
        data_set = replace(known, archives=tuple(new))
        monkeypatch.setitem(archives.DATA_SETS, name, data_set)
        return data_set

    return publish


class Call:
    """`download` with what it said and what it worked on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.work: list[str] = []

    def __call__(self, name: str, *given: Path, unverified: bool = False) -> Path:
        self.said, self.work = [], []

        @contextmanager
        def bar(what: str) -> Iterator[Callable[[int, int], None]]:
            self.work.append(what)
            yield lambda done, total: None

        return download(name, self.folder, archives=given, unverified=unverified, progress=bar, say=self.said.append)

    def found(self) -> set[str]:
        """What there is in the folder, but for locks."""
        return {
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        }


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return Call(tmp_path / "data")


def test_a_data_set_is_downloaded_once(publish: Publish, archive_server: ArchiveServer, call: Call) -> None:
    publish("cub", CUB)
    home = call("cub")
    assert home == call.folder / "CUB_200_2011"
    images = open_dataset(home)
    assert (images.kind, len(images.samples)) == ("cub", 4)
    assert {path.name for path in call.folder.iterdir()} == {"CUB_200_2011", STORE}
    assert call.work == [f"{what} CUB_200_2011.tgz" for what in ("downloading", "checking", "extracting")]
    assert len(call.said) == 1 and "kept in" in call.said[0] and f"{STORE}/cub/CUB_200_2011.tgz" in call.found()

    before = call.found()
    assert call("cub") == home and "there already" in call.said[0]
    assert len(archive_server.log) == 1 and call.found() == before
    shutil.rmtree(home)
    assert call("cub") == home and len(archive_server.log) == 1, "the archive that was kept is enough"
    assert call.found() == before


def test_the_function_alone_says_no_more_than_needed(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("cub", CUB)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert download("cub", "~/data") == tmp_path / "data" / "CUB_200_2011"
    captured = capsys.readouterr()
    assert captured.out.count("\n") == 1 and captured.err == ""


def test_archives_of_several_kinds_go_into_one_folder(publish: Publish, call: Call) -> None:
    publish("flowers", tar(("jpg/image_00001.jpg", b"1")), b"labels", b"split", digest="md5")
    assert call("flowers").name == "flowers-102"
    assert {name for name in call.found() if not name.startswith(STORE)} == {
        f"flowers-102/{name}" for name in ("jpg/image_00001.jpg", "imagelabels.mat", "setid.mat")
    }
    publish("dogs", *(tar(*files, compressed=False) for files in DOGS))
    assert (call("dogs") / "Images" / "a.jpg").read_bytes() == b"1"


DOGS = (
    [("Images/a.jpg", b"1"), ("Images/._a.jpg", b"")],
    [("Annotation/a", b"2")],
    [("train_list.mat", b"3"), ("test_list.mat", b"4"), ("file_list.mat", b"5")],
)


def test_what_broke_off_is_continued_by_the_next_call(
    publish: Publish, archive_server: ArchiveServer, call: Call
) -> None:
    publish("cub", CUB)
    archive_server.answers = [Honest(cut=1000), *[status(503)] * (fetch.TRIES - 1)]
    with pytest.raises(DataError, match=r"1000 of \d+ bytes are kept"):
        call("cub")
    assert call.found() == {f"{STORE}/cub/CUB_200_2011.tgz.part", f"{STORE}/cub/CUB_200_2011.tgz.part.tag"}
    call("cub")
    assert sum(served.sent for served in archive_server.log) == len(CUB)
    assert "Range" in archive_server.log[-1].headers
    assert not any(".part" in name for name in call.found())


def test_a_wrong_file_of_the_right_size_is_not_kept(
    publish: Publish, archive_server: ArchiveServer, call: Call
) -> None:
    publish("cub", CUB)
    wrong = bytes(len(CUB))
    archive_server.files["/cub/CUB_200_2011.tgz"] = wrong
    with pytest.raises(DataError, match=f"SHA256 is {sha256(wrong)} instead of {sha256(CUB)}"):
        call("cub")
    assert call.found() == set()
    archive_server.files["/cub/CUB_200_2011.tgz"] = CUB
    call("cub")


def test_a_wrong_file_that_lies_in_the_store_is_left_to_its_owner(publish: Publish, call: Call) -> None:
    publish("cub", CUB)
    place = call.folder / STORE / "cub" / "CUB_200_2011.tgz"
    place.parent.mkdir(parents=True)
    for content, fault in [(b"mine", "has 4 bytes instead of"), (bytes(len(CUB)), "SHA256 is")]:
        place.write_bytes(content)
        with pytest.raises(DataError, match=f"{fault}.*Remove it"):
            call("cub")
        assert call.found() == {f"{STORE}/cub/CUB_200_2011.tgz"} and place.read_bytes() == content


def test_local_archives_are_used_where_they_are(
    publish: Publish, archive_server: ArchiveServer, call: Call, tmp_path: Path
) -> None:
    publish("cub", CUB)
    (tmp_path / "birds.bin").write_bytes(CUB)  # the name says nothing that the content does not
    home = call("cub", tmp_path / "birds.bin")
    assert archive_server.log == [] and call.said == [] and open_dataset(home).kind == "cub"
    assert not any(name.startswith(STORE) for name in call.found())
    assert (tmp_path / "birds.bin").read_bytes() == CUB


def test_the_rest_of_the_archives_is_downloaded(
    publish: Publish, archive_server: ArchiveServer, call: Call, tmp_path: Path
) -> None:
    contents = [tar(*files, compressed=False) for files in DOGS]
    publish("dogs", *contents)
    (tmp_path / "images.tar").write_bytes(contents[0])
    call("dogs", tmp_path / "images.tar")
    assert [served.path for served in archive_server.log] == ["/dogs/annotation.tar", "/dogs/lists.tar"]


def test_local_archives_are_told_apart_by_name(publish: Publish, call: Call, tmp_path: Path) -> None:
    publish("dogs", *(tar(*files, compressed=False) for files in DOGS))
    for name in ("images.tar", "dogs.tar"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "twice").mkdir()
    (tmp_path / "twice" / "images.tar").write_bytes(b"")
    for given, fault in [
        ([tmp_path / "dogs.tar"], r"'dogs\.tar' is no archive of Stanford Dogs; they are images\.tar, annotation\.tar"),
        ([tmp_path / "images.tar", tmp_path / "twice" / "images.tar"], r"both given for images\.tar"),
        ([tmp_path / "lists.tar"], r"no file '.*lists\.tar'"),
        ([tmp_path / "lists-of-mine.tar"], r"no file '.*lists-of-mine\.tar'; give the path of images\.tar or ann"),
        ([tmp_path / "images.tar"], "has 0 bytes instead of"),
    ]:
        with pytest.raises(DataError, match=fault):
            call("dogs", *given)
        assert not (call.folder / "stanford_dogs").exists()


def test_an_unpublished_archive_is_taken_only_on_demand(publish: Publish, call: Call, tmp_path: Path) -> None:
    publish("cub", CUB)
    other = tmp_path / "other.zip"
    other.write_bytes(packed(*((f"CUB_200_2011/{name}", b"") for name in archives.DATA_SETS["cub"].holds)))
    with pytest.raises(DataError, match=r"is not the published CUB_200_2011\.tgz.*--unverified"):
        call("cub", other)
    home = call("cub", other, unverified=True)
    assert (home / "images.txt").is_file() and "It is taken because of --unverified" in call.said[0]


def test_what_is_served_is_never_taken_unverified(publish: Publish, archive_server: ArchiveServer, call: Call) -> None:
    publish("cub", CUB)
    archive_server.files["/cub/CUB_200_2011.tgz"] = bytes(len(CUB))
    with pytest.raises(DataError, match="SHA256"):
        call("cub", unverified=True)


def test_where_no_hash_is_known_the_one_found_is_said(publish: Publish, call: Call, tmp_path: Path) -> None:
    content = tar(*((f"nabirds/{name}", b"") for name in archives.DATA_SETS["nabirds"].holds))
    publish("nabirds", content, digest="", online=False)
    (tmp_path / "nabirds.tar.gz").write_bytes(content)
    assert call("nabirds", tmp_path / "nabirds.tar.gz").name == "nabirds"
    assert "not checked against a known hash" in call.said[0] and sha256(content) in call.said[0]


def test_what_cannot_be_downloaded_says_what_to_place_where(publish: Publish, call: Call, tmp_path: Path) -> None:
    contents = [tar((f"{name}/1.jpg", b"")) for name in ("cars_train", "cars_test")]
    contents += [tar(("devkit/cars_meta.mat", b""), ("devkit/cars_train_annos.mat", b"")), b"mat"]
    publish("cars", *contents, online=False)
    files = [archive.file for archive in archives.DATA_SETS["cars"].archives]
    with pytest.raises(DataError) as caught:
        call("cars")
    message = str(caught.value)
    assert all(f"--archive {file}" in message for file in files) and str(call.folder / STORE / "cars") in message
    assert "stanford_cars: cars_train, cars_test, devkit" in message and "taken the files away" in message
    assert message.endswith("in the other published form: cars_annos.mat, car_ims.")
    assert not call.folder.exists(), "nothing is made for nothing"

    (tmp_path / "got").mkdir()
    for file, content in zip(files, contents, strict=True):
        (tmp_path / "got" / file).write_bytes(content)
    first, *rest = (tmp_path / "got" / file for file in files)
    wanted = ", ".join(rf"{path.name} \({path.stat().st_size} bytes\)" for path in rest)
    with pytest.raises(DataError, match=rf"Get {wanted} by hand.*--archive {first} "):
        call("cars", first)
    (tmp_path / "wrong").mkdir()
    wrong = tmp_path / "wrong" / files[0]
    wrong.write_bytes(contents[0][:-1])
    with pytest.raises(DataError, match=rf"is not the published {files[0]}: it has \d+ bytes"):
        call("cars", wrong)  # said although others are still lacking
    (call.folder / STORE / "cars").mkdir(parents=True)
    shutil.copy(first, call.folder / STORE / "cars")
    home = call("cars", *rest)
    assert (home / "cars_train" / "1.jpg").is_file() and (home / "cars_test_annos_withlabels.mat").is_file()


def test_the_other_form_of_a_data_set_is_whole_too(call: Call) -> None:
    home = call.folder / "stanford_cars"
    (home / "car_ims").mkdir(parents=True)
    with pytest.raises(DataError, match="not the whole of Stanford Cars"):
        call("cars")
    (home / "cars_annos.mat").write_bytes(b"list")
    assert call("cars") == home and "there already" in call.said[0]


def test_an_existing_folder_is_never_touched(publish: Publish, archive_server: ArchiveServer, call: Call) -> None:
    publish("cub", CUB)
    mine = call.folder / "CUB_200_2011"
    mine.mkdir(parents=True)
    (mine / "images.txt").write_text("mine")
    with pytest.raises(DataError, match=r"is there already, but it is not the whole.*image_class_labels\.txt.*missing"):
        call("cub")
    assert call.found() == {"CUB_200_2011/images.txt"} and archive_server.log == []
    shutil.rmtree(mine)
    mine.symlink_to(call.folder / "elsewhere")
    with pytest.raises(DataError, match="is there already"):
        call("cub")
    assert list(call.folder.iterdir()) == [mine] and mine.is_symlink() and archive_server.log == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (tar(("CUB_200_2011/images.txt", b""), ("../../evil", b"")), "leads out"),
        (tar(("CUB_200_2011/images.txt", b""), special("CUB_200_2011/images", b"2", "/etc")), "special file"),
        (tar(("CUB_200_2011/images.txt", b"")), r"did not hold the whole of CUB-200-2011: image_class_labels\.txt"),
        (CUB[:-100], "damaged"),
    ],
)
def test_a_dangerous_or_lacking_archive_leaves_nothing(
    content: bytes, fault: str, publish: Publish, call: Call, tmp_path: Path
) -> None:
    publish("cub", CUB)
    (tmp_path / "x.tgz").write_bytes(content)
    before = {path.name for path in tmp_path.parent.iterdir()}
    with pytest.raises(DataError, match=fault):
        call("cub", tmp_path / "x.tgz", unverified=True)
    assert call.found() == set() and {path.name for path in call.folder.iterdir()} == {STORE}
    assert {path.name for path in tmp_path.iterdir()} == {"x.tgz", "data"}
    assert {path.name for path in tmp_path.parent.iterdir()} == before


def test_a_call_killed_while_extracting_leaves_no_half_data_set(publish: Publish, call: Call, tmp_path: Path) -> None:
    publish("cub", CUB)
    (tmp_path / "x.tgz").write_bytes(CUB)
    program = (
        "import os, sys; from tlaam.data.download import data_sets as module\n"
        "unpack = module.unpack\n"
        "def killed(*arguments, **more):\n    unpack(*arguments, **more); os._exit(9)\n"
        "module.unpack = killed\n"
        "module.download('cub', sys.argv[1], archives=[sys.argv[2]], unverified=True)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(call.folder), str(tmp_path / "x.tgz")])
    assert done.returncode == 9
    assert not (call.folder / "CUB_200_2011").exists()
    leftover = call.folder / ".tlaam-CUB_200_2011.tmp"
    assert (leftover / "images.txt").is_file()
    (leftover / "stale").write_text("from before")
    (call.folder / ".tlaam-other.tmp").mkdir()
    home = call("cub", tmp_path / "x.tgz")
    assert not (home / "stale").exists() and not leftover.exists()
    assert (call.folder / ".tlaam-other.tmp").is_dir(), "only its own leavings are cleared"


def test_an_interrupt_while_extracting_clears_up(publish: Publish, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("cub", CUB)

    def interrupted(archive: Path, into: Path, **more: object) -> None:
        (into / "half").write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "unpack", interrupted)
    with pytest.raises(KeyboardInterrupt):
        call("cub")
    assert {path.name for path in call.folder.iterdir()} == {STORE}
    assert call.found() == {f"{STORE}/cub/CUB_200_2011.tgz"}, "the archive need not be downloaded again"


def test_two_processes_do_not_meet(publish: Publish, call: Call) -> None:
    publish("cub", CUB)
    lock = call.folder / STORE / "cub" / ".lock"
    lock.parent.mkdir(parents=True)
    program = (
        "import sys; from pathlib import Path; from tlaam.utils.lock import locked\n"
        f"with locked(Path({str(lock)!r}), Path('x')): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"locked\n"
        with pytest.raises(RunError, match=f"in use by another process .process {other.pid}"):
            call("cub")
        other.kill()
    assert call.found() == set()
    call("cub")


def test_space_is_looked_at_before(
    publish: Publish, archive_server: ArchiveServer, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tar(("CUB_200_2011/images/a.jpg", random.Random(0).randbytes(100_000)))
    publish("cub", content)
    free = 2 * len(content) - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, free))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"has 0\.0 GB of space, but CUB-200-2011 needs 0\.0 GB more"):
        call("cub")
    assert archive_server.log == []
    (call.folder / STORE / "cub" / "CUB_200_2011.tgz.part").write_bytes(content[:1])
    with pytest.raises(DataError, match="did not hold the whole"):  # so it was downloaded
        call("cub")
    assert archive_server.log[0].headers["Range"] == "bytes=1-"


def test_a_full_disk_is_said(publish: Publish, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    publish("cub", CUB)

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "unpack", full)
    with pytest.raises(WriteError, match=r"The disk is full.*run the same command again; it continues\."):
        call("cub")
    assert {path.name for path in call.folder.iterdir()} == {STORE}


def test_downloading_needs_no_torch() -> None:
    code = "import sys, tlaam.data.download.data_sets; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}).returncode == 0
