"""The classifier: every kind of image, one or several, wrong ones, look-alikes, tables, reports."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tlaam
from tlaam.errors import ConfigError, DataError, ExportError, InputError, MissingPackageError, ModelError
from tlaam.inference.prediction import COLUMNS, Prediction, Predictions
from tlaam.publish.folder import save_pretrained


@pytest.fixture(scope="module", params=["run", "file"])
def classifier(request: pytest.FixtureRequest, exported_run: Path, exported_file: Path) -> tlaam.Classifier:
    if request.param == "file":
        return tlaam.load(exported_file)
    return tlaam.load(str(exported_run), precision="32-true", device="cpu")


@pytest.fixture(scope="module")
def photo(photos: Path) -> Path:
    return photos / "jay" / "0.png"


def test_one_image_gives_one_prediction_several_give_several(classifier: tlaam.Classifier, photo: Path) -> None:
    one = classifier.predict(photo)
    assert isinstance(one, Prediction) and one.label in classifier.classes
    assert one.score == pytest.approx(max(one.probabilities["fused"])) and one.verdict is not None
    several = classifier.predict([photo, str(photo)])
    assert isinstance(several, Predictions) and [p.label for p in several] == [one.label] * 2
    assert isinstance(classifier.predict(str(photo)), Prediction), "a text is one path, not its letters"
    assert classifier.predict([]) == []
    assert len(classifier.predict(photo.parent)) == len(classifier.predict(f"{photo.parent}/*.png")) == 6
    assert [p.label for p in classifier.stream(iter([photo]))] == [one.label]


def test_the_same_pixels_get_the_same_answer_whatever_they_come_as(classifier: tlaam.Classifier, photo: Path) -> None:
    image = Image.open(photo).convert("RGB")
    levels = np.asarray(image)
    tensor = torch.from_numpy(levels.copy()).permute(2, 0, 1)
    clear = image.copy()
    clear.putalpha(255)
    given = [
        photo,
        image,
        clear,
        levels,
        np.dstack([levels, np.full(levels.shape[:2], 255, np.uint8)]),
        tensor,
        tensor / 255,
    ]
    answers = classifier.predict(given)
    for answer in answers:
        assert answer.size == image.size
        np.testing.assert_allclose(answer.probabilities["fused"], answers[0].probabilities["fused"], atol=1e-6)
        np.testing.assert_allclose(answer.object_box, answers[0].object_box, atol=1e-3)  # type: ignore[arg-type]
    grey = classifier.predict([image.convert("L"), np.asarray(image.convert("L")), image.convert("L").convert("RGB")])
    np.testing.assert_allclose(grey[0].probabilities["fused"], grey[2].probabilities["fused"], atol=1e-6)
    np.testing.assert_allclose(grey[1].probabilities["fused"], grey[2].probabilities["fused"], atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "La"])
def test_an_image_of_any_mode_is_answered_for_and_shown(classifier: tlaam.Classifier, photo: Path, mode: str) -> None:
    image = Image.open(photo)
    image = (
        image.convert("I").convert(mode)
        if mode == "I;16"
        else image.convert("L" if mode == "F" else "RGB").convert(mode)
    )
    answer = classifier.predict(image)
    assert answer.error is None and answer.plot().mode == "RGB"


def test_an_upright_camera_picture_is_turned_as_its_file_is(
    classifier: tlaam.Classifier, photo: Path, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(photo).convert("RGB").save(tmp_path / "turned.png", exif=exif)
    of_file, of_image = classifier.predict([tmp_path / "turned.png", Image.open(tmp_path / "turned.png")])
    assert of_file.size == of_image.size == (60, 80)
    assert of_image.path == str(tmp_path / "turned.png")
    np.testing.assert_allclose(of_file.probabilities["fused"], of_image.probabilities["fused"], atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (3, "of type int"),
        (b"\xff\xd8", "of type bytes"),
        ({"image": 1}, "of type dict"),
        (None, "of type NoneType"),
        ([object()], "of type object"),
        (np.zeros((8, 8, 3)), "array of float64"),
        (np.zeros((3, 8, 8), np.uint8), r"shape \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\)"),
        (torch.zeros(8, 8, dtype=torch.uint8), r"shape \(8, 8\)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"tensor of shape \(8, 8, 3\).*\(C, H, W\)"),
        (torch.zeros(2, 3, 8, 8), "Give a batch as a list"),
        (torch.full((3, 8, 8), 1.5), "outside 0 to 1"),
        (torch.full((3, 8, 8), -0.1), "outside 0 to 1"),
        (torch.full((3, 8, 8), torch.nan), "outside 0 to 1"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "tensor of int64"),
    ],
)
def test_a_wrong_type_gets_a_sentence(classifier: tlaam.Classifier, wrong: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        classifier.predict(wrong)
    assert isinstance(caught.value, TypeError) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_an_answer_with_an_error(classifier: tlaam.Classifier, photo: Path) -> None:
    bad, good = classifier.predict(["gone.jpg", photo])
    assert bad.label is None and bad.score is None and bad.error is not None and "gone.jpg" in bad.error
    assert good.error is None and "gone.jpg" in bad._repr_html_()
    with pytest.raises(DataError, match=r"nothing to show of 'gone\.jpg'"):
        bad.plot()


def test_a_table_of_predictions(classifier: tlaam.Classifier, photo: Path, tmp_path: Path) -> None:
    answers = classifier.predict([photo, "gone.jpg"])
    text = answers.to_csv(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == text
    first, second = csv.DictReader(io.StringIO(text))
    assert tuple(first) == COLUMNS and first["label"] == answers[0].label and first["second"]
    assert float(first["x1"]) > float(first["x0"]) and second["error"] and not second["label"]
    assert "<table>" in answers._repr_html_() and "gone.jpg" in answers._repr_html_()


def test_a_data_frame_where_pandas_is(
    classifier: tlaam.Classifier, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FakePandas:
        @staticmethod
        def DataFrame(rows: Any, columns: Any) -> Any:
            return rows, columns

    answers = classifier.predict([photo])
    monkeypatch.setitem(sys.modules, "pandas", FakePandas)
    rows, columns = answers.to_pandas()
    assert tuple(columns) == COLUMNS and rows[0]["label"] == answers[0].label
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        answers.to_pandas()


def test_a_notebook_shows_an_answer_by_itself(classifier: tlaam.Classifier, photo: Path) -> None:
    answer = classifier.predict(photo)
    shown = answer._repr_html_()
    assert shown.startswith('<img src="data:image/png;base64,') and f'alt="{answer.label}: ' in shown
    assert re.search(r"Classifier of 3 classes \(crow, jay, wren\)", repr(classifier))


def test_look_alikes_and_embeddings(classifier: tlaam.Classifier, photo: Path) -> None:
    alike = classifier.look_alikes(photo, k=3)
    assert alike[0].name == "jay/0.png" and alike[0].similarity == pytest.approx(1, abs=1e-3) and len(alike) == 3
    assert [a.name for a in classifier.look_alikes(classifier.predict(photo), k=3)] == [a.name for a in alike]
    embedded = classifier.embed([photo, photo])
    assert embedded.shape[0] == 2 and classifier.embed(photo).shape == (1, embedded.shape[1])
    with pytest.raises(DataError, match="gone"):
        classifier.embed(["gone.jpg"])
    with pytest.raises(InputError, match="one image"):
        classifier.look_alikes([photo, photo])


def test_an_exported_file_is_measured_as_its_run_is(exported_run: Path, exported_file: Path, photos: Path) -> None:
    of_run = tlaam.load(exported_run, precision="32-true", device="cpu").evaluate(photos)
    of_file = tlaam.load(exported_file).evaluate(photos)
    assert of_run.images == of_file.images == 18 and of_run.precision == "32-true" and of_file.precision == "fp32"
    for branch, measures in of_run.classification.items():
        assert of_file.classification[branch].top1 == measures.top1
    assert [r.predicted for r in of_run.per_image] == [r.predicted for r in of_file.per_image]


def test_images_in_memory_are_a_data_set(classifier: tlaam.Classifier, photos: Path) -> None:
    pairs = [(Image.open(path), path.parent.name) for path in sorted(photos.glob("*/*.png"))]
    whole, paths = classifier.evaluate(pairs), classifier.evaluate(photos)
    assert whole.images == 18 and whole.classification["fused"].top1 == paths.classification["fused"].top1

    class Rows:
        """As `datasets.Dataset`: rows are mappings, labels numbers, and names stand in the features."""

        features = {"label": type("ClassLabel", (), {"names": ["crow", "jay", "wren"]})()}  # noqa: RUF012

        def __len__(self) -> int:
            return len(pairs)

        def __getitem__(self, index: int) -> dict[str, Any]:
            image, name = pairs[index]
            return {"image": image, "label": ["crow", "jay", "wren"].index(name)}

    assert classifier.evaluate(Rows()).classification["fused"].top1 == whole.classification["fused"].top1


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (3, "of type int"),
        ([], "is empty"),
        ([("a.jpg",)], "item 0 of the data set is no pair"),
        ([("a.jpg", 1.5)], "label of item 0 is 1.5"),
        ([(object(), "crow")], "item 0 of the data set: an image cannot be of type object"),
    ],
)
def test_a_wrong_data_set_gets_a_sentence(classifier: tlaam.Classifier, data: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        classifier.evaluate(data)


def test_what_a_file_cannot_do_is_refused_in_a_line(exported_file: Path, photos: Path, tmp_path: Path) -> None:
    classifier = tlaam.load(exported_file)
    with pytest.raises(ExportError, match="is an exported file already"):
        classifier.export(tmp_path / "again.onnx")
    with pytest.raises(DataError, match=r"give the report a path and data"):
        classifier.report()
    with pytest.raises(ModelError, match="was not loaded from one"):
        save_pretrained(classifier.engine, tmp_path / "hub")
    page = classifier.report(tmp_path / "report.html", photos)
    assert page.read_text(encoding="utf-8").count("<img") > 10


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [(3, InputError, "of type int"), ("https://x/y", ModelError, "is no model"), ("gone", ModelError, "gone")],
)
def test_what_is_no_model_gets_a_sentence(given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        tlaam.load(given)


def test_numbers_that_cannot_be_are_refused(exported_run: Path) -> None:
    for options, said in (
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": -1}, "workers is -1"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
    ):
        with pytest.raises(ConfigError, match=said):
            tlaam.load(exported_run, **options)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="no device 'cdua'"):
        tlaam.load(exported_run, device="cdua")


def test_a_stream_takes_what_predict_takes(classifier: tlaam.Classifier, photo: Path) -> None:
    assert [p.label for p in classifier.stream(str(photo))] == [classifier.predict(photo).label]
    assert len(list(classifier.stream(photo.parent))) == 6


def test_a_subset_has_the_names_of_what_it_is_cut_from(classifier: tlaam.Classifier, photos: Path) -> None:
    class Images(torch.utils.data.Dataset[Any]):
        classes = ("crow", "jay", "wren")

        def __len__(self) -> int:
            return 18

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            label, number = divmod(index, 6)
            return Image.open(photos / self.classes[label] / f"{number}.png"), label

    half = torch.utils.data.Subset(Images(), range(9))
    both = torch.utils.data.ConcatDataset([half, torch.utils.data.Subset(Images(), range(9, 18))])
    assert classifier.evaluate(half).images == 9 and classifier.evaluate(both).images == 18


def test_a_description_that_someone_edited_is_used_once_they_say_so(exported_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(exported_run, tmp_path / "run")
    description = json.loads((run / "config.json").read_text())
    description["classes"] = ["crow", "blue jay", "wren"]
    (run / "config.json").write_text(json.dumps(description))
    with pytest.raises(ModelError, match="set its entry 'sha256' to null"):
        tlaam.load(run)
    (run / "config.json").write_text(json.dumps({**description, "sha256": None}))
    with pytest.raises(ModelError, match=r"other classes; remove it \(gallery\.npz\)"):
        tlaam.load(run)
    (run / "gallery.npz").unlink()
    assert tlaam.load(run).classes == ("crow", "blue jay", "wren")


def test_former_names_work_and_name_the_new_ones(exported_run: Path, photos: Path) -> None:
    photo = str(photos / "jay" / "0.png")
    with pytest.warns(DeprecationWarning, match=r"tlaam\.load"):
        predictor = tlaam.Predictor(exported_run)
    (answer,) = predictor.predict(photo)
    assert answer.error is None, "a text is one path here, too"
    with pytest.warns(DeprecationWarning, match=r"Prediction\.verdict"):
        assert answer.confidence == answer.verdict
    with pytest.warns(DeprecationWarning, match=r"Prediction\.similarity"):
        assert answer.familiarity == answer.similarity
    (named,) = predictor.predict_images([Image.open(photo)], ["mine"])
    assert named.path == "mine" and named.label == answer.label
    with pytest.warns(DeprecationWarning, match=r"tlaam\.load\(model\)\.predict"):
        assert tlaam.predict(exported_run, photo)[0].label == answer.label
    with pytest.warns(DeprecationWarning, match=r"tlaam\.load\(run\)\.evaluate"):
        assert tlaam.evaluate(exported_run, photos).images == 18
    with pytest.warns(DeprecationWarning, match="open_dataset"):
        assert len(tlaam.open_images(photos).samples) == 18
    with pytest.warns(DeprecationWarning, match=r"tlaam\.load"):
        assert tlaam.load_model(exported_run).classes == answer.classes
    with pytest.warns(DeprecationWarning, match="hf://"):
        assert tlaam.from_pretrained(exported_run).index is not None
