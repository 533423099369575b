"""A run's page shows what was measured, and says what it was measured on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from measuring import measured

from tlaam.cli.main import main
from tlaam.config.schema import Config
from tlaam.errors import RunError
from tlaam.inference.prediction import VERDICTS
from tlaam.reference.file import read_index
from tlaam.reports.page import Chart, Gallery, Matrix, Part, Section, Table
from tlaam.reports.run_report import SHOWN, _intro, write_run_report
from tlaam.reports.words import ARITHMETIC, images_of
from tlaam.runs.folder import RunFolder
from tlaam.training.run import train
from tlaam.utils.text import per_cent
from tlaam.workflows.reference_index import write_reference_index

SETTINGS = {
    "backbone": "resnet18",
    "pretrained": "none",
    "image_size": 64,
    "source_size": 96,
    "part_size": 32,
    "epochs": 2,
    "raw_epochs": 1,
    "batch_size": 6,
    "workers": 0,
    "accelerator": "cpu",
}


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    return train(photos, out, {**SETTINGS, "val_fraction": 0.5}, progress=False)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a page is made of."""
    from tlaam.reports import run_report as run_page

    seen: dict[str, Any] = {}

    def write_page(path: Path, **values: Any) -> Path:
        seen.update(values)
        return Path(path)

    monkeypatch.setattr(run_page, "write_page", write_page)
    return seen


def titled(parts: list[Part]) -> dict[str, Section]:
    return {section.title: section for part in parts for section in part.sections}


def test_it_measures_the_validation_images_and_shows_all_there_is(trained: Path, written: dict[str, Any]) -> None:
    assert write_run_report(trained) == trained / "report.html"
    report = measured(trained, json.loads((trained / "data.json").read_text())["source"], split="val")
    sections = titled(written["sections"])
    assert f"Measured in {ARITHMETIC[report.precision]} on {report.images} validation images" in written["intro"]
    right, *others = written["figures"]
    assert right.value == f"{100 * report.classification['fused'].top1:.1f}\N{NO-BREAK SPACE}%"
    assert f"measured in {ARITHMETIC[report.precision]}" in right.note and "95 % interval" in right.note and others
    views = [[panel.name for panel in picture.panels] for picture in written["lead"].pictures]
    assert views == [["boxes", "heat map", "object", "parts"]] * len(report.classes)
    assert "flatter" in written["intro"]  # the epoch was chosen by these images
    accuracy = sections["How often it is right"]
    assert isinstance(accuracy, Table)
    fused = report.classification["fused"]
    assert ("all levels fused", fused.top1, fused.macro_f1) in accuracy.rows
    closer = sections["What looking closer changes"]
    assert isinstance(closer, Table)
    by_level = {row[0]: row[1:] for row in closer.rows}
    raw, whole = report.classification["raw"].top1, report.images
    for branch in ("object", "parts", "fused"):
        gained, lost = by_level[branch]
        assert isinstance(gained, int) and isinstance(lost, int)
        assert gained - lost == round((report.classification[branch].top1 - raw) * whole)
    wrong = round((1 - fused.top1) * whole)
    mistakes, pictures = sections["Most mixed up"], sections["Worst mistakes"]
    assert isinstance(mistakes, Table) and isinstance(pictures, Gallery)
    assert mistakes.note == f"{wrong} mistakes in all."
    assert len(pictures.pictures) == min(wrong, 6) > 0
    assert all(picture.good is False for picture in pictures.pictures)
    assert all(re.match(r"\w+ \d+\s%, it is \w+$", picture.caption) for picture in pictures.pictures)
    right = sections["Most probable right answers"]
    assert isinstance(right, Gallery) and all(picture.good for picture in right.pictures)
    pairs = sections["Side by side"]
    assert isinstance(pairs, Gallery) and all(" taken for " in picture.caption for picture in pairs.pictures)
    assert all(len(picture.panels) == 4 for picture in pairs.pictures), "both images, and the object of each"
    matrix = sections["What was taken for what"]
    assert isinstance(matrix, Matrix) and sum(map(sum, matrix.counts)) == report.images
    assert matrix.counts == report.classification["fused"].confusion.tolist() and matrix.names == report.classes
    assert accuracy.ranked
    time = sections["Time and machine"]
    assert isinstance(time, Table) and ("measured in", ARITHMETIC[report.precision]) in time.rows
    settings = sections["Settings"]
    assert isinstance(settings, Table) and ("image_size", "64") in settings.rows
    assert ("pretrained", "none") in settings.rows and ("cache", "—") in settings.rows
    untold = sections["What it says of its own answers"]
    assert isinstance(untold, Table) and untold.rows == [("nothing", report.images)]
    assert untold.note.startswith("This model cannot tell images of something else") and "tlaam index" in untold.note
    believed = sections["Can its probabilities be believed?"]
    assert f"Calibration error: {100 * fused.debiased_calibration_error:.1f} %" in believed.note
    assert f"with it: {100 * fused.ece:.1f} %" in believed.note
    assert "rough: it was measured on fewer than 100 images" in believed.note
    for name in ("Can its probabilities be believed?", "How it learnt: validation images", "How it learnt: losses"):
        assert isinstance(sections[name], Chart)


