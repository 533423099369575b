"""The folder for the hub: the same answers, a card of what was measured, and nothing of this machine."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from measuring import measured
from PIL import Image
from small_runs import small_run

import tlaam
from tlaam.cli.main import main
from tlaam.config.schema import Config
from tlaam.errors import DataError, ModelError, RunError
from tlaam.evaluation.report import EvaluationReport
from tlaam.inference.store import load_model
from tlaam.publish.card import Facts, card
from tlaam.publish.folder import save_pretrained
from tlaam.reference.file import read_index
from tlaam.reports.words import ARITHMETIC
from tlaam.workflows.reference_index import write_reference_index


@pytest.fixture(scope="module")
def folder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(trained, tmp_path_factory.mktemp("out") / "model", repo_id="somebody/birds")


def front_matter(text: str) -> dict[str, Any]:
    _, yaml_text, _ = text.split("---\n", 2)
    values: dict[str, Any] = yaml.safe_load(yaml_text)
    return values


def held_out(trained: Path) -> EvaluationReport:
    return measured(trained, json.loads((trained / "data.json").read_text())["source"], split="val")


def test_it_holds_these_files(folder: Path) -> None:
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    pictures = [f"pictures/example-0{number}.jpg" for number in range(1, 5)]
    assert found == ["README.md", "config.json", "model.safetensors", *pictures]


def test_only_what_tells_strangers_is_published_unless_asked(
    trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    with pytest.raises(ModelError, match="holds no reference index to publish; write it with tlaam index"):
        save_pretrained(run, tmp_path / "refused", look_alikes=True)
    own = read_index(write_reference_index(run))
    untold = save_pretrained(trained, tmp_path / "untold", pictures=0)
    assert "cannot tell images of something else: no answer has a `verdict`" in (untold / "README.md").read_text()
    plain = save_pretrained(run, tmp_path / "plain", pictures=0)
    card_of_plain = (plain / "README.md").read_text()
    assert "`verdict` is `stranger`" in card_of_plain and "cannot tell" not in card_of_plain
    content = (plain / "gallery.npz").read_bytes()
    assert not any(name.encode() in content for name in own.names) and b"JFIF" not in content
    assert main(["push", str(run), "a/b", "--pictures", "0", "--look-alikes", "--out", str(tmp_path / "whole")]) == 0
    assert (tmp_path / "whole" / "gallery.npz").read_bytes() == (run / "gallery.npz").read_bytes()
    here, there = (tlaam.load(folder).predict(photos / "jay" / "0.png") for folder in (run, plain))
    assert here.verdict == there.verdict and here.similarity == there.similarity is not None


def test_a_round_trip_answers_bit_for_bit(trained: Path, folder: Path) -> None:
    before, after = load_model(trained), tlaam.from_pretrained(folder)
    assert (before.classes, before.source_size) == (after.classes, after.source_size)
    images = torch.randint(0, 256, (3, 3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        for one, other in zip(before.network(images), after.network(images), strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
    once_more = save_pretrained(folder, folder.parent / "again", pictures=0)
    for name in ("model.safetensors", "config.json"):
        assert (once_more / name).read_bytes() == (folder / name).read_bytes()


def test_the_cards_figures_are_the_evaluations(trained: Path, folder: Path) -> None:
    text, report = (folder / "README.md").read_text(encoding="utf-8"), held_out(trained)
    assert (
        f"Measured in {ARITHMETIC[report.precision]} on {report.images} validation images." in text
        and "flatter" in text
    )
    for branch, title in {
        "raw": "whole image",
        "object": "object",
        "parts": "parts",
        "fused": "all levels fused",
    }.items():
        measured = report.classification[branch].summary()
        cells = " | ".join(
            f"{100 * measured[name]:.1f} %" for name in ("top1", "macro_f1", "ece", "debiased_calibration_error")
        )
        assert f"| {title} | {cells} |" in text
    assert "Top-5" not in text  # of three classes it says nothing
    values = front_matter(text)
    assert values["library_name"] == "tlaam" and values["pipeline_tag"] == "image-classification"
    assert "license" not in values
    ((result,),) = [model["results"] for model in values["model-index"]]
    fused = report.classification["fused"]
    assert {m["type"]: m["value"] for m in result["metrics"]} == {
        "accuracy": pytest.approx(fused.top1, abs=5e-5), "f1": pytest.approx(fused.macro_f1, abs=5e-5),
    }  # fmt: skip
    assert result["dataset"] == {"name": report.data, "type": report.data, "split": "val"}
    assert "How well it finds the object" not in text  # no boxes are known, so nothing is claimed of them


def test_boxes_are_measured_where_they_are_known(trained: Path, photos: Path, tmp_path: Path) -> None:
    rows = ["image,label,split,x_min,y_min,x_max,y_max"]
    rows += [f"{path},{path.parent.name},test,10,10,50,40" for path in sorted(photos.rglob("*.png"))]
    manifest = tmp_path / "known.csv"
    manifest.write_text("\n".join(rows))
    out = save_pretrained(trained, tmp_path / "out", manifest, pictures=0, license="apache-2.0")
    text, report = (out / "README.md").read_text(encoding="utf-8"), measured(trained, manifest, split="test")
    assert report.localization is not None
    shares = report.localization.measures()
    names = ("mean_iou", "gt_known_0.3", "gt_known_0.5", "gt_known_0.7", "top1_loc_0.5")
    assert f"| box found | {' | '.join(f'{100 * shares[name]:.1f} %' for name in names)} |" in text
    assert "| central 70 % |" in text and "On the 18 of these images whose box is known" in text
    assert f"Measured in {ARITHMETIC[report.precision]} on 18 test images." in text and "What it sees" not in text
    assert front_matter(text)["license"] == "apache-2.0" and not (out / "pictures").exists()


def test_nothing_of_this_machine_is_in_it(trained: Path, photos: Path, folder: Path) -> None:
    secrets = [str(Path.home()), str(trained.parent), str(photos.parent), "secret-folder"]
    secrets += ["secret-cache", Path.cwd().name + "/", str(trained)]
    assert "secret-folder" in (trained / "config.json").read_text()  # so that the search below could find something
    assert "secret-cache" in (trained / "config.yaml").read_text()
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], path.name
    assert json.loads((folder / "config.json").read_text())["model"]["pretrained"] == "start.safetensors"
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)
    assert "| `pretrained` | start.safetensors |" in text and "version of torch" in text and "`workers`" not in text


def test_the_pictures_are_of_images_measured_and_say_nothing_of_the_files(trained: Path, folder: Path) -> None:
    text, report = (folder / "README.md").read_text(encoding="utf-8"), held_out(trained)
    shown = re.findall(r"!\[(.+)\]\((.+)\)", text)
    assert len(shown) == 4
    right = sum("right" in caption for caption, _ in shown)
    first = {label: next(r for r in report.per_image if r.label == label) for label in range(3)}
    turns = [*first.values(), [r for r in report.per_image if r.label == 0][1]]
    assert right == sum(result.predicted["fused"] == result.label for result in turns)
    for _, name in shown:
        with Image.open(folder / name) as image:
            assert image.format == "JPEG" and image.height > 200 and len(image.getexif()) == 0
            assert np.asarray(image).std() > 10


def test_the_cards_program_and_command_run(
    folder: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes((photos / "jay" / "0.png").read_bytes())
    text = (folder / "README.md").read_text(encoding="utf-8").replace("hf://somebody/birds", str(folder))
    (program,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})
    assert re.search(r"(crow|jay|wren) [01]\.\d+ \w+ \[", capsys.readouterr().out)
    (line,) = re.findall(r"^tlaam (.*)$", text, re.MULTILINE)
    assert main(line.split()) == 0 and len(list((tmp_path / "seen").iterdir())) == 1


def test_where_nothing_can_be_measured_nothing_is_claimed(
    run: Path, trained: Path, photos: Path, tmp_path: Path
) -> None:
    bare = (save_pretrained(run, tmp_path / "bare") / "README.md").read_text(encoding="utf-8")
    assert "Not measured: what it was trained on is not recorded" in bare
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in trained.iterdir():
        if path.is_file():
            (moved / path.name).write_bytes(path.read_bytes())
    facts = json.loads((moved / "data.json").read_text())
    (moved / "data.json").write_text(json.dumps({**facts, "source": str(tmp_path / "nowhere")}))
    gone = (save_pretrained(moved, tmp_path / "gone") / "README.md").read_text(encoding="utf-8")
    assert "Not measured: the images of its training were not at hand" in gone and str(tmp_path) not in gone
    untold = (save_pretrained(run, tmp_path / "untold", photos) / "README.md").read_text(encoding="utf-8")
    assert "Not measured: there were no validation or test images" in untold
    for text in (bare, gone, untold):
        assert "model-index" not in front_matter(text) and "%" not in text and "What it sees" not in text
    asked = save_pretrained(run, tmp_path / "asked", photos, split="train", pictures=1)
    text = (asked / "README.md").read_text(encoding="utf-8")
    assert "18 training images. Whether they were seen in training is not recorded." in text


def test_what_is_refused(run: Path, trained: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        save_pretrained(run, tmp_path / "full")
    with pytest.raises(RunError, match="is not empty"):
        save_pretrained(run, tmp_path / "full" / "mine.txt")
    with pytest.raises(ModelError, match="holds no trained model"):
        save_pretrained(photos, tmp_path / "new")
    with pytest.raises(ModelError, match="names no model"):
        save_pretrained(run, tmp_path / "new", repo_id="birds")
    with pytest.raises(DataError, match="There is no file or folder"):
        save_pretrained(run, tmp_path / "new", tmp_path / "nowhere")
    with pytest.raises(DataError, match="no images in split 'test'"):
        save_pretrained(trained, tmp_path / "new", photos, split="test")
    assert not (tmp_path / "new").exists()


def test_names_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    hostile = ["<script>alert(1)</script>", "a | b", "![x](http://x)", "---\nlicense: mit", "\udcff", "`x`"]
    run = small_run(tmp_path / "run")
    description = json.loads((run / "config.json").read_text())
    text = card(
        Facts(
            description={**description, "classes": hostile},
            training={"cache|": "<b>"},
            data="# name\n---\nlicense: mit",
            report=None,
            measured="nothing.",
        )
    )
    assert front_matter(text).keys() == {"library_name", "pipeline_tag", "tags"}
    assert not re.search(r"(?<!\\)<(script|b>)", text) and not re.search(r"(?<!\\)\]\(http", text)
    assert "a \\| b" in text and "\\\\udcff" in text and "\nlicense" not in text.split("---\n", 2)[2]


def test_the_plain_backbone_claims_no_levels(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run", localizer="none", parts="none", attention="none")
    text = (save_pretrained(run, tmp_path / "out") / "README.md").read_text(encoding="utf-8")
    assert "Besides the whole image" not in text
    assert Config().model.backbone is None and "`test_resnet` at 64 pixels" in text
