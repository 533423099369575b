"""Runs that start from a trained model: its rows, settings and localiser; resumed without it; what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import tlaam
from tlaam.cli.main import main
from tlaam.config.schema import Config
from tlaam.errors import ConfigError, ModelError
from tlaam.inference.store import load_model
from tlaam.runs.folder import RunFolder
from tlaam.training import run as training_run
from tlaam.training.class_rows import LOW
from tlaam.training.run import resume, train
from tlaam.training.start import Start

OLD: dict[str, Any] = {
    "epochs": 0, "backbone": "test_resnet", "localizer": "foreground", "image_size": 64, "source_size": 96,
    "pretrained": "none", "workers": 0, "pseudo_mask_size": 96, "val_fraction": 0.0, "accelerator": "cpu",
    "precision": "32-true",
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "epochs": 0,
    "pseudo_mask_size": 96,
    "workers": 0,
    "val_fraction": 0.0,
    "accelerator": "cpu",
    "precision": "32-true",
}


@pytest.fixture(scope="module")
def old(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of class0, class1 and class2."""
    return train(photographs, tmp_path_factory.mktemp("old") / "season1", Config.from_flat(OLD), progress=False)


@pytest.fixture(scope="module")
def season(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of class1, class2 and one class more, which sorts first: grey images."""
    folder = tmp_path_factory.mktemp("season2") / "photos"
    for name in ("class1", "class2"):
        shutil.copytree(photographs / name, folder / name)
    (folder / "another").mkdir()
    for path in sorted((photographs / "class1").iterdir()):
        Image.open(path).convert("L").convert("RGB").save(folder / "another" / path.name)
    return folder


def begun(data: Path, out: Path, start: Path, *, keep_classes: bool = False, **changes: Any) -> Path:
    config = Config.from_flat({**TRAINING, **changes})
    return train(data, out, config, start=start, keep_classes=keep_classes, progress=False)


def killed_at(number: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that is killed as it is called for the how-manieth time."""
    calls = iter(range(1, number))

    def killed(*given: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return function(*given, **options)

    return killed


def weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model.safetensors")


def test_a_probe_on_anothers_features_keeps_backbone_and_localiser(old: Path, season: Path, tmp_path: Path) -> None:
    new = begun(season, tmp_path / "season2", old)
    before, after = weights(old), weights(new)
    changed = {
        name.split(".")[0] for name, value in after.items() if not torch.equal(value, before.get(name, value + 1))
    }
    assert changed == {"classifier", "joint"}, "the localiser is taken over, not fitted"
    model = load_model(new)
    assert model.classes == ("another", "class1", "class2") and model.config == load_model(old).config
    report = tlaam.load(new, device="cpu", precision="32-true").evaluate(season)
    assert report.classification["fused"].top1 > 0.9
    status = json.loads((new / "run.json").read_text())
    assert status["started_from"] == {
        "name": "season1", "weights_sha256": load_model(old).checksum, "shared": ["class1", "class2"],
        "new": ["another"], "kept": [], "dropped": ["class0"],
    }  # fmt: skip
    description = (new / "config.json").read_text()
    assert json.loads(description)["started_from"] == {"name": "season1", "weights_sha256": load_model(old).checksum}
    assert str(old.parent) not in description
    assert Config.from_yaml(new / "config.yaml").training.probe_first is True


def test_it_is_resumed_without_the_model_it_started_from(
    old: Path, season: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = begun(season, tmp_path / "whole", old, keep_classes=True)
    for name in ("fit_probe_model", "fit", "save_model"):
        former = shutil.copytree(old, tmp_path / name / "season1")
        last = 2 if name == "save_model" else 1  # of the two models that a run saves, the second is its result
        killed = killed_at(last, getattr(training_run, name))
        with monkeypatch.context() as patched:
            patched.setattr(training_run, name, killed)
            with pytest.raises(KeyboardInterrupt):
                begun(season, tmp_path / name / "run", former, keep_classes=True)
        shutil.rmtree(former)
        again = resume(tmp_path / name / "run", progress=False)
        assert (again / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes(), name
        assert load_model(again).classes == ("another", "class1", "class2", "class0")
        assert json.loads((again / "config.json").read_text()) == json.loads((whole / "config.json").read_text())


def test_kept_classes_stay_answers(old: Path, season: Path, photographs: Path, tmp_path: Path) -> None:
    new = tlaam.fit(
        season, tmp_path / "kept", TRAINING, start=old, keep_classes=True, progress=False
    )  # index and report have a class without images
    assert new.classes == ("another", "class1", "class2", "class0")
    report = new.evaluate(photographs).classification["fused"]
    assert report.per_class["class0"]["recall"] > 0.7, "as the old model knew it: no image of it was seen here"
    assert new.evaluate(season).classification["fused"].top1 > 0.9


def test_training_goes_on_from_there(old: Path, season: Path, tmp_path: Path) -> None:
    settings = {"epochs": 1, "raw_epochs": 0, "batch_size": 9, "lr": 0.0, "probe_first": False, "keep": "last"}
    new = begun(season, tmp_path / "new", old, **settings)
    before, after = weights(old), weights(new)
    moved = ("running_mean", "running_var", "num_batches_tracked", "localizer.threshold")
    for name, value in after.items():
        if name.startswith(("classifier", "joint")):
            assert torch.equal(value[1:], before[name][1:]), "class1 and class2"
            assert torch.equal(
                value[0], (before[name].min() - LOW if value.ndim == 1 else torch.zeros(1)).expand_as(value[0])
            )
        elif not name.endswith(moved):
            assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("changes", [{"image_size": 96}, {"backbone": "resnet18"}, {"localizer": "oaam"},
                                     {"attention": "none"}, {"fusion": "mean"}])  # fmt: skip
def test_another_setting_of_the_model_is_refused(
    old: Path, season: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    ((name, value),) = changes.items()
    with pytest.raises(ConfigError, match=rf"^a run that starts from season1 has its {name}, .*, and not {value}: "):
        begun(season, tmp_path / "new", old, **changes)
    with pytest.raises(ConfigError, match=name):
        tlaam.fit(season, tmp_path / "new", Config.from_flat(TRAINING), start=old, progress=False, **changes)
    assert not (tmp_path / "new").exists()


def test_the_same_settings_are_no_contradiction(old: Path) -> None:
    from tlaam.training.start import read_former

    written = Config.from_yaml(old / "config.yaml").with_options(epochs=3)
    found = read_former(old / "model.safetensors").settings(written)
    assert found.training.epochs == 3 and found.model == load_model(old).config


def test_what_cannot_be_started_from_is_said_in_a_line(
    old: Path, season: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match="an exported file cannot be trained on"):
        begun(season, tmp_path / "new", tmp_path / "model.onnx")
    command = ["train", str(season), "--out", str(tmp_path / "new")]
    for given, said in (
        (["--from", str(tmp_path / "model.onnx")], "cannot be trained on"),
        (["--from", str(tmp_path)], "holds no trained model"),
        (["--from", str(old), "--image-size", "96"], "image_size, 64, and not 96"),
        (["--from", str(old), "--preset", "paper"], "has its backbone, test_resnet, and not resnet50"),
        (["--keep-classes"], "--from"),
    ):
        assert main([*command, *given]) != 0
        error = capsys.readouterr().err
        assert said in error and error.count("\n") == 1, error
    assert main(["train", "--resume", str(old), "--from", str(old)]) == 2
    assert "--from cannot be changed" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_classes_are_named_in_a_line_each(
    old: Path, season: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TRAINING.items()]
    command = ["train", str(season), "--from", str(old), "--out", str(tmp_path / "new"), "--no-report", "--no-index"]
    assert main([*command, *options]) == 0
    said = capsys.readouterr().err.splitlines()
    assert "Classes that keep their rows of every classifier: class1, class2." in said
    assert "New classes: another." in said
    assert any(
        line.startswith("Classes of season1 without images here") and line.endswith(": class0.") for line in said
    )
    assert any("starting from the trained model season1 (" in line for line in said)


def test_what_a_run_that_was_killed_while_beginning_left_is_cleared(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.lock.touch()
    folder.start.mkdir()
    (folder.start / "model.safetensors").write_bytes(b"half")
    with folder.created():
        assert not folder.start.exists()


def test_many_classes_are_counted() -> None:
    names = tuple(f"class{number}" for number in range(12))
    (line,) = Start("old", "", (), names, (), ()).lines()
    assert line == f"New classes: {', '.join(names[:10])} and 2 more, 12 in all."
    assert len(Start("old", "", names[:1], names[1:2], names[2:3], names[3:4]).lines()) == 4
