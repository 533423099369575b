"""What a run has seen: groups, copies and folds are cut again as they were cut, by whatever opens the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tlaam.cli.main import main
from tlaam.data.copies import with_copies
from tlaam.data.groups import with_rule
from tlaam.data.open import open_dataset
from tlaam.data.sample import LabelledImages
from tlaam.data.split import cut_splits
from tlaam.data.split_rule import SplitRule
from tlaam.errors import DataError, RunError
from tlaam.runs.data import opened_again
from tlaam.runs.folder import RunFolder
from tlaam.runs.splits import TrainingData, with_the_runs_splits
from tlaam.training.usable_data import reopened
from tlaam.utils.atomic import write_json

PROBE = (
    "--backbone", "test_resnet", "--pretrained", "none", "--image-size", "64", "--source-size", "64", "--epochs", "0",
    "--localizer", "none", "--parts", "none", "--attention", "none", "--accelerator", "cpu", "--workers", "0",
)  # fmt: skip


@pytest.fixture
def copied(photos: Path, tmp_path: Path) -> Path:
    """Class folders in which jay/0 shows what crow/1 shows, in another file."""
    root = tmp_path / "photos"
    for path in photos.rglob("*.png"):
        target = root / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    (root / "jay/0.png").write_bytes((root / "crow/1.png").read_bytes())
    return root


def splits(images: LabelledImages) -> dict[str, str]:
    return {sample.name: sample.split for sample in images.samples}


def test_training_keeps_groups_together_and_all_that_opens_the_run_cuts_alike(copied: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [
        "train",
        str(copied),
        "--out",
        str(run),
        "--group",
        r"/([34])\.",
        "--fold",
        "2/3",
        "--val-fraction",
        "0.3",
    ]
    assert main([*command, *PROBE, "--no-report"]) == 0
    folder = RunFolder(run)
    facts = folder.read_json(folder.data)
    assert facts["split_rule"]["group"] == r"/([34])\." and facts["split_rule"]["fold"] == [2, 3]
    assert len(facts["split_rule"]["copies"]) == 1 and "crow" not in json.dumps(facts["split_rule"]["copies"])
    known = TrainingData.of_run(run)
    assert known is not None and TrainingData.from_dict(json.loads(json.dumps(known.to_dict()))) == known
    cut = known.cut(open_dataset(copied))
    assert {name: len(cut.split(name)) for name in ("train", "val", "test")} == facts["images"]  # type: ignore[arg-type]
    assert sorted(s.name for s in cut.split("val")) == sorted(facts["val"])
    split = splits(cut)
    assert split["jay/0.png"] == split["crow/1.png"]
    for digit in "34":
        assert len({split[f"{name}/{digit}.png"] for name in ("crow", "jay", "wren")}) == 1
    again = with_the_runs_splits(opened_again(facts), known, run)
    assert splits(again) == split and with_the_runs_splits(again, known, run) is again
    from tlaam.config.schema import Config

    config = Config.from_yaml(folder.config)
    assert splits(reopened(folder, None, config)) == splits(reopened(folder, open_dataset(copied), config)) == split
    assert main(["train", "--resume", str(run), "--group", "x"]) == 2
    assert main(["evaluate", str(run), str(copied)]) == 0
    facts["split_rule"]["fold"] = [7, 3]
    write_json(folder.data, facts)
    with pytest.raises(RunError, match="rule of its splits"):
        TrainingData.of_run(run)


def test_a_run_of_a_version_without_groups_cuts_as_it_did(tmp_path: Path) -> None:
    rows = "".join(f"{label}{number}.jpg,{label},{number // 5}\n" for label in "ab" for number in range(10))
    (tmp_path / "manifest.csv").write_text("image,label,group\n" + rows)
    now = open_dataset(tmp_path)
    then = now.without_groups()
    older = TrainingData(then.fingerprint(), 0, 0.0, 0.2)
    assert older.is_of(now) and splits(older.cut(now)) == splits(cut_splits(then, 0.0, 0.2, 0))
    newer = TrainingData(now.fingerprint(), 0, 0.0, 0.2)
    assert newer.is_of(now) and not newer.is_of(then) and splits(newer.cut(now)) != splits(older.cut(now))
    assert "rule" not in older.to_dict() and TrainingData.from_dict(older.to_dict()) == older


def test_a_changed_data_set_is_not_known(copied: Path, tmp_path: Path) -> None:
    images = with_copies(with_rule(open_dataset(copied), group=r"/(\d)"))
    known = TrainingData(images.fingerprint(), 0, 0.0, 0.2, rule=images.rule)
    assert known.is_of(open_dataset(copied)), "the rule is no part of the data"
    (copied / "jay/0.png").unlink()
    assert not known.is_of(open_dataset(copied))
    run = tmp_path / "run"
    run.mkdir()
    write_json(run / "data.json", {"root": str(copied)})
    with pytest.raises(DataError, match="has changed since"):
        with_the_runs_splits(open_dataset(copied), known, run)


@pytest.mark.parametrize("wrong", [{"rule": 3}, {"rule": {"fold": [0, 2]}}, {"rule": {"copies": "x", "fold": "ab"}}])
def test_a_damaged_record_is_refused(wrong: dict[str, object]) -> None:
    whole = replace(TrainingData("f", 0, 0.0, 0.1), rule=SplitRule("a", (1, 2), (("b", "c"),))).to_dict()
    assert TrainingData.from_dict(whole).rule.fold == (1, 2)
    with pytest.raises(ValueError, match="it is no"):
        TrainingData.from_dict({**whole, **wrong})
