"""The command line: quick help, one line an error, and the whole job from data to pictures."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
import yaml
from PIL import Image

import tlaam.cli.main
from tlaam.cli.main import VERBS, main
from tlaam.cli.output import columns, json_lines, padded
from tlaam.config.sections import ModelConfig, TrainingConfig
from tlaam.errors import DataError, RunError
from tlaam.inference.prediction import TELLS_NO_STRANGERS
from tlaam.utils.text import printable

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
    began = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    ended = os.times()
    assert done.returncode == 0, "help imported torch"
    assert "Usage: tlaam" in done.stdout
    # Processor time of the child, which does not grow with what else the machine does.
    assert ended.children_user + ended.children_system - began.children_user - began.children_system < 1


def test_the_help_of_train_says_the_default_of_every_option() -> None:
    from tlaam.cli.train import train

    context = click.Context(train)
    shown = {option.name: option.get_help_record(context) for option in train.params}
    for section in (ModelConfig, TrainingConfig):
        for name, field in section.model_fields.items():
            default = str(field.default).strip("()").replace(", ", ",")
            default = {"None": "auto", "True": "yes", "False": "no"}.get(default, default)
            record = shown[name]
            assert record is not None and record[1].endswith(f" [{default}]"), name


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
    (["evaluate", "absent"], 1, "holds no trained model"),
    (["evaluate", __file__], 2, "give what to measure on"),
    (["evaluate", __file__, "x"], 1, "is not an ONNX file"),
    (["predict", "absent"], 2, "IMAGES"),
    (["predict", "absent", "x"], 1, "holds no trained model"),
    (["predict", "absent.onnx", "x"], 1, "absent.onnx is missing; give the file that tlaam export wrote"),
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

    page = tmp_path / "page.html"
    code, out, _ = call(capsys, "evaluate", run, photos, "--split", "train", "--page", page, "--pictures", "4")
    assert code == 0 and str(page) in out
    html = page.read_text(encoding="utf-8")
    assert html.count("<figure") == 4 and "How often it is right" in html

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


def test_a_json_file_of_another_ending_is_no_image(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "predict", tmp_path, tmp_path / "1.png", "--json", tmp_path / "answers.txt")
    assert code == 2 and "--json takes a FILE that ends in .json or .jsonl" in err and "answers.txt" in err


def test_a_run_that_is_not_there_is_not_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "export", tmp_path / "nosuch", "--out", tmp_path / "m.onnx")
    assert code == 1 and "there is no run" in err and err.count("tlaam: ") == 1


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


def test_without_a_verb_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys)
    assert code == 0 and out.startswith("Usage: tlaam") and "quickstart" in out and err == ""
    assert call(capsys, "--version")[0] == 0


class OutOfMemoryError(RuntimeError):
    __module__ = "torch"


@pytest.mark.parametrize(("error", "message"), [
    (FileNotFoundError(2, "No such file or directory", "a.txt"), "'a.txt': No such file or directory."),
    (OSError(28, "No space left on device"), "No space left on device. Free some space"),
    (OSError(36, "File name too long", b"long"), "'long': File name too long. Give a shorter path."),
    (OSError("broken\ndata stream"), "broken. Check"),
    (IsADirectoryError(21, "Is a directory", "x"), "'x': Is a directory."),
    (MemoryError(), "out of memory (MemoryError). Lower --batch-size"),
    (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"), "2 GiB). Lower --batch-size"),
    (torch.cuda.OutOfMemoryError("CUDA out of memory."), "--resume RUN"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "Lower --batch-size"),
    (RuntimeError("could not create a primitive"), "out of memory (could not create a primitive)"),
])  # fmt: skip
def test_a_fault_of_the_machine_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(tlaam.cli.main._Verbs, "get_command", lambda *_: click.Command("train", callback=fail))
    code, out, err = call(capsys, "train")
    assert (code, out) == (1, "") and message in err and err.startswith("tlaam: ") and err.count("\n") == 1


def test_what_breaks_a_line_of_a_log_prints_no_stack_trace(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the signal that tells of a dead loader process arrives in the middle of it."""

    class Interrupted(logging.StreamHandler):  # type: ignore[type-arg]
        def format(self, record: logging.LogRecord) -> str:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

    logger = logging.Logger("some library's")
    logger.addHandler(Interrupted())
    command = click.Command("train", callback=lambda: logger.warning("something"))
    monkeypatch.setattr(tlaam.cli.main._Verbs, "get_command", lambda *_: command)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    assert call(capsys, "train") == (0, "", "")


