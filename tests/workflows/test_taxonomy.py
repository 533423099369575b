"""A taxonomy from training to the file, and what it is measured by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tlaam
from tlaam.cli.main import main
from tlaam.errors import DataError, RunError
from tlaam.export.onnx import metadata
from tlaam.inference.engine import load_engine
from tlaam.inference.pytorch import TorchModel
from tlaam.reference.file import read_index
from tlaam.runs.out_of_fold import read_out_of_fold
from tlaam.runs.taxonomy import taxonomy_of
from tlaam.taxonomy.shares import HeldOutAnswers
from tlaam.taxonomy.tree import Taxonomy

SETTINGS: dict[str, Any] = {
    "epochs": 0, "backbone": "test_resnet", "pretrained": "none", "localizer": "foreground", "image_size": 64,
    "source_size": 96, "workers": 0, "accelerator": "cpu", "val_fraction": 0,
}  # fmt: skip
TABLE = "label,family\ncrow,Corvidae\njay,Corvidae\nwren,Troglodytidae\n"


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A taxonomy of the drawn classes."""
    path = tmp_path_factory.mktemp("tables") / "taxonomy.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture(scope="module")
def trained(photos: Path, table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe that was trained with it."""
    run = tmp_path_factory.mktemp("runs") / "run"
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    assert main(["train", str(photos), "--out", str(run), "--taxonomy", str(table), *options]) == 0
    return run


def test_it_is_kept_with_the_answers_that_a_promise_rests_on(trained: Path) -> None:
    answers = read_out_of_fold(trained / "out_of_fold.npz")
    assert answers.shared is not None and answers.shared.classes.shape == (18, 3)
    assert (answers.shared.classes[:, 0] == answers.predicted).all()
    np.testing.assert_allclose(answers.shared.shares[:, 0] / 65535, answers.score, atol=2 / 65535)
    assert (answers.shared.shares.sum(1) >= 65533).all() and (answers.shared.shares.sum(1) <= 65535).all()
    index = read_index(trained / "gallery.npz")
    assert index.taxonomy == taxonomy_of(trained, ("crow", "jay", "wren"))
    assert index.taxonomy is not None and index.taxonomy.ranks == ("label", "family")
    assert index.held_out is not None and index.held_out.labels.tolist() == answers.labels[answers.known].tolist()


def test_it_goes_into_the_file(trained: Path) -> None:
    engine = load_engine(trained)
    assert isinstance(engine.model, TorchModel)
    texts = metadata(engine.model, "fp32", engine.index)
    assert Taxonomy.from_text(texts["taxonomy"], engine.classes) == engine.taxonomy
    assert len(HeldOutAnswers.from_text(texts["held_out"], 3)) == 18
    assert not {"taxonomy", "held_out"} & set(metadata(engine.model, "fp32"))


def test_each_rank_is_measured_and_the_promise_too(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier = tlaam.load(trained)
    assert classifier.evaluate(photos).ranks is None, "18 answers make no promise of 0.95 by themselves"
    asked = classifier.answering(promise=0.6)
    report = asked.evaluate(photos)
    found, answers = report.ranks, [p for p in asked.predict(photos) if p.error is None]
    assert found is not None and found.promise == 0.6 and found.images == 18
    names = {"crow": "Corvidae", "jay": "Corvidae", "wren": "Troglodytidae"}
    truth = [Path(p.path).parent.name for p in answers]
    right = [p.taxon == (label if p.rank == "label" else names[label]) for p, label in zip(answers, truth, strict=True)]
    of_rank = {rank: [r for p, r in zip(answers, right, strict=True) if p.rank == rank] for rank in ("label", "family")}
    assert [(rank.rank, rank.answers, rank.right) for rank in found.ranks] == [
        (rank, len(rows), sum(rows)) for rank, rows in of_rank.items()
    ]
    assert found.ranks[0].accuracy == pytest.approx(report.classification["fused"].top1)
    summed = [p.probabilities["fused"][:2].sum() > p.probabilities["fused"][2] for p in answers]
    assert found.ranks[1].accuracy == np.mean([s == (label != "wren") for s, label in zip(summed, truth, strict=True)])
    options = ["--promise", "0.6", "--json", str(trained / "measured.json")]
    assert main(["evaluate", str(trained), str(photos), *options, "--page", str(trained / "page.html")]) == 0
    assert json.loads((trained / "measured.json").read_text())["taxonomy"]["ranks"][1]["rank"] == "family"
    assert "promise 0.6: held;" in capsys.readouterr().out
    assert "How deep its answers go" in (trained / "page.html").read_text()


def test_an_index_may_be_given_one_later(trained: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(TABLE.replace("family", "clade"))
    assert (
        main(["index", str(trained), "--taxonomy", str(other), "--no-thumbnails", "--out", str(tmp_path / "g.npz")])
        == 0
    )
    kept = read_index(tmp_path / "g.npz").taxonomy
    assert kept is not None and kept.ranks == ("label", "clade") and kept == taxonomy_of(trained, kept.classes)
    (trained / "taxonomy.json").write_text("{}")
    with pytest.raises(RunError, match=r"taxonomy\.json is no taxonomy of this run's classes .*--taxonomy FILE\.csv"):
        taxonomy_of(trained, kept.classes)
    other.write_text(TABLE.replace("crow", "craw"))
    with pytest.raises(DataError, match=r"no row for class 'crow'\. Did you mean 'craw'"):
        tlaam.fit(photos, tmp_path / "run", SETTINGS, taxonomy=other, progress=False)
    assert not (tmp_path / "run").exists(), "said before anything is begun"


def test_a_taxonomy_without_an_index_is_refused(photos: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(photos), "--taxonomy", str(table), "--no-index"]) == 2
    assert "leave --no-index out" in capsys.readouterr().err
