"""A whole comparison, small: trained in processes of their own, continued, and refused where it does not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tlaam.cli.main import main
from tlaam.comparison.run import compare
from tlaam.errors import ConfigError, RunError
from tlaam.evaluation.evaluate import evaluate

SETTINGS = {
    "backbone": "resnet18", "pretrained": "none", "image_size": 64, "source_size": 96, "epochs": 1, "raw_epochs": 0,
    "batch_size": 8, "val_fraction": 0, "accelerator": "cpu", "workers": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared") / "photos"
    for image in sorted(photos.rglob("*.png")):
        split = "test" if image.stem in ("4", "5") else "train"
        (root / split / image.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, root / split / image.parent.name)
    return root


def test_it_trains_measures_continues_and_compares(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    found = compare(data, out, systems=["oaam"], seeds=1, settings=SETTINGS, protocol="last", say=said.append)
    assert [run.system for run in found.runs] == ["oaam", "plain-larger"] and found.first == "oaam"
    assert json.loads((out / "runs/plain-larger-0/config.json").read_text())["model"]["image_size"] == 96
    assert all(run.measures["minutes"] >= 0 and run.measures["memory"] > 0.05 for run in found.runs)
    assert found.differences[0].second == "plain-larger"
    for name in ("table.md", "table.csv", "differences.csv", "results.json", "index.html"):
        assert (out / name).stat().st_size > 0, name
    assert "TL-AAM, boxes by OAAM" in (out / "table.md").read_text()

    trained = (out / "runs/oaam-0/model.safetensors").stat().st_mtime_ns
    said.clear()
    options = [f"--set={name}={json.dumps(value)}" for name, value in SETTINGS.items()]
    command = [
        "compare",
        str(data),
        "--out",
        str(out),
        "--seeds",
        "1",
        "--systems",
        "oaam,plain",
        "--first",
        "plain",
        "--protocol",
        "last",
    ]
    assert main([*command, *options]) == 0
    assert (out / "runs/oaam-0/model.safetensors").stat().st_mtime_ns == trained
    table = capsys.readouterr().out
    assert "plain backbone" in table and "Differences" in table
    with pytest.raises(RunError, match="other settings or data"):
        compare(data, out, systems=["oaam"], seeds=1, settings={**SETTINGS, "epochs": 2}, protocol="last")


def test_what_does_not_fit_is_said_before_anything_is_trained(data: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="option 'localizer' is what"):
        compare(data, tmp_path / "a", settings={"localizer": "oaam"})
    with pytest.raises(ConfigError, match="has no test split"):
        compare(photos, tmp_path / "b", settings=SETTINGS)
    with pytest.raises(ConfigError, match="no system or group 'tlam'"):
        compare(data, tmp_path / "c", systems=["tlam"])
    with pytest.raises(ConfigError, match="'mmal' is not among"):
        compare(data, tmp_path / "d", systems=["plain"], first="mmal")
    with pytest.raises(ConfigError, match="needs validation images"):
        compare(data, tmp_path / "e", settings=SETTINGS)
    assert not any(tmp_path.iterdir())


def test_the_best_epoch_protocol_says_so_in_every_output(data: Path, tmp_path: Path) -> None:
    compare(data, tmp_path / "out", systems=["plain-larger"], seeds=1, settings=SETTINGS, protocol="best-epoch")
    for name in ("table.md", "index.html"):
        assert "Best-epoch protocol" in (tmp_path / "out" / name).read_text(), name
    for name in ("table.csv", "differences.csv"):
        assert "best-epoch" in (tmp_path / "out" / name).read_text(), name
    report = evaluate(tmp_path / "out/runs/plain-larger-0", data)
    assert report.selected_on_these and "Best-epoch protocol" in report.table()
    assert report.to_dict()["selected_on_these"] is True
    assert not evaluate(tmp_path / "out/runs/plain-larger-0", data, split="train").selected_on_these


def test_the_list_names_every_system(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--list"]) == 0
    listed = capsys.readouterr().out
    assert "gradcam++" in listed and "ablation" in listed