def test_a_defect_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(tlaam.cli.main._Verbs, "get_command", lambda *_: click.Command("train", callback=fail))
    with pytest.raises(RuntimeError, match="a defect"):
        main(["train"])


def test_check_lists_all_faults_together(capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path) -> None:
    assert call(capsys, "check", photos)[0] == 0
    (tmp_path / "bad.png").write_bytes(b"no image")
    rows = [f"{path},{path.parent.name},,,," for path in sorted(photos.rglob("*.png"))]
    rows += [f"{tmp_path}/bad.png,jay,,,,", f"{photos}/jay/../jay/0.png,jay,9,9,3,3"]
    (tmp_path / "m.csv").write_text("\n".join(["image,label,x_min,y_min,x_max,y_max", *rows]))
    code, out, err = call(capsys, "check", tmp_path / "m.csv", "--json", tmp_path / "found.json")
    assert code == 1 and err == "" and "Refused for training" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["counts"]["unreadable"] == found["counts"]["box-outside"] == 1

    data = tmp_path / "folders"
    shutil.copytree(photos, data)
    (data / "owl").mkdir()
    code, out, _ = call(capsys, "check", data)
    assert code == 1 and "empty: owl: This class has no image." in out
    code, _, err = call(capsys, "train", data, "--out", tmp_path / "run", *QUICK)
    assert code == 1 and "owl" in err, "training stays strict"


