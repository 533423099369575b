"""The command line: quick help, one line an error, and the whole job from data to pictures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tlaam.cli.main import VERBS, main

QUICK = ["--backbone", "resnet18", "--pretrained", "none", "--image-size", "64", "--epochs", "2", "--raw-epochs", "1",
         "--workers", "0", "--accelerator", "cpu"]  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_appears_at_once_and_without_torch(verb: str) -> None:
    code = (
        "import sys; from tlaam.cli.main import main\n"
        f"try: main({[*([verb] if verb else []), '--help']!r})\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    seconds = time.monotonic() - began
    assert done.returncode == 0, "help imported torch"
    assert "Usage: tlaam" in done.stdout
    # A second on an idle machine (measured: see the benchmarks); other tests share this one.
    assert seconds < 5


@pytest.mark.parametrize(("arguments", "code", "message"), [
    (["trian", "x"], 2, "Did you mean 'train'"),
    (["train", "x", "--epoch", "3"], 2, "--epochs"),
    (["train"], 2, "give either DATA"),
    (["train", "photos", "--resume", "x"], 2, "give either DATA"),
    (["train", "--resume", "x", "--lr", "1"], 2, "--lr cannot be changed"),
    (["train", "nowhere"], 1, "nowhere"),
    (["train", "synthetic:clases=3"], 1, "classes"),
    (["train", "x", "--optimizer", "adm"], 1, "Did you mean 'adamw'"),
    (["train", "x", "--epochs", "many"], 1, "epochs"),
    (["train", "x", "--part-windows", "0.2,b"], 1, "no list of numbers"),
    (["train", "x", "--preset", "papr"], 1, "Did you mean 'paper'"),
    (["train", "x", "--config", "absent.yaml"], 1, "absent.yaml"),
    (["evaluate", "absent", "x"], 1, "holds no trained model"),
    (["predict", "absent"], 2, "IMAGES"),
    (["check", "nowhere"], 1, "nowhere"),
])  # fmt: skip
def test_an_error_is_one_line_and_a_code(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    found, out, err = call(capsys, *arguments)
    assert found == code
    assert message in err and err.startswith("tlaam: ") and err.count("\n") == 1
    assert out == ""


def test_a_misspelt_option_in_a_file_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for text, message in [("epoch: 3", "Did you mean 'epochs'"), ("model: {epochs: 3}", "belongs to 'training'"),
                          ("- 1", "holds a list"), ("a: [", "not YAML"), ("model: 3", "section 'model'")]:  # fmt: skip
        (tmp_path / "c.yaml").write_text(text)
        code, _, err = call(capsys, "train", "x", "--config", tmp_path / "c.yaml")
        assert code == 1 and message in err and err.count("\n") == 1


def test_from_class_folders_to_pictures(capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (tmp_path / "settings.yaml").write_text("training: {lr: 0.5, batch_size: 8}\nlabel_smoothing: 0.1\n")
    code, out, _ = call(
        capsys, "train", photos, "--out", run, "--config", tmp_path / "settings.yaml", "--lr", "0.001", *QUICK
    )
    assert code == 0 and str(run) in out
    settings = yaml.safe_load((run / "config.yaml").read_text())
    assert settings["training"] | {"lr": 0.001, "batch_size": 8, "label_smoothing": 0.1} == settings["training"]

    code, out, _ = call(capsys, "evaluate", run, photos, "--json")
    measured = json.loads(out)
    assert code == 0 and measured["split"] == "val" and measured["images"] == 3
    assert set(measured["classification"]) == {"raw", "object", "parts", "fused"}
    code, out, _ = call(capsys, "evaluate", run, photos, "--split", "train", "--json", tmp_path / "m" / "train.json")
    assert code == 0 and "top-1" in out and json.loads((tmp_path / "m" / "train.json").read_text())["images"] == 15

    image = photos / "jay" / "2.png"
    before = image.read_bytes()
    (tmp_path / "broken.png").write_bytes(b"nothing")
    asked = [image, tmp_path / "broken.png", photos / "wren"]
    code, out, err = call(capsys, "predict", run, "--json", *asked, "--overlays", tmp_path / "seen")
    lines = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and "1 of 8 images could not be read" in err
    assert [Path(line["path"]).name for line in lines] == ["2.png", "broken.png", *(f"{i}.png" for i in range(6))]
    assert image.read_bytes() == before
    pictures = sorted((tmp_path / "seen").iterdir())
    assert [p.name for p in pictures][:2] == ["00001-2.png", "00003-0.png"] and len(pictures) == 7
    assert Image.open(pictures[0]).width > 300

    code, out, _ = call(capsys, "predict", run, *asked, "--json", tmp_path / "p.jsonl")
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 8 and "ERROR" in out
    assert call(capsys, "predict", run, tmp_path / "broken.png")[0] == 1


def test_a_manifest_trains_with_the_same_command(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    rows = [f"{p},{p.parent.name},{'test' if p.stem == '0' else 'train'}" for p in sorted(photos.rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["image,label,split", *rows]))
    assert call(capsys, "train", tmp_path / "list.csv", "--out", tmp_path / "run", *QUICK)[0] == 0
    code, out, _ = call(capsys, "evaluate", tmp_path / "run", tmp_path / "list.csv", "--json")
    assert code == 0 and json.loads(out)["split"] == "test" and json.loads(out)["images"] == 3


def test_train_refuses_what_it_cannot_read_and_says_what_it_left_out(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    (data / "crow" / "1.png").write_bytes((data / "crow" / "1.png").read_bytes()[:200])
    code, _, err = call(capsys, "train", data, "--out", tmp_path / "run", *QUICK)
    assert code == 1 and "1.png" in err and "--skip-unreadable" in err and not (tmp_path / "run").exists()
    code, out, _ = call(capsys, "check", data)
    assert code == 1 and "1.png" in out
    code, _, _ = call(capsys, "train", data, "--out", tmp_path / "run", *QUICK, "--skip-unreadable")
    assert code == 0
    skipped = json.loads((tmp_path / "run" / "skipped.json").read_text())["skipped"]
    assert [entry["name"] for entry in skipped] == ["crow/1.png"]


def test_a_run_folder_is_never_begun_twice(capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path) -> None:
    assert call(capsys, "train", photos, "--out", tmp_path / "run", *QUICK)[0] == 0
    weights = (tmp_path / "run" / "model.safetensors").read_bytes()
    code, _, err = call(capsys, "train", photos, "--out", tmp_path / "run", *QUICK)
    assert code == 1 and "--resume" in err and err.count("tlaam: ") == 1
    assert call(capsys, "train", "--resume", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights


def test_the_module_runs_as_the_command() -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-m", "tlaam", "check", "nowhere"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1 and done.stderr.startswith("tlaam: ") and done.stderr.count("\n") == 1
