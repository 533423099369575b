"""What is no file, or one without end, is refused at once wherever a file is read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from measuring import measured
from small_runs import small_run

from tlaam.cli.main import main
from tlaam.config.schema import Config
from tlaam.data.open import open_dataset
from tlaam.data.sample import Sample
from tlaam.errors import TlaamError
from tlaam.inference.store import load_model
from tlaam.models.pretrained import _read
from tlaam.runs.folder import RunFolder
from tlaam.training.checkpoint import load_state
from tlaam.training.masks import read_pseudo_masks
from tlaam.utils.reading import LONGEST_LINE, UnfitFileError, bounded_lines, read_text, require_regular


def as_pipe(path: Path) -> None:
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_gigabytes(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(20 << 30)  # none of them on the disk


ENDLESS = [as_pipe, as_device, as_gigabytes]


@pytest.mark.parametrize("make", ENDLESS)
def test_text_is_not_read_from_what_never_ends(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "text")
    with pytest.raises(UnfitFileError, match=r"pipe, socket or device|bytes, more than"):
        read_text(tmp_path / "text")


def test_a_file_of_just_the_size_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("four")
    assert read_text(tmp_path / "a", most=4) == "four"
    with pytest.raises(UnfitFileError, match="it has 4 bytes, more than 3"):
        read_text(tmp_path / "a", most=3)
    with pytest.raises(IsADirectoryError):
        require_regular(tmp_path)


def test_lines_are_yielded_until_one_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("a\n" + "b" * (LONGEST_LINE - 1) + "\n" + "c" * LONGEST_LINE + "\n")
    with path.open() as stream:
        lines = bounded_lines(stream, path)
        assert [len(next(lines)), len(next(lines))] == [2, LONGEST_LINE]
        with pytest.raises(UnfitFileError, match="a line of more than 1,048,576 characters"):
            next(lines)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_run(tmp_path_factory.mktemp("runs") / "small", localizer="scda")


def _run_with(model: Path, place: Path, name: str) -> Path:
    run = shutil.copytree(model, place / "run")
    (run / name).unlink()
    return run / name


@pytest.mark.parametrize("make", ENDLESS)
def test_no_reader_waits_or_swells(model: Path, tmp_path: Path, make: Callable[[Path], None]) -> None:
    readers: dict[str, Callable[[Path], object]] = {
        "manifest.csv": open_dataset,
        "settings.yaml": Config.from_yaml,
        "step-1.ckpt": load_state,
        "pseudo_masks.npy": lambda path: read_pseudo_masks(path, [Sample("a", "a", 0, "train")]),
        "weights.pth": _read,
        "weights.safetensors": _read,
        "run.json": lambda path: RunFolder(path.parent).read_json(path),
    }
    for name, read in readers.items():
        make(tmp_path / name)
        with pytest.raises(TlaamError, match=name.replace(".", r"\.")):
            read(tmp_path / name)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).mkdir()
        path = _run_with(model, tmp_path / name, name)
        make(path)
        with pytest.raises(TlaamError, match=name.replace(".", r"\.")):
            load_model(path.parent)


@pytest.mark.parametrize("make", ENDLESS)
@pytest.mark.parametrize("file", ["images.txt", "image_class_labels.txt", "classes.txt", "devkit/cars_meta.mat"])
def test_no_list_of_a_data_set_does(tmp_path: Path, make: Callable[[Path], None], file: str) -> None:
    for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt"):
        if "/" not in file and name != file:
            (tmp_path / name).write_text("1 1\n")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    make(tmp_path / file)
    with pytest.raises(TlaamError, match=file.replace(".", r"\.")):
        open_dataset(tmp_path)


@pytest.mark.parametrize("make", ENDLESS)
def test_a_list_of_images_to_predict_is_refused_too(
    tmp_path: Path, make: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    from onnx_files import small_model, written

    written(tmp_path / "m.onnx", small_model())
    make(tmp_path / "images.csv")
    assert main(["predict", str(tmp_path / "m.onnx"), str(tmp_path / "images.csv")]) == 1
    said = capsys.readouterr().err
    assert "images.csv" in said and said.count("\n") == 1


def test_a_damaged_record_is_not_taken_for_none(model: Path, tmp_path: Path) -> None:
    """Else a model would be measured on what it was trained on, without a word."""
    from PIL import Image

    for name in ("crow", "jay"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "data" / name / "a.png")
    for content in ('{"seed": 1', "[]", json.dumps({"seed": 1}), "[" * 100_000):
        run = shutil.copytree(model, tmp_path / "run", dirs_exist_ok=True)
        (run / "data.json").write_text(content)
        with pytest.raises(TlaamError, match=r"data\.json"):
            measured(run, tmp_path / "data")
