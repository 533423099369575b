"""A comparison out of fold: each training image once, by a run that had not seen it, its group or a copy of it."""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from tlaam.cli.main import main
from tlaam.comparison import runs, systems
from tlaam.comparison.child import run_child
from tlaam.comparison.run import compare
from tlaam.data.open import open_dataset
from tlaam.errors import ConfigError, DataError, RunError
from tlaam.runs.splits import TrainingData

SETTINGS = {
    "backbone": "test_resnet", "pretrained": "none", "image_size": 64, "source_size": 64, "accelerator": "cpu",
    "workers": 0, "batch_size": 8, "raw_epochs": 0, "val_fraction": 0.2,
}  # fmt: skip
OPTIONS = [f"--set={name}={value}" for name, value in SETTINGS.items()]
GROUP = r"/\d+-(\w+)\."


@pytest.fixture(scope="module")
def data(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images of three classes: 0 and 1 of one nest, a copy of a crow among the jays; a test split to be left.

    Its only image cannot be read, so that whoever opens it fails.
    """
    root = tmp_path_factory.mktemp("folds") / "photos"
    for image in sorted(photos.rglob("*.png")):
        bird, number = image.parent.name, int(image.stem)
        nest = f"{bird}nest" if number < 2 else f"{bird}{number}"
        target = root / "train" / bird / f"{number}-{nest}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image.read_bytes())
        (root / "test" / bird).mkdir(parents=True, exist_ok=True)
        (root / "test" / bird / "never.png").write_bytes(b"never opened")
    (root / "train/jay/5-jay5.png").write_bytes((root / "train/crow/2-crow2.png").read_bytes())
    return root


@pytest.fixture
def one_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "PROBES", ("probe",))


def in_this_process(command: list[str]) -> int:
    with contextlib.redirect_stdout(io.StringIO()):
        return main(command[3:])


def require_out_of_fold(out: Path, data: Path, names: list[str], folds: int) -> None:
    """Check of every run what it was trained on, by its own records, and that all systems had the same folds."""
    everything = open_dataset(data)
    train = {sample.name for sample in everything.split("train")}
    fold_of: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name in names:
        for fold in range(1, folds + 1):
            run = out / "runs" / f"{name}-fold{fold}"
            known = TrainingData.of_run(run)
            assert known is not None and known.is_of(everything)
            cut = known.cut(everything)
            sides = {sample.name: sample.split for sample in cut.samples}
            assert set(sides) == train, "the data set's test images are no part of it"
            assert sides["train/jay/5-jay5.png"] == sides["train/crow/2-crow2.png"], "they show the same"
            for bird in ("crow", "jay", "wren"):
                assert sides[f"train/{bird}/0-{bird}nest.png"] == sides[f"train/{bird}/1-{bird}nest.png"]
            result = json.loads((out / "results" / f"{name}-fold{fold}.json").read_text())
            assert set(result["images"]) == {image for image, side in sides.items() if side == "test"}
            assert not fold_of[name].keys() & set(result["images"])
            fold_of[name] |= dict.fromkeys(result["images"], fold)
    assert all(set(found) == train for found in fold_of.values()), "each once"
    assert all(found == fold_of[names[0]] for found in fold_of.values()), "the same folds for all"


@pytest.mark.usefixtures("one_rival")
def test_the_command_answers_for_each_training_image_once_in_processes_of_their_own(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["compare", str(data), "--out", str(out), "--systems=probe", "--folds=2", "--group", GROUP, *OPTIONS]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "the 18 training images out of fold (2 folds)" in said.out and "fold 2: " in said.err
    require_out_of_fold(out, data, ["probe-0"], 2)
    record = json.loads((out / "results.json").read_text())
    assert record["split"] == "train" and record["folds"] == 2 and record["group"] == GROUP
    assert len(record["images"]) == len(record["fold_of"]) == len(record["runs"][0]["right"]["fused"]) == 18
    assert record["images"] == [sample.name for sample in open_dataset(data).split("train")]
    assert record["runs"][0]["protocol"] == "last" and "answers" not in record["runs"][0]
    assert {"fused.nll", "fused.ece", "fused.macro_f1"} <= set(record["summary"]["probe"])
    page = (out / "index.html").read_text()
    assert "out of fold (2 folds)" in page and "Paired bootstrap over groups of images and seeds" in page
    assert shlex.split(record["command"])[-2 * len(SETTINGS) - 4 :][:4] == ["--folds", "2", "--group", GROUP]
    # The same command finds all done; without folds it is another comparison.
    before = (out / "table.md").read_text()
    assert main(shlex.split(record["command"])[1:]) == 0 and (out / "table.md").read_text() == before
    capsys.readouterr()
    assert main([*command[:5], *OPTIONS]) == 1
    assert "folds 2 instead of None" in capsys.readouterr().err


@pytest.mark.usefixtures("one_rival")
def test_trained_systems_have_the_probes_folds_and_validation_images_of_their_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "run_child", in_this_process)
    monkeypatch.setattr(systems, "RIVAL", "plain")
    out = tmp_path / "out"
    found = compare(
        data, out, systems=["plain"], seeds=2, folds=2, group=GROUP, settings={**SETTINGS, "epochs": 1},
        say=lambda line: None,
    )  # fmt: skip
    assert [(run.system, run.seed, run.protocol) for run in found.runs] == [
        ("plain", 0, "validation"), ("plain", 1, "validation"), ("probe", 0, "last"),
    ]  # fmt: skip
    require_out_of_fold(out, data, ["plain-0", "plain-1", "probe-0"], 2)
    for name, held_out in (("plain-0", True), ("probe-0", False)):
        facts = json.loads((out / "runs" / f"{name}-fold1" / "data.json").read_text())
        assert bool(facts["val"]) == held_out, name
    table = (out / "table.md").read_text()
    assert "| frozen probe, whole image | `probe` | 1 |" in table and "| plain backbone | `plain` | 2 |" in table
    assert "Not trained, and so of one seed, without a deviation: probe" in table
    assert [(row.first, row.second) for row in found.differences] == [("plain", "probe")]


@pytest.mark.usefixtures("one_rival")
def test_a_killed_fold_is_resumed_with_its_fold_and_only_what_is_missing_is_done(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    commands: list[list[str]] = []

    def killed_at_fold_2(command: list[str]) -> int:
        commands.append(command)
        if "2/2" not in command:
            return in_this_process(command)
        run = Path(command[command.index("--out") + 1])
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while not (run / "config.yaml").exists() and process.poll() is None:
            time.sleep(0.02)
        process.kill()
        assert process.wait() == -9, "it had not ended before"
        return -9

    def comparison(child: Callable[[list[str]], int]) -> None:
        monkeypatch.setattr(runs, "run_child", child)
        compare(data, out, systems=["probe"], folds=2, group=GROUP, settings=SETTINGS, say=lambda line: None)

    with pytest.raises(RunError, match="1 could not be trained: probe-0-fold2"):
        comparison(killed_at_fold_2)
    assert not (out / "table.md").exists(), "half of the answers are no table"
    commands.clear()
    comparison(lambda command: commands.append(list(command)) or in_this_process(command))  # type: ignore[func-returns-value]
    assert [command[-2:] for command in commands] == [["--resume", str(out / "runs/probe-0-fold2")]]
    require_out_of_fold(out, data, ["probe-0"], 2)
    # A damaged result is measured again, a damaged list of copies is made again.
    result = out / "results/probe-0-fold1.json"
    text = result.read_text()
    result.write_text(text.replace('"seed": 0', '"seed": 7'))
    (out / "copies.json").write_text("{}")
    comparison(in_this_process)
    assert json.loads(result.read_text())["images"] == json.loads(text)["images"]
    require_out_of_fold(out, data, ["probe-0"], 2)


def test_what_cannot_be_is_said_before_anything_is_trained(data: Path, tmp_path: Path) -> None:
    def refused(error: type[Exception], match: str, **options: object) -> None:
        with pytest.raises(error, match=match):
            compare(data, tmp_path / "out", systems=["probe"], settings=SETTINGS, **options)  # type: ignore[arg-type]

    refused(ConfigError, "best-epoch chooses epochs by the images", folds=2, protocol="best-epoch")
    refused(ConfigError, "has to be|have to be two", folds=1)
    refused(DataError, "19 folds need as many", folds=19)
    refused(DataError, "4 folds need as many", folds=4, group="train/([a-z]+)/")
    refused(ConfigError, "finds nothing", folds=2, group="eagle")
    refused(ConfigError, "no regular expression", group="(")
    assert not (tmp_path / "out").exists()


def test_run_child_is_what_runs_are_started_with() -> None:
    assert runs.run_child is run_child
