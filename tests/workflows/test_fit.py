"""Training ends with index and report, on the command line and in Python alike; each thing is done once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tlaam
from tlaam.cli.main import main
from tlaam.data.sample import Sample
from tlaam.inference import engine as engine_module
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction
from tlaam.inference.pytorch import TorchModel

SETTINGS: dict[str, Any] = {
    "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96, "localizer": "oaam",
    "epochs": 2, "raw_epochs": 1, "batch_size": 6, "workers": 0, "accelerator": "cpu", "val_fraction": 0.34,
}  # fmt: skip


def files(run: Path) -> set[str]:
    names = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    return {"logs/events" if name.startswith("logs/") else name for name in names}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often models are loaded, and how often each image is answered for."""
    counts: Counter[str] = Counter()
    load, answer = engine_module._loaded, Engine.answer

    def loaded(path: Path) -> Any:
        counts["loads"] += 1
        return load(path)

    def answered(self: Engine, batch: Any) -> list[Prediction]:
        for read in batch:
            source = read.source
            counts[source.name if isinstance(source, Sample) else str(read.path)] += 1
        return answer(self, batch)

    monkeypatch.setattr(engine_module, "_loaded", loaded)
    monkeypatch.setattr(Engine, "answer", answered)
    yield counts


def test_the_command_and_python_write_the_same_files_each_thing_once(
    photos: Path, tmp_path: Path, counted: Counter[str], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    assert main(["train", str(photos), "--out", str(tmp_path / "cli"), *options]) == 0
    said = capsys.readouterr().out
    assert f"Reference index: {tmp_path / 'cli' / 'gallery.npz'}" in said
    assert f"Report: {tmp_path / 'cli' / 'report.html'}" in said
    report = (tmp_path / "cli" / "report.html").read_text(encoding="utf-8")
    assert "What to do" in report and "not the data set that it was trained on" not in report, "splits were cut"
    assert counted.pop("loads") == 1
    assert len(counted) == 18 and set(counted.values()) == {1}, "each image once, for index, evaluation and report"
    counted.clear()

    classifier = tlaam.fit(photos, tmp_path / "python", SETTINGS, progress=False)
    assert counted.pop("loads") == 1 and set(counted.values()) == {1}
    assert files(tmp_path / "cli") == files(tmp_path / "python") >= {"gallery.npz", "report.html", "model.safetensors"}
    for name in ("model.safetensors", "gallery.npz"):
        assert (tmp_path / "cli" / name).read_bytes() == (tmp_path / "python" / name).read_bytes()
    assert classifier.predict(photos / "jay" / "0.png").verdict is not None, "the index is in use at once"


def test_a_report_times_answering_alone(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading takes half a minute here; the report is not to count it."""
    clock = {"offset": 0.0}
    load, now = engine_module._loaded, engine_module.time.perf_counter

    def slow(path: Path) -> Any:
        clock["offset"] += 30
        return load(path)

    monkeypatch.setattr(engine_module, "_loaded", slow)
    monkeypatch.setattr(engine_module.time, "perf_counter", lambda: now() + clock["offset"])
    engine = tlaam.fit(photos, tmp_path / "run", SETTINGS, progress=False).engine
    assert engine.answered == 18 and 0 < engine.seconds < 30


def test_fit_takes_images_in_memory(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.setenv("TLAAM_CACHE", str(tmp_path / "cache"))
    pairs = [(Image.open(path), path.parent.name) for path in sorted(photos.glob("*/*.png"))]
    classifier = tlaam.fit(pairs, tmp_path / "run", SETTINGS, epochs=1, raw_epochs=0, progress=False, report=False)
    assert classifier.classes == ("crow", "jay", "wren")
    assert not (tmp_path / "run" / "report.html").exists() and (tmp_path / "run" / "gallery.npz").exists()
    assert isinstance(classifier.engine.model, TorchModel)


def test_an_overlay_is_drawn_from_the_pixels_that_were_decoded_for_the_network(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlaam.data import images, input_image

    decoded: Counter[str] = Counter()
    load = images.load_image

    def counting(path: Any, **options: Any) -> Any:
        decoded[str(path)] += 1
        return load(path, **options)

    for module in (images, input_image, __import__("tlaam.inference.prediction", fromlist=["x"])):
        monkeypatch.setattr(module, "load_image", counting)
    assert main(["predict", str(run), str(photos / "jay"), "--overlays", str(tmp_path / "seen")]) == 0
    assert len(list((tmp_path / "seen").iterdir())) == 6 == len(decoded)
    assert set(decoded.values()) == {1}
