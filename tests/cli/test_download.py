"""``tlaam download``: one line an error, what to do next, and nothing on the screen that is not for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from archive_server import ArchiveServer, Honest, status

from tlaam.cli.main import main
from tlaam.data.download import fetch
from tlaam.data.download.archives import DATA_SETS


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["download", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_a_data_set_is_downloaded_and_the_next_step_is_said(
    capsys: pytest.CaptureFixture[str], published_cub: bytes, tmp_path: Path
) -> None:
    data = tmp_path / "my data"
    code, out, err = call(capsys, "cub", data)
    assert code == 0 and err == "", "no bar where there is no terminal"
    assert out.splitlines()[-1] == f"Look at it with: tlaam check '{data}/CUB_200_2011'"
    assert main(["check", str(data / "CUB_200_2011")]) == 1, "its images are empty files"
    assert "4 images (train 2, val 0, test 2) of 2 classes" in capsys.readouterr().out
    code, out, _ = call(capsys, "cub", data)
    assert code == 0 and "is there already" in out and "tlaam check" in out


def test_a_local_archive_may_be_given(
    capsys: pytest.CaptureFixture[str], published_cub: bytes, archive_server: ArchiveServer, tmp_path: Path
) -> None:
    (tmp_path / "birds.tgz").write_bytes(published_cub)
    (tmp_path / "other.tgz").write_bytes(published_cub + bytes(512))
    (tmp_path / "options.yaml").write_text(f"archive: ['{tmp_path}/birds.tgz']\n")
    assert call(capsys, "cub", tmp_path / "a", "--archive", tmp_path / "birds.tgz")[0] == 0
    assert call(capsys, "cub", tmp_path / "b", "--config", tmp_path / "options.yaml")[0] == 0
    code, _, err = call(capsys, "cub", tmp_path / "c", "--archive", tmp_path / "other.tgz")
    assert code == 1 and "is not the published CUB_200_2011.tgz" in err and "--unverified" in err
    code, out, _ = call(capsys, "cub", tmp_path / "c", "--archive", tmp_path / "other.tgz", "--unverified")
    assert code == 0 and "taken because of --unverified" in out and archive_server.log == []


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["cup", "data"], 1, "Did you mean 'cub'"),
    (["cub"], 2, "DIR"),
    (["cub", "data", "--archive", "absent.tgz"], 1, "no file 'absent.tgz'"),
    (["cars", "data"], 1, "--archive cars_train.tgz --archive cars_test.tgz --archive car_devkit.tgz"),
    (["cars", "data"], 1, "data/stanford_cars: cars_train, cars_test"),
    (["nabirds", "data"], 1, "accept its terms (https://dl.allaboutbirds.org/nabirds). Get nabirds.tar.gz by hand"),
    (["cub", "file"], 1, "file"),
])  # fmt: skip
def test_an_error_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], code: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    found, out, err = call(capsys, *arguments)
    assert found == code and out == ""
    assert message in err and err.startswith("tlaam: ") and err.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["file"]


def test_a_connection_that_breaks_off_is_said_in_one_line_each(
    capsys: pytest.CaptureFixture[str],
    published_cub: bytes,
    archive_server: ArchiveServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetch, "_PAUSE", 0.0)
    archive_server.answers = [Honest(cut=1000), *[status(500)] * (fetch.TRIES - 1)]
    code, out, err = call(capsys, "cub", tmp_path)
    assert code == 1 and out.count("trying again") == fetch.TRIES - 1
    assert err.count("\n") == 1 and "the same command continues" in err


def test_an_interrupted_download_is_continued(
    capsys: pytest.CaptureFixture[str], published_cub: bytes, archive_server: ArchiveServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    read = fetch._read
    pieces: list[bytes] = []

    def interrupted(response: object) -> bytes:
        if pieces:
            raise KeyboardInterrupt
        pieces.append(read(response)[:1000])  # type: ignore[arg-type]
        return pieces[0]

    monkeypatch.setattr(fetch, "_read", interrupted)
    code, out, err = call(capsys, "cub", tmp_path)
    assert (code, out) == (130, "") and err.count("\n") == 1 and "the same command continues" in err
    part = tmp_path / ".archives" / "cub" / "CUB_200_2011.tgz.part"
    assert part.read_bytes() == published_cub[:1000]
    monkeypatch.setattr(fetch, "_read", read)
    assert call(capsys, "cub", tmp_path)[0] == 0
    assert archive_server.log[1].headers["Range"] == "bytes=1000-"


def test_the_help_lists_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "--help")
    assert code == 0 and "For cars and nabirds" in out
    for name, data_set in DATA_SETS.items():
        assert f"\n  {name:<10}{data_set.title}, {data_set.about}" in out
