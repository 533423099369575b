"""Prediction: order, names, boxes in pixels of the file, and errors that stay with their file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stub_model import StubModel

from tlaam.config.sections import ModelConfig
from tlaam.data.sample import Sample
from tlaam.errors import DataError
from tlaam.inference.backend import Answers
from tlaam.inference.engine import load_engine
from tlaam.inference.inputs import find_images
from tlaam.inference.store import save_model
from tlaam.models.build import build_model


def make(path: Path, width: int, height: int, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_inputs_keep_their_order_and_folders_are_sorted(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    b, a = make(tmp_path / "deep" / "b.png", 20, 20), make(tmp_path / "deep" / "er" / "a.JPG", 20, 20)
    (tmp_path / "deep" / "notes.txt").write_text("no image")
    z = make(tmp_path / "z.png", 20, 20)
    assert find_images([z, tmp_path / "deep", str(tmp_path / "*.png")]) == [str(p) for p in (z, b, a, z)]
    assert find_images([tmp_path / "absent.jpg"]) == [str(tmp_path / "absent.jpg")]
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", tmp_path / "*.webp"):
        with pytest.raises(DataError, match="holds no image"):
            find_images([nothing])


def test_one_path_may_be_given_alone_and_unread_formats_are_named(tmp_path: Path) -> None:
    path = make(tmp_path / "a.png", 20, 20)
    assert find_images(path) == find_images(str(path)) == find_images([path])
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "IMG_1.CR2").write_bytes(b"II*\0")
    with pytest.raises(DataError, match=r"holds no image, but 1 file of type \.cr2 \(convert it to JPEG or PNG\)"):
        find_images(tmp_path / "phone")


def test_a_name_with_brackets_is_a_file_not_a_pattern(tmp_path: Path) -> None:
    path = make(tmp_path / "bird[1].png", 20, 20)
    assert find_images([path]) == [str(path)]


def test_every_file_gets_its_own_answer_in_any_batch(run: Path, tmp_path: Path) -> None:
    paths: list[Path] = [make(tmp_path / f"{i}.png", 40 + i, 60, seed=i) for i in range(7)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff no image")
    asked = [*paths[:3], broken, *paths[3:], tmp_path / "missing.png", paths[0]]
    alone = {path: next(load_engine(run).predict([path])) for path in paths}
    for batch_size in (1, 3, 16):
        answers = list(load_engine(run, batch_size=batch_size).predict(asked))
        assert [answer.path for answer in answers] == [str(path) for path in asked]
        for path, answer in zip(asked, answers, strict=True):
            if path in alone:
                assert answer.error is None
                np.testing.assert_allclose(answer.probabilities["fused"], alone[path].probabilities["fused"], atol=1e-4)
                assert answer.object_box is not None and alone[path].object_box is not None
                np.testing.assert_allclose(answer.object_box, alone[path].object_box, atol=1e-4)
            else:
                assert answer.error is not None and path.name in answer.error and not answer.probabilities


def test_boxes_are_in_pixels_of_the_file(run: Path, tmp_path: Path) -> None:
    wide = make(tmp_path / "wide.png", 500, 50)
    (answer,) = load_engine(run).predict([wide])
    assert answer.size == (500, 50)
    assert answer.object_box is not None and answer.part_boxes is not None
    boxes = np.concatenate([answer.object_box[None], answer.part_boxes])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= 500.01).all() and (boxes[:, 3] <= 50.01).all()
    assert boxes[:, 2].max() > 50, "boxes were left in pixels of the input image"


def test_of_a_sample_only_the_window_is_answered_for(run: Path, tmp_path: Path) -> None:
    path = make(tmp_path / "whole.png", 90, 70)
    Image.open(path).crop((10, 20, 70, 60)).save(tmp_path / "cut.png")
    predictor = load_engine(run)
    (of_sample,) = predictor.predict([Sample(str(path), "whole.png", 0, "test", window=(10, 20, 70, 60))])
    (of_cut_file,) = predictor.predict([tmp_path / "cut.png"])
    assert (of_sample.path, of_sample.size) == (str(path), (60, 40))
    assert of_sample.top() == of_cut_file.top()
    pictures = [prediction.plot() for prediction in (of_sample, of_cut_file)]
    np.testing.assert_array_equal(*map(np.asarray, pictures))


def test_of_a_sample_the_banner_is_cut_off(run: Path, tmp_path: Path) -> None:
    path = make(tmp_path / "whole.png", 90, 70)
    Image.open(path).crop((0, 0, 90, 50)).save(tmp_path / "cut.png")
    predictor = load_engine(run)
    (of_sample,) = predictor.predict([Sample(str(path), "whole.png", 0, "test", banner=20)])
    (of_cut_file,) = predictor.predict([tmp_path / "cut.png"])
    assert (of_sample.path, of_sample.size) == (str(path), (90, 50))
    assert of_sample.top() == of_cut_file.top()
    np.testing.assert_array_equal(of_sample.object_box, of_cut_file.object_box)
    pictures = [prediction.plot(true_box=(1, 2, 30, 40)) for prediction in (of_sample, of_cut_file)]
    np.testing.assert_array_equal(*map(np.asarray, pictures))
    (unreadable,) = predictor.predict([Sample(str(path), "whole.png", 0, "test", banner=70)])
    assert unreadable.error is not None and "banner of 70" in unreadable.error


def test_a_line_of_json_holds_the_documented_keys(run: Path, tmp_path: Path) -> None:
    good, bad = make(tmp_path / "a.png", 50, 40), tmp_path / "none.png"
    lines = [json.loads(json.dumps(p.to_dict(2))) for p in load_engine(run).predict([good, bad])]
    for line in lines:
        assert set(line) == {
            "path", "predictions", "branches", "verdict", "similarity", "confidence", "familiarity", "object_box",
            "part_boxes", "error",
        }  # fmt: skip
        assert line["verdict"] is None and line["similarity"] is None, "this run has no reference index"
    good_line, bad_line = lines
    assert [set(entry) for entry in good_line["predictions"]] == [{"label", "probability"}] * 2
    assert good_line["predictions"][0]["probability"] >= good_line["predictions"][1]["probability"]
    documented = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in documented for name in good_line)
    assert {entry["label"] for entry in good_line["predictions"]} <= {"crow", "jay", "wren"}
    assert set(good_line["branches"]) == {"raw", "object", "parts"}
    assert len(good_line["object_box"]) == 4 and all(len(box) == 4 for box in good_line["part_boxes"])
    assert good_line["error"] is None
    assert bad_line["predictions"] == [] and bad_line["object_box"] is None and "none.png" in bad_line["error"]


def test_a_run_folder_may_be_called_like_a_file(run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "run.onnx").symlink_to(run)
    assert next(load_engine(tmp_path / "run.onnx").predict([photos / "jay" / "0.png"])).error is None


def test_pictures_in_memory_give_the_same_answer(run: Path, tmp_path: Path) -> None:
    path = make(tmp_path / "a.png", 50, 40)
    predictor = load_engine(run)
    (from_file,) = predictor.predict([path])
    (from_memory,) = predictor.predict([Image.open(path)])
    np.testing.assert_allclose(from_file.probabilities["fused"], from_memory.probabilities["fused"], atol=1e-6)


def test_a_model_without_an_object_level_has_pictures_too(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        backbone="resnet18", image_size=64, source_size=64, pretrained="none", localizer="none", parts="none"
    )
    save_model(tmp_path, build_model(config, 2), config, ["a", "b"])
    (answer,) = load_engine(tmp_path).predict([photos / "jay" / "0.png"])
    assert answer.object_box is None and answer.part_boxes is None and set(answer.probabilities) == {"raw", "fused"}
    assert answer.plot().height > 300


def test_a_folder_is_searched_as_for_training(tmp_path: Path) -> None:
    for name in ("b", ".cache", "__MACOSX/b", "b/.hidden"):
        (tmp_path / name).mkdir(parents=True)
        make(tmp_path / name / "1.png", 20, 20)
    make(tmp_path / "b" / "._1.png", 20, 20)
    (tmp_path / "b" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b" / "again").symlink_to(tmp_path / "b")
    make(tmp_path / "b-2.png", 20, 20)
    assert find_images([tmp_path]) == [str(tmp_path / name) for name in ("b-2.png", "b/1.png", "b/gone.jpg")]
    assert find_images([tmp_path / ".cache"]) == [str(tmp_path / ".cache" / "1.png")]


def test_an_impossible_path_is_a_row_with_its_error(run: Path) -> None:
    long = "x" * 300 + ".jpg"
    assert find_images([long]) == [long]
    (answer,) = load_engine(run).predict([long])
    assert answer.path == long and answer.error is not None and "too long" in answer.error


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=f"Cannot list folder '{tmp_path}.*Permission denied"):
        find_images([tmp_path])


class _Broken(StubModel):
    """A model whose first answer of a batch is no number."""

    classes, source_size = ("crow", "jay"), 32

    def __init__(self, field: str, value: float) -> None:
        self.field, self.value = field, value

    def answer(self, inputs: np.ndarray) -> Answers:
        shares = np.tile([0.25, 0.75], (len(inputs), 1))
        fields = {"fused": shares, "raw": shares.copy(), "object": np.tile([1.0, 2, 9, 9], (len(inputs), 1))}
        fields[self.field][0, -1] = self.value
        return Answers({"raw": fields["raw"], "fused": fields["fused"]}, None, fields["object"], None)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["fused", "raw", "object"])
def test_what_is_no_number_is_no_answer(tmp_path: Path, field: str, value: float) -> None:
    """Nor would it be JSON; the image beside it keeps its own."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 20)).save(tmp_path / name)
    first, second = load_engine(_Broken(field, value)).predict([tmp_path / "a.png", tmp_path / "b.png"])
    assert first.error is not None and f"no answer for '{tmp_path / 'a.png'}'" in first.error
    assert not first.probabilities and first.object_box is None
    assert second.error is None and second.top(1) == [("jay", 0.75)]
    json.dumps([first.to_dict(), second.to_dict()], allow_nan=False)