def test_without_what_tells_strangers_nothing_on_the_page_is_sure(trained: Path, tmp_path: Path) -> None:
    page = write_run_report(trained, path=tmp_path / "page.html").read_text(encoding="utf-8")
    seen = re.sub(r"data:[\w/;]+,[\w+/=]+", "", page)
    assert not re.search(r"\bsure(st)?\b", seen, re.IGNORECASE)
    assert "cannot tell images of something else" in seen


def test_with_a_gallery_it_shows_what_the_model_says_of_its_answers(
    trained: Path, written: dict[str, Any], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    judge = read_index(write_reference_index(run)).detector
    write_run_report(run)
    source = json.loads((run / "data.json").read_text())["source"]
    report = measured(run, source, split="val", index=read_index(run / "gallery.npz"))
    table = titled(written["sections"])["What it says of its own answers"]
    strangers = sum(r.verdict == "stranger" for r in report.per_image) / report.images
    assert (
        isinstance(table, Table)
        and judge.chosen_on in table.note
        and f"of {per_cent(strangers, 0)} of these" in table.note
    )
    by_word = {row[0]: row[1:] for row in table.rows}
    for verdict, word in VERDICTS.items():
        right = [r.predicted["fused"] == r.label for r in report.per_image if r.verdict == verdict]
        assert by_word[word] == (len(right), sum(right) / len(right) if right else None)
    assert sum(count for count, _ in by_word.values() if isinstance(count, int)) == report.images


def test_of_many_classes_there_are_the_pairs_alone(
    trained: Path, written: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlaam.reports import run_report as run_page

    monkeypatch.setattr(run_page, "MATRIX", 2)
    write_run_report(trained)
    sections = titled(written["sections"])
    assert "What was taken for what" not in sections and "Most mixed up" in sections


def test_another_data_set_can_be_measured(trained: Path, photos: Path, written: dict[str, Any], tmp_path: Path) -> None:
    assert write_run_report(trained, photos, split="train", path=tmp_path / "page.html") == tmp_path / "page.html"
    assert "training images." in written["intro"] and "flatter" not in written["intro"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_of_other_data_no_word_is_that_of_the_runs_own(
    trained: Path, photos: Path, written: dict[str, Any], tmp_path: Path, split: str
) -> None:
    rows = [f"{path},{path.parent.name},{split}" for path in sorted(photos.rglob("*.png"))[::2]]
    (tmp_path / "others.csv").write_text("\n".join(["image,label,split", *rows]))
    write_run_report(trained, tmp_path / "others.csv", path=tmp_path / "page.html")
    assert f"on {len(rows)} {images_of(split)} of others, which is not the data set" in written["intro"]
    assert "flatter a little" not in written["intro"] and "There were no" not in written["intro"]
    assert ("flatter the figures" in written["intro"]) == (split == "train")


def test_without_images_to_measure_on_it_shows_the_training(
    photos: Path, tmp_path: Path, written: dict[str, Any]
) -> None:
    run = train(photos, tmp_path / "run", {**SETTINGS, "val_fraction": 0, "keep": "last"}, progress=False)
    write_run_report(run)
    assert "nothing is known" in written["intro"]
    assert list(titled(written["sections"])) == ["How it learnt: losses", "Time and machine", "Settings"]


def test_an_unfinished_run_has_no_page(trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("config.yaml", "data.json", "run.json"):
        (copy / name).write_bytes((trained / name).read_bytes())
    RunFolder(copy).note_status(state="running")
    with pytest.raises(RunError, match="has not finished"):
        write_run_report(copy)


def test_training_ends_with_the_page(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [part for name, value in SETTINGS.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    out = tmp_path / "run"
    assert main(["train", str(photos), "--out", str(out), *options]) == 0
    assert f"Report: {out / 'report.html'}" in capsys.readouterr().out
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "How often it is right" in page and "<svg" in page and "data:image/jpeg" in page
    (out / "report.html").unlink()
    assert main(["train", "--no-report", "--resume", str(out)]) == 0
    assert not (out / "report.html").exists()
    elsewhere = tmp_path / "page.html"
    assert main(["report", str(out), str(photos), "--split", "train", "--out", str(elsewhere)]) == 0
    assert "training images." in elsewhere.read_text(encoding="utf-8")
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").read_text(encoding="utf-8").count("<figure") == page.count("<figure")


def test_a_page_that_cannot_be_written_leaves_the_model_and_is_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tlaam.reports import run_report as run_page

    def write_page(path: Path, **values: Any) -> Path:
        raise RunError("the disk is full")

    monkeypatch.setattr(run_page, "write_page", write_page)
    options = [part for name, value in SETTINGS.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *options]) == 0
    assert "no report was written: the disk is full" in capsys.readouterr().err
    assert (tmp_path / "run" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("epochs", "status", "words", "not_said"),
    [
        (
            0,
            {"probe": {"out_of_fold_top1": 0.9}},
            ["as it was pretrained", per_cent(0.9), "that figure"],
            "0 epochs",
        ),
        (
            3,
            {"probe": {"out_of_fold_top1": 0.9}, "kept": "probe"},
            ["as it was pretrained", "Before the first", "None of 3 epochs"],
            "trained for 3",
        ),
        (3, {"probe": {"out_of_fold_top1": None}, "kept": "epoch 2"}, ["nothing is known"], "No epoch"),
        (3, {}, ["trained for 3 epochs", "nothing is known"], "out of fold"),
    ],
)
def test_what_a_probe_is_known_to_do_is_said(
    epochs: int, status: dict[str, Any], words: list[str], not_said: str
) -> None:
    config = Config.from_flat({"epochs": epochs, "backbone": "resnet18", "image_size": 64})
    text = _intro(config, {"classes": 3, "name": "photos"}, status, None, "")
    assert all(word in text for word in words) and not_said not in text


def test_a_few_images_are_shown_once(
    photos: Path, tmp_path: Path, written: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(
        photos, tmp_path / "run", {**SETTINGS, "epochs": 1, "raw_epochs": 0, "val_fraction": 0.2}, progress=False
    )
    write_run_report(run)
    (pictures,) = (part.sections for part in written["sections"] if part.title == "Pictures")
    shown = [picture.detail for gallery in pictures for picture in gallery.pictures]
    images = measured(run, photos, split="val").images
    assert images <= SHOWN and len(shown) + len(written["lead"].pictures) == images


def test_what_lives_there_counts_in_the_report(trained: Path, tmp_path: Path, written: dict[str, Any]) -> None:
    (tmp_path / "species.txt").write_text("crow\njay\n")
    assert main(["report", str(trained), "--only", str(tmp_path / "species.txt"), "--precision", "32-true"]) == 0
    matrix = titled(written["sections"])["What was taken for what"]
    assert isinstance(matrix, Matrix) and list(matrix.names) == ["crow", "jay", "wren"]
    assert sum(row[2] for row in matrix.counts) == 0 < sum(matrix.counts[2])
