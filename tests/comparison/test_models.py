"""Trained models on the same images: measures by class names, the sign of differences, and which answers changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_runs import small_run

from tlaam.cli.main import main
from tlaam.comparison import models as compared
from tlaam.comparison.models import ModelComparison, compare_models, names_of
from tlaam.comparison.models_page import write_model_comparison
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages, Sample
from tlaam.errors import ConfigError, DataError, RunError
from tlaam.inference.backend import Answers
from tlaam.inference.engine import Engine
from tlaam.inference.prediction import Prediction
from tlaam.inference.prediction_cache import PredictionCache
from tlaam.inference.store import load_model, save_model
from tlaam.models.network import TLAAM

CLASSES = ("crow", "jay", "wren")


class Model:
    """A backend that is told what to answer; it stands for a file that is loaded."""

    source_size, precision, draws_maps, index, detector = 32, "fp32", False, None, None

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes, self.checksum = tuple(classes), "sum of " + " ".join(classes)

    def ready(self, device: Any, precision: Any) -> Model:
        return self

    def answer(self, inputs: NDArray[np.uint8]) -> Answers:
        raise NotImplementedError


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> dict[str, Engine]:
    """Let `compare_models` find engines by name, and each answer what `said` holds of it."""
    engines: dict[str, Engine] = {}
    monkeypatch.setattr(compared, "load_engine", lambda path, **options: engines[path.name])

    def answers(self: PredictionCache, samples: Sequence[Sample], progress: Any = None) -> list[Prediction]:
        said: dict[str, tuple[str, float]] = self.engine.said  # type: ignore[attr-defined]
        classes = self.engine.classes
        found = []
        for sample in samples:
            name, score = said.get(sample.name, (sample.name.split("/")[-2], 0.9))
            rest = (1 - score) / (len(classes) - 1)
            values = np.array([score if own == name else rest for own in classes])
            assert values.sum() == pytest.approx(1), f"{name} is no answer of {classes}"
            found.append(
                Prediction(
                    str(sample.path), size=(80, 60), classes=classes, probabilities={"fused": values}, source=sample
                )
            )
        return found

    monkeypatch.setattr(PredictionCache, "of", answers)
    return engines


def engine(classes: Sequence[str], said: dict[str, tuple[str, float]]) -> Engine:
    made = Engine(Model(classes))
    made.said = said  # type: ignore[attr-defined]
    return made


@pytest.fixture
def images(photos: Path, tmp_path: Path) -> LabelledImages:
    """18 images, 12 of them the test split."""
    root = tmp_path / "photos"
    for path in photos.glob("*/*.png"):
        target = root / ("test" if int(path.stem) < 4 else "train") / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return open_dataset(root)


def test_measures_differences_and_changes(answering: dict[str, Engine], images: LabelledImages) -> None:
    answering["old"] = engine(CLASSES, {
        "test/jay/0.png": ("crow", 0.6), "test/jay/1.png": ("crow", 0.7), "test/wren/2.png": ("jay", 0.8),
        "test/crow/3.png": ("jay", 0.5),
    })  # fmt: skip
    answering["new"] = engine(CLASSES[::-1], {"test/crow/0.png": ("wren", 0.55), "test/crow/3.png": ("wren", 0.5)})
    found = compare_models(["a/old", "a/new"], images)
    old, new = found.models
    assert (found.split, len(found.samples)) == ("test", 12) and not found.notes
    assert (old.top1, new.top1) == (pytest.approx(8 / 12), pytest.approx(10 / 12))
    assert old.nll == pytest.approx(-np.mean(np.log([0.9] * 8 + [0.2, 0.15, 0.1, 0.25])))
    # Of jay, 2 of 4 are right and 2 others are called so, and so on: F1 of crow, jay and wren.
    assert old.macro_f1 == pytest.approx(np.mean([6 / 9, 4 / 8, 6 / 7]))
    (row,) = found.differences
    assert (row.first, row.second) == ("new", "old") and row.mean == pytest.approx(2 / 12)
    assert row.low <= row.mean <= row.high
    (change,) = found.to_dict()["changes"]
    assert [c["image"] for c in change["became_wrong"]] == ["test/crow/0.png"]
    assert change["became_wrong"][0] == {
        "image": "test/crow/0.png", "class": "crow",
        "before": {"answer": "crow", "score": 0.9}, "after": {"answer": "wren", "score": 0.55},
    }  # fmt: skip
    assert [c["image"] for c in change["became_right"]] == ["test/jay/0.png", "test/jay/1.png", "test/wren/2.png"]
    assert "new after old: 3 answers became right, 1 became wrong." in found.table()
    other = compare_models(["a/new", "a/old"], images).differences[0]
    assert (other.mean, other.low, other.high) == pytest.approx((-row.mean, -row.high, -row.low), abs=0.02)


def test_an_interval_excludes_zero_where_one_is_right_and_the_other_wrong(
    answering: dict[str, Engine], images: LabelledImages
) -> None:
    wrong = {sample.name: ("crow" if "crow" not in sample.name else "jay", 0.8) for sample in images.samples}
    answering |= {"old": engine(CLASSES, wrong), "new": engine(CLASSES, {}), "same": engine(CLASSES, {})}
    better, alike = compare_models(["old", "new"], images), compare_models(["new", "same"], images)
    assert better.differences[0].low > 0 and better.differences[0].decided
    assert (alike.differences[0].low, alike.differences[0].high) == (0, 0) and not alike.differences[0].decided


def test_images_of_a_class_that_a_model_does_not_know_are_wrong_for_it_and_said(
    answering: dict[str, Engine], images: LabelledImages
) -> None:
    unseen = {f"test/wren/{number}.png": ("jay", 0.99) for number in range(4)}
    answering |= {"old": engine(("crow", "jay"), unseen), "new": engine((*CLASSES, "owl"), {})}
    found = compare_models(["old", "new"], images)
    old, new = found.models
    assert (old.unknown, old.top1, new.unknown, new.top1) == (4, pytest.approx(8 / 12), 0, 1.0)
    assert old.macro_f1 == pytest.approx((1 + 2 * 4 / (4 + 8) + 0) / 3), "wren is a class of its own, never answered"
    assert old.nll == new.nll or old.nll == pytest.approx(-np.log(0.9)), "over the images both know the class of"
    assert new.nll == pytest.approx(-np.log(0.9))
    assert found.notes == [
        "old does not know wren: 4 of the 12 images, which count as wrong for it.",
        "NLL is of the 8 images whose class every model knows.",
    ]
    assert all(note in found.table() for note in found.notes)
    answering["none"] = engine(("owl", "emu"), {})
    with pytest.raises(DataError, match="no class of photos is one that any of the models knows: none, none2"):
        answering["none2"] = answering["none"]
        compare_models(["none", "none2"], images)


def test_three_models_and_other_splits(answering: dict[str, Engine], images: LabelledImages) -> None:
    answering |= {name: engine(CLASSES, {}) for name in ("a", "b", "c")}
    found = compare_models(["a", "b", "c"], images, split="train")
    assert len(found.samples) == 6 and [row.first for row in found.differences] == ["b", "c"]
    assert [change["after"] for change in found.to_dict()["changes"]] == ["b", "c"]
    with pytest.raises(DataError, match="no images in split 'val'"):
        compare_models(["a", "b"], images, split="val")
    with pytest.raises(ConfigError, match="two models at least"):
        compare_models(["a"], images)


def test_models_have_names_of_their_own() -> None:
    assert names_of(["runs/2025", Path("runs/2026/model.onnx")]) == ["2025", "model.onnx"]
    assert names_of(["hf://me/birds", "runs/birds"]) == ["me/birds", "birds"]
    with pytest.raises(ConfigError, match="given twice"):
        names_of(["runs/a", "./runs/a"])


def test_the_command_measures_runs_and_writes_json_and_a_page(
    images: LabelledImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = small_run(tmp_path / "old", localizer="oaam")
    model = load_model(old)
    assert isinstance(model.network, TLAAM)
    with torch.no_grad():
        model.network.classifier.weight.neg_()  # it answers with the class that it held least probable
    save_model(new := tmp_path / "new", model.network, model.config, model.classes)
    command = ["compare", "--models", str(old), str(new / "model.safetensors"), "--on", str(images.root)]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "photos, test split: 12 images" in said.out and "| new | 3 |" in said.out
    assert f"Page: {tmp_path / 'out' / 'index.html'}" in said.err
    record = json.loads((tmp_path / "out/models.json").read_text())
    assert [m["name"] for m in record["models"]] == ["old", "new"] and record["models"][0]["weights_sha256"]
    page = (tmp_path / "out/index.html").read_text()
    changed = [c["image"] for kind in ("became_wrong", "became_right") for c in record["changes"][0][kind]]
    assert changed and all(name.replace("_", "_<wbr>") in page for name in changed)
    assert page.count("data:image/jpeg") == 2 * len(changed)
    assert str(tmp_path) not in page + json.dumps(record)

    (tmp_path / "grid").mkdir()
    (tmp_path / "grid/comparison.json").write_text("{}")
    with pytest.raises(RunError, match="choose another folder"):
        write_model_comparison(tmp_path / "grid", ModelComparison("", "", (), (), (), (), ()))
    assert main([*command, "--out", str(tmp_path / "grid")]) == 1


@pytest.mark.parametrize(("given", "hint"), [
    (["--models", "a", "--on", "photos"], "--models OLD NEW --on DATA"),
    (["--models", "a", "b"], "--models OLD NEW --on DATA"),
    (["--models", "a", "b", "--on", "photos", "--seeds", "2"], "--seeds is of training; leave it out"),
    (["photos", "--on", "photos"], "go with --models"),
    (["a", "b"], "systems are trained on one DATA; received 2"),
    ([], "systems are trained on one DATA; received 0"),
])  # fmt: skip
def test_what_does_not_go_together_is_said(capsys: pytest.CaptureFixture[str], given: list[str], hint: str) -> None:
    assert main(["compare", *given]) == 2
    said = capsys.readouterr().err
    assert hint in said and said.count("\n") == 1


def test_a_run_is_measured_on_what_it_held_out_of_its_own_data(photos: Path, tmp_path: Path) -> None:
    from tlaam.training.run import train

    settings = {
        "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 96, "localizer": "none",
        "parts": "none", "epochs": 0, "workers": 0, "accelerator": "cpu",
    }  # fmt: skip
    data = shutil.copytree(photos, tmp_path / "photos")
    runs = [
        train(data, tmp_path / f"run{seed}", {**settings, "seed": seed, "val_fraction": 0.5}, progress=False)
        for seed in (0, 1)
    ]
    held = [set(json.loads((run / "data.json").read_text())["val"]) for run in runs]
    found = compare_models(runs, data)
    assert found.split == "val" and {sample.name for sample in found.samples} == held[0] & held[1] != held[0]
    seen = compare_models(runs, data, split="train")
    assert seen.notes[0] == "run0 was trained on these images: it looks better than it is."
    shutil.copy(data / "jay/0.png", data / "jay/more.png")
    (note, _) = compare_models(runs, data).notes
    assert note.startswith("run0 was trained on photos as it was before: it may have seen images measured here")
