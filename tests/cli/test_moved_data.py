"""The data of a run that lie elsewhere now: measured, reported and looked at as if they had never moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import tlaam
from tlaam.cli.main import main
from tlaam.training.run import train

SETTINGS = {
    "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 64, "part_size": 32,
    "localizer": "oaam", "epochs": 1, "batch_size": 6, "workers": 0, "accelerator": "cpu", "precision": "32-true",
    "val_fraction": 0.34, "logger": "none",
}  # fmt: skip


@pytest.fixture(scope="module")
def places(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A run, its data where they lie now, and other data."""
    folder = tmp_path_factory.mktemp("moved")
    shutil.copytree(photos, folder / "before")
    run = train(folder / "before", folder / "run", SETTINGS, progress=False)
    (folder / "before").rename(folder / "now")
    shutil.copytree(folder / "now", folder / "other")
    first = min((folder / "other").rglob("*.jpg"), default=None) or min((folder / "other").rglob("*.png"))
    first.rename(first.with_stem("renamed"))
    return run, folder / "now", folder / "other"


def test_the_images_held_out_are_measured(places: tuple[Path, Path, Path], tmp_path: Path) -> None:
    run, now, _ = places
    found = []
    for number, data in enumerate(([str(now)], ["--data", str(now)])):
        file = tmp_path / f"{number}.json"
        assert main(["evaluate", str(run), *data, "--json", str(file)]) == 0
        found.append(json.loads(file.read_text()))
    assert found[0] == found[1] and found[0]["split"] == "val" and found[0]["images"] == 6


def test_without_data_a_run_is_measured_on_its_own(
    places: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, now, _ = places
    assert main(["evaluate", str(run)]) == 1
    assert f"Say where it lies now: tlaam evaluate {run} --data NEW" in capsys.readouterr().err
    record = json.loads((run / "data.json").read_text())
    now.rename(record["root"])
    try:
        assert main(["evaluate", str(run), "--json", str(tmp_path / "own.json")]) == 0
        found = json.loads((tmp_path / "own.json").read_text())
        assert found["split"] == "val" and found["images"] == 6
        assert tlaam.load(run).evaluate().images == 6
    finally:
        Path(record["root"]).rename(now)


def test_report_and_index_are_written(
    places: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, now, _ = places
    assert main(["report", str(run)]) == 1
    assert f"Say where it lies now: tlaam report {run} --data NEW" in capsys.readouterr().err
    assert main(["report", str(run), "--data", str(now), "--out", str(tmp_path / "report.html")]) == 0
    assert "not the data set" not in (tmp_path / "report.html").read_text()
    assert main(["index", str(run), "--data", str(now), "--out", str(tmp_path / "index.npz")]) == 0


@pytest.mark.usefixtures("exporting")
def test_an_export_is_compared_on_the_images_held_out(
    places: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, now, other = places
    out = ["--out", str(tmp_path / "model.onnx")]
    assert main(["export", str(run), *out]) == 1
    assert "say where they lie now by --data, or give photographs by --images" in capsys.readouterr().err
    assert main(["export", str(run), *out, "--data", str(other)]) == 1
    assert f"{other} is not what {run} was trained on" in capsys.readouterr().err
    assert main(["export", str(run), *out, "--data", str(now)]) == 0
    said = capsys.readouterr().out
    assert "6 images" in said and "of the run's training images" not in said


@pytest.mark.parametrize("verb", ["evaluate", "report", "index"])
def test_other_data_are_refused(places: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], verb: str) -> None:
    run, now, other = places
    assert main([verb, str(run), "--data", str(other)]) == 1
    said = capsys.readouterr().err
    assert f"{other} is not what {run} was trained on" in said and said.count("\n") == 1
    assert main([verb, str(run), str(now), "--data", str(now)]) == 2
