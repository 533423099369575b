"""A run's reference index: made of its training images, its thresholds by validation images, as training ends."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlaam.cli.main import main
from tlaam.data.open import open_dataset
from tlaam.errors import DataError, ModelError, RunError
from tlaam.inference.backend import Answers
from tlaam.inference.engine import load_engine
from tlaam.inference.pytorch import TorchModel
from tlaam.reference.file import read_index, write_index
from tlaam.reference.ood_detector import quantile, sure_from
from tlaam.reference.similarity import similarity_left_out, unit
from tlaam.runs.out_of_fold import OutOfFold, write_out_of_fold
from tlaam.runs.splits import TrainingData, with_the_runs_splits
from tlaam.utils.checksums import with_checksum
from tlaam.workflows import fit
from tlaam.workflows.reference_index import write_reference_index

SETTINGS = {
    "backbone": "test_resnet", "pretrained": "none", "image-size": 64, "source-size": 96, "part-size": 32,
    "localizer": "oaam", "epochs": 1, "raw-epochs": 0, "batch-size": 6, "accelerator": "cpu", "workers": 0,
    "val-fraction": 0.34,
}  # fmt: skip
QUICK = ["--no-report", *(part for name, value in SETTINGS.items() for part in (f"--{name}", str(value)))]


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", str(photos), "--out", str(out), *QUICK]) == 0
    return out


def test_training_ends_with_it_and_predictions_say_what_it_knows(
    trained: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = read_index(trained / "gallery.npz")
    images = with_the_runs_splits(open_dataset(photos), TrainingData.of_run(trained))
    train = sorted(sample.name for sample in images.split("train"))
    assert sorted(index.names) == train and len(train) == 12
    assert [index.classes[label] for label in index.labels] == [name.split("/")[0] for name in index.names]
    assert index.detector.chosen_on == (
        "12 training images, each left out in its turn; 6 validation images (fewer than 100: rough)"
    )
    for content in index.thumbnails:
        with Image.open(BytesIO(content)) as image:
            assert image.format == "JPEG" and image.size == (80, 60) and not image.getexif()
    predictor = load_engine(trained)
    answers = list(predictor.predict([photos / name for name in index.names]))
    for name, answer in zip(index.names, answers, strict=True):
        assert answer.similarity is not None and answer.verdict in ("sure", "unsure")  # it was learnt from
        (itself,) = predictor.look_alikes(answer, 1)
        assert itself.name == name and itself.similarity == pytest.approx(1, abs=1e-3)
    line = json.loads(json.dumps(answers[0].to_dict()))
    assert line["confidence"] == answers[0].verdict and line["familiarity"] == round(answers[0].similarity or 0, 4)


def test_a_stranger_is_marked_in_the_table_and_counted(
    trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    index = read_index(run / "gallery.npz")
    write_index(replace(index, detector=replace(index.detector, threshold=1.1)), run / "gallery.npz")
    (tmp_path / "none.png").write_bytes(b"no image")
    assert main(["predict", str(run), str(photos / "jay"), str(tmp_path / "none.png")]) == 0
    out, err = capsys.readouterr()
    heading, *rows = out.splitlines()
    place = heading.index("answer")
    assert place < heading.index("best class")  # long names would push it out of sight
    # A path that is longer than its column shifts the rest of its row.
    assert all("  stranger  " in row for row in rows[:6]) and rows[6].endswith("remove it.")
    assert "6 of 7 images do not look like what this model learnt from (stranger)" in err
    assert main(["predict", str(run), str(photos / "jay" / "0.png"), "--json", "--overlays", str(tmp_path / "o")]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["confidence"] == "stranger" and "1 of 1 images does not look like" in err
    doubting = replace(index.detector, threshold=-0.99, sure_from=1.0)
    write_index(replace(index, detector=doubting), run / "gallery.npz")
    assert main(["predict", str(run), str(photos / "jay"), "--json"]) == 0
    assert "6 of 6 answers are unsure" in capsys.readouterr().err


def test_it_is_not_written_unless_wanted_and_later_by_its_own_command(
    trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "gallery.npz").unlink()
    assert main(["train", "--resume", str(run), "--no-report", "--no-gallery"]) == 0
    assert not (run / "gallery.npz").exists()
    assert main(["index", str(run)]) == 0
    assert "Chosen on 12 training images" in capsys.readouterr().out
    assert (run / "gallery.npz").read_bytes() == (trained / "gallery.npz").read_bytes()
    out = tmp_path / "elsewhere.npz"
    options = ["--out", str(out), "--per-class", "2", "--no-thumbnails"]
    assert main(["gallery", str(run), str(photos), *options]) == 0
    small = read_index(out)
    assert len(small.names) == 6 and small.nearest(np.ones(small.embeddings.shape[1]), 1)[0].thumbnail is None
    (run / "gallery.npz").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is damaged or no reference index"):
        load_engine(run)
    assert main(["gallery", str(run)]) == 0, "what is damaged can be written again"


def test_what_hinders_it_leaves_the_model_and_is_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(model: TorchModel, inputs: np.ndarray, pooled: bool = False, answer=TorchModel.answer) -> Answers:  # type: ignore
        found = answer(model, inputs)
        return Answers(found.probabilities, None, None, None)

    monkeypatch.setattr(TorchModel, "answer", without)
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *QUICK]) == 0
    assert "no reference index was written: this model gives no embeddings" in capsys.readouterr().err
    assert (tmp_path / "run" / "model.safetensors").exists() and not (tmp_path / "run" / "gallery.npz").exists()


def test_thresholds_come_from_validation_images_where_there_are_enough(
    trained: Path, photos: Path, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        for name in ("crow", "jay", "wren"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for index in range(6):
                source = Image.open(photos / name / f"{index}.png")
                turned = source if split == "train" else source.rotate(7 * (index + 1))
                turned.save(tmp_path / "data" / split / name / f"{index}.png")
                if split == "val":
                    source.rotate(180 - index).save(tmp_path / "data" / split / name / f"{index}-turned.png")
    (tmp_path / "data" / "val" / "jay" / "broken.png").write_bytes(b"no image")
    steps: list[tuple[int, int]] = []
    path = write_reference_index(
        trained, tmp_path / "data", path=tmp_path / "g.npz", progress=lambda done, total: steps.append((done, total))
    )
    index = read_index(path)
    assert index.detector.chosen_on == "36 validation images (fewer than 100: rough)" and steps[-1] == (55, 55)
    model = load_engine(trained, index=index)
    answers = [a for a in model.predict(sorted((tmp_path / "data" / "val").rglob("*.png"))) if a.error is None]
    assert 0.95 <= np.mean([a.verdict != "stranger" for a in answers]) < 1, "one of 36 is a stranger at most"
    right = np.array([Path(a.path).parent.name == a.label for a in answers])
    assert index.detector.sure_from == sure_from(np.array([a.score for a in answers]), right)


def out_of_fold(count: int) -> OutOfFold:
    """Return answers of which those from 0.7 on are right; the last were of classes that were not known."""
    score = np.linspace(0.4, 1, count).astype(np.float32)
    labels, known = np.zeros(count, np.int64), np.arange(count) < count - 3
    return OutOfFold(tuple(map(str, range(count))), labels, (score < 0.7).astype(np.int64), score, known)


def test_a_probe_needs_no_validation_images(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    answers = out_of_fold(303)
    write_out_of_fold(run / "out_of_fold.npz", answers)
    steps: list[tuple[int, int]] = []
    index = read_index(write_reference_index(run, progress=lambda done, total: steps.append((done, total))))
    assert index.detector.chosen_on == "300 training images, out of fold" and steps[-1] == (12, 12)
    embeddings = unit(index.embeddings.astype(np.float32))
    left_out = similarity_left_out(embeddings, index.labels, 3)
    assert index.detector.threshold == pytest.approx(quantile(left_out, 0.05), abs=2e-3)
    right = answers.predicted == answers.labels
    assert index.detector.sure_from == sure_from(answers.score[:300], right[:300])
    assert 0.6 < index.detector.sure_from < 0.72, "not that of the model's answers"
    write_out_of_fold(run / "out_of_fold.npz", out_of_fold(40))
    assert main(["index", str(run)]) == 0
    assert "Chosen on 37 training images, out of fold (fewer than 100: rough)." in capsys.readouterr().out
    write_out_of_fold(run / "out_of_fold.npz", out_of_fold(22))
    assert main(["index", str(run)]) == 0
    assert "each left out in its turn; 6 validation images" in capsys.readouterr().out, "19 answers are too few"
    (run / "out_of_fold.npz").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"out_of_fold\.npz is damaged"):
        write_reference_index(run)


def test_what_training_ends_with_is_by_the_runs_own_answers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*given: object, train=fit.train, **options: object) -> Path:  # type: ignore[no-untyped-def]
        run: Path = train(*given, **options)
        write_out_of_fold(run / "out_of_fold.npz", out_of_fold(303))
        return run

    monkeypatch.setattr(fit, "train", trained)
    assert main(["train", str(photos), "--out", str(tmp_path / "run"), *QUICK]) == 0
    assert read_index(tmp_path / "run" / "gallery.npz").detector.chosen_on == "300 training images, out of fold"


def test_an_index_that_tells_no_strangers_makes_nothing_sure(
    trained: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("crow", "jay", "wren"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(2):  # copies: of none is there another to choose by
            shutil.copy(photos / name / "0.png", tmp_path / "data" / name / f"{number}.png")
    run = shutil.copytree(trained, tmp_path / "run")
    assert main(["index", str(run), str(tmp_path / "data"), "--out", str(run / "gallery.npz")]) == 0
    assert "It cannot tell strangers, and no answer has a verdict" in capsys.readouterr().out
    engine = load_engine(run)
    (answer,) = engine.predict([photos / "jay" / "0.png"])
    assert not engine.tells_strangers and answer.verdict is None and answer.similarity is not None
    assert engine.look_alikes(answer, 1)
    assert main(["predict", str(run), str(photos / "jay")]) == 0
    out, err = capsys.readouterr()
    assert not re.search(r"\bsure\b", out) and "cannot tell images of something else" in err


def test_what_a_killed_process_left_half_written_is_removed(trained: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / ".of-birds.npz.123.tmp").write_bytes(b"half")
    write_reference_index(trained, photos, path=tmp_path / "of-birds.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["of-birds.npz"]


def test_other_data_are_refused(trained: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "jay", tmp_path / "data" / "magpie")
    shutil.copytree(photos / "wren", tmp_path / "data" / "wren")
    with pytest.raises(DataError, match="class 'magpie'"):
        write_reference_index(trained, tmp_path / "data")
    other = tmp_path / "other"
    write_reference_index(trained, path=other / "gallery.npz")
    for name in ("config.json", "model.safetensors"):
        shutil.copy(trained / name, other / name)
    facts = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(with_checksum({**facts, "classes": ["a", "b", "c"]})))
    with pytest.raises(ModelError, match="of another model, with other classes"):
        load_engine(other)