def test_what_a_folder_holds_besides_images_is_said(
    capsys: pytest.CaptureFixture[str], run: Path, photos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "photos"
    shutil.copytree(photos, data / "train")
    shutil.copytree(photos / "jay", data / "test")
    (data / "train" / "jay" / "0.xml").write_text("x")
    code, _, err = call(capsys, "predict", run, data / "train")
    assert code == 0 and f"tlaam: Left out of '{data}/train': 1 file that is no image (1 .xml).\n" in err
    code, _, err = call(capsys, "evaluate", run, data)
    assert code == 0 and "tlaam: Left out: folder 'test' with 6 images: its images lie in no class folder" in err
    assert err.count("Left out") == 2
    code, out, _ = call(capsys, "check", data)
    assert code == 0 and "Classes: crow 6, jay 6, wren 6" in out and "folder 'test' with 6 images" in out


def test_boxes_of_smaller_copies_are_doubted_where_they_are_measured(
    capsys: pytest.CaptureFixture[str], exported_run: Path, photos: Path, tmp_path: Path
) -> None:
    for scale, doubted in ((1, False), (0.25, True)):
        corners = ",".join(str(scale * number) for number in (10, 10, 70, 50))
        rows = [f"{path},{path.parent.name},{corners}" for path in sorted(photos.rglob("*.png"))]
        (tmp_path / "m.csv").write_text("\n".join(["image,label,x_min,y_min,x_max,y_max", *rows]))
        code, _, err = call(capsys, "evaluate", exported_run, tmp_path / "m.csv", "--json", tmp_path / "m.json")
        assert code == 0 and ("boxes lie in the upper left" in err) == doubted
        assert ("box_doubt" in json.loads((tmp_path / "m.json").read_text())) == doubted


def test_check_prints_the_first_of_many_faults_and_their_number(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    rows = [f"{path},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    rows += [f"absent{number}.png,jay" for number in range(40)]
    (tmp_path / "m.csv").write_text("\n".join(["image,label", *rows]))
    code, out, _ = call(capsys, "check", tmp_path / "m.csv", "--json", tmp_path / "found.json")
    lines = [line for line in out.splitlines() if line.startswith("unreadable: ")]
    assert code == 1 and len(lines) == 6
    assert lines[0] == "unreadable: absent0.png: It is missing." and lines[-1].startswith("unreadable: and 35 more;")
    assert len(json.loads((tmp_path / "found.json").read_text())["findings"]) == 40


def test_rows_are_aligned_and_faults_are_marked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path, photos: Path, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    wide, far = Path("写真.png"), Path("x" * 80) / "a.png"
    far.parent.mkdir()
    for path in (Path("jay.png"), wide, far):
        shutil.copy(photos / "jay" / "0.png", path)
    Path("line\nbreak.png").write_bytes(b"no image")
    code, out, _ = call(capsys, "predict", run, "jay.png", wide, "line\nbreak.png", far)
    heading, jay, photo, broken, long = out.splitlines()
    assert code == 0 and heading.split() == ["image", "best", "class", "prob.", "second", "third"]
    start = heading.index("best class")
    assert start == 62
    for row in (jay, photo):
        assert row.count("%") == 3 and columns(row) == columns(jay)
    assert jay[start:].split()[0] in ("crow", "jay", "wren") and jay.startswith("jay.png  ")
    assert jay.index("%") < heading.index("second") < heading.index("third")
    assert r"line\nbreak.png" in broken and "  ERROR: Cannot read image" in broken
    assert long.startswith(f"{far}  ")
    code, out, _ = call(capsys, "predict", run, wide, "--top-k", 1)
    assert out.count("%") == 1 and "second" not in out


def test_names_that_are_no_text_break_nothing(
    capsys: pytest.CaptureFixture[str], run: Path, photos: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(photos, data)
    odd = Path(os.fsdecode(os.fsencode(data / "jay") + b"/bird\xff.png"))
    try:
        shutil.copy(photos / "jay" / "0.png", odd)
        (odd.parent / os.fsdecode(b"none\xff.png")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only names that are text")
    for extra in ([], ["--json"], ["--json", str(tmp_path / "p.jsonl")]):
        code, out, err = call(capsys, "predict", run, odd, *extra, "--overlays", tmp_path / "seen")
        assert (code, err) == (0, f"tlaam: {TELLS_NO_STRANGERS} (docs/strangers.md).\n") and "bird\\" in out
    assert json.loads((tmp_path / "p.jsonl").read_text())["path"] == str(odd)
    assert [os.fsencode(path.name) for path in (tmp_path / "seen").iterdir()] == [b"00001-bird\xff.png"]
    assert call(capsys, "predict", run, odd.parent / os.fsdecode(b"none\xff.png"))[0] == 1
    for extra in ([], ["--json"], ["--json", str(tmp_path / "c.json")]):
        code, out, err = call(capsys, "check", data, *extra)
        assert (code, err) == (1, "") and "none\\" in out
    assert "none\\udcff" in (tmp_path / "c.json").read_text()


def test_every_impossible_path_is_a_row(capsys: pytest.CaptureFixture[str], run: Path, photos: Path) -> None:
    code, out, err = call(capsys, "predict", run, "x" * 300, photos / "jay" / "0.png", "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 0 and "too long" in first["error"] and second["error"] is None and "1 of 2" in err


def test_lines_are_written_as_they_come(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path, photos: Path, tmp_path: Path
) -> None:
    from tlaam.inference.engine import Engine
    from tlaam.inference.prediction import Prediction

    seen: list[str] = []

    def interrupted(self: Engine, paths: list[str]) -> Iterator[Prediction]:
        yield Prediction(paths[0], error="none")
        seen.append(capsys.readouterr().out)
        raise DataError("interrupted")

    monkeypatch.setattr(Engine, "predict", interrupted)
    target = tmp_path / "out" / "p.jsonl"
    target.parent.mkdir()
    target.write_text("old")
    assert call(capsys, "predict", run, photos, "--json")[0] == 1
    assert json.loads(seen[0])["error"] == "none"
    assert call(capsys, "predict", run, photos, "--json", target)[0] == 1
    assert seen[1].splitlines()[-1].endswith("ERROR: none")
    assert target.read_text() == "old" and list(target.parent.iterdir()) == [target]


def test_a_full_disk_names_the_file_of_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tlaam.cli.output.os.fsync", full)
    with pytest.raises(OSError) as caught, json_lines(str(tmp_path / "p.jsonl")) as write:
        write({})
    assert caught.value.filename == str(tmp_path / "p.jsonl") and list(tmp_path.iterdir()) == []


def test_a_picture_that_fails_costs_only_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path, photos: Path, tmp_path: Path
) -> None:
    from tlaam.inference.prediction import Prediction

    write = Prediction.save_plot
    faults = iter([RunError("The disk is full."), OSError(5, "Input/output error"), DataError("gone")])

    def failing(prediction: Prediction, path: Path) -> None:
        if (fault := next(faults, None)) is not None:
            raise fault
        write(prediction, path)

    monkeypatch.setattr(Prediction, "save_plot", failing)
    code, out, err = call(capsys, "predict", run, photos / "jay", "--json", "--overlays", tmp_path / "seen")
    overlays = [json.loads(line)["overlay"] for line in out.splitlines()]
    assert code == 0 and overlays[:3] == [None] * 3
    assert [Path(overlay).name for overlay in overlays[3:]] == ["00004-3.png", "00005-4.png", "00006-5.png"]
    assert sorted(map(str, (tmp_path / "seen").iterdir())) == overlays[3:]
    assert err.count("\n") == 4 and all(text in err for text in ("disk is full", "Input/output", "gone", "0.png"))
    assert err.endswith(f"tlaam: {TELLS_NO_STRANGERS} (docs/strangers.md).\n"), "this model has no reference index"
    (tmp_path / "file").write_text("")
    code, out, err = call(capsys, "predict", run, photos / "jay", "--overlays", tmp_path / "file")
    assert code == 1 and out == "" and err.count("\n") == 1 and "file" in err


def test_pictures_of_long_names_have_names_of_bounded_length(
    capsys: pytest.CaptureFixture[str], run: Path, photos: Path, tmp_path: Path
) -> None:
    long = tmp_path / ("é" * 120 + ".png")
    shutil.copy(photos / "jay" / "0.png", long)
    assert call(capsys, "predict", run, long, "--overlays", tmp_path / "seen")[0] == 0
    (picture,) = (tmp_path / "seen").iterdir()
    assert picture.name == "00001-" + "é" * 95 + ".png" and len(os.fsencode(picture.name)) == 200


def test_text_for_a_terminal() -> None:
    assert printable("é 写\n\x1b[1m\udcff") == r"é 写\n\x1b[1m\udcff"
    assert columns("写真") == 4 and columns("e\u0301") == 1
    assert padded("写", 4) == "写  " and padded("long", 2) == "long"


def test_every_verb_takes_a_file_of_its_options(
    capsys: pytest.CaptureFixture[str], run: Path, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("top_k: 1\n")
    _, out, _ = call(capsys, "predict", run, photos / "jay" / "0.png", "--json", "--config", file)
    assert len(json.loads(out)["predictions"]) == 1
    _, out, _ = call(capsys, "predict", run, photos / "jay" / "0.png", "--json", "--config", file, "--top-k", "2")
    assert len(json.loads(out)["predictions"]) == 2
    file.write_text("split: train\njson: '-'\n")
    code, out, _ = call(capsys, "evaluate", run, photos, "--config", file)
    assert code == 0 and json.loads(out)["split"] == "train"
    file.write_text("splt: train\n")
    code, _, err = call(capsys, "evaluate", run, photos, "--config", file)
    assert code == 1 and "Did you mean 'split'" in err
    for verb in VERBS:
        assert "--config" in call(capsys, verb, "--help")[1]


def test_devices_that_torchrun_has_not_started_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: Path, photos: Path
) -> None:
    for name, value in (("TORCHELASTIC_RUN_ID", "none"), ("LOCAL_WORLD_SIZE", "2"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    code, _, err = call(capsys, "evaluate", run, photos, "--devices", "3")
    assert code == 1 and "--devices 3 does not fit the 2 processes that torchrun has started" in err
