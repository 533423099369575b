"""The whole command, on drawn pictures with planted faults, and killed."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tlaam
from tlaam.cleaning.report import CleaningReport
from tlaam.cli.main import main
from tlaam.errors import ConfigError, DataError

pytest.importorskip("imagehash")
pytest.importorskip("faiss")

SETTINGS: dict[str, Any] = {
    "backbone": "test_efficientnet", "pretrained": "none", "localizer": "oaam", "image_size": 64, "source_size": 96,
    "workers": 0, "accelerator": "cpu", "precision": "32-true",
}  # fmt: skip
COLOURS = {"crow": (30, 30, 40), "jay": (60, 110, 200), "wren": (190, 90, 40)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes that colours tell; a jay among the crows, a near copy across classes, a copy, a black picture."""
    root, random = tmp_path_factory.mktemp("clean") / "birds", np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / name).mkdir(parents=True)
        for number in range(9):
            cells = random.integers(80, 256, (6, 8, 3), dtype=np.uint8)
            pixels = np.array(Image.fromarray(cells).resize((160, 120), Image.Resampling.BICUBIC))
            x, y = random.integers(5, 70), random.integers(5, 40)
            pixels[y : y + 70, x : x + 80] = colour
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    (root / "jay/8.png").rename(root / "crow/jay.png")
    with Image.open(root / "wren/0.png") as picture:
        picture.resize((112, 84)).save(root / "jay/near.jpg", quality=60)
    with Image.open(root / "wren/1.png") as picture:
        picture.save(root / "wren/equal.bmp")
    Image.new("RGB", (160, 120), (5, 5, 5)).save(root / "crow/black.png")
    (root / "crow/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return root


@pytest.fixture(scope="module")
def report(data: Path, tmp_path_factory: pytest.TempPathFactory) -> CleaningReport:
    before = state(data)
    found = tlaam.clean(data, tmp_path_factory.mktemp("out") / "report", progress=False, **SETTINGS)
    assert state(data) == before
    return found


def state(folder: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_planted_faults_are_found(report: CleaningReport) -> None:
    found = {(suspect.name, kind) for suspect in report.suspects for kind in suspect.kinds}
    assert {
        ("crow/broken.png", "unreadable"), ("wren/0.png", "copy-other-label"), ("jay/near.jpg", "copy-other-label"),
        ("wren/equal.bmp", "copy"), ("crow/black.png", "black"), ("crow/jay.png", "label"),
    } <= found  # fmt: skip
    assert report.suspects[0].name == "crow/broken.png"
    swapped = next(suspect for suspect in report.suspects if suspect.name == "crow/jay.png")
    assert swapped.suggested == "jay"
    assert {one.role for one in swapped.companions} == {"its label", "the other label"}
    scores = [suspect.score for suspect in report.suspects]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    assert any(note.startswith("Classes of fewer than 10 training images: 'jay' (9)") for note in report.notes)


def test_the_list_and_the_page_are_written(report: CleaningReport) -> None:
    with report.csv.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [suspect.name for suspect in report.suspects]
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, len(rows) + 1)]
    text = report.page.read_text(encoding="utf-8")
    embedded = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert embedded["fingerprint"] == report.fingerprint and len(embedded["suspects"]) == len(rows)
    shown = {suspect["name"] for suspect in embedded["suspects"]}
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in embedded["thumbnails"].values())
    assert shown - set(embedded["thumbnails"]) == {"crow/broken.png"}
    assert {path.name for path in report.folder.iterdir()} == {"page.html", "suspects.csv"}


def test_it_is_the_same_each_time_and_wherever_it_was_killed(
    data: Path, report: CleaningReport, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "tlaam", "clean", str(data), "--out", str(out), *options]
    for seconds in (0.5, 4.0):
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        running.send_signal(signal.SIGKILL)
        running.wait()
    out.mkdir(exist_ok=True)
    (out / f".suspects.csv.{os.getpid()}.tmp").write_text("half")
    assert main(command[3:]) == 0
    assert state(out)[str(out / "suspects.csv")] == hashlib.sha256(report.csv.read_bytes()).hexdigest()
    assert {path.name for path in out.iterdir()} == {"page.html", "suspects.csv"}


def test_what_cannot_be_looked_at_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no epochs"):
        tlaam.clean(data, tmp_path / "out", epochs=3)
    (tmp_path / "one" / "jay").mkdir(parents=True)
    (tmp_path / "one" / "crow").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "one/jay/a.png")
    (tmp_path / "one/crow/b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="fewer than two classes have images that can be read"):
        tlaam.clean(tmp_path / "one", tmp_path / "out", progress=False, **SETTINGS)
