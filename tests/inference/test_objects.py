"""Several objects: found, named in their own surroundings, and none where there is none.

The model here is of colours: what is strongly red, green or blue is foreground, and its colour its class.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage
from stub_model import StubModel

import tlaam
from tlaam.api.classifier import Classifier
from tlaam.data.given_boxes import NumberedBoxes
from tlaam.errors import ConfigError, DataError, InputError, ModelError
from tlaam.inference.backend import MOST_OBJECTS, Answers, Floats, Objects
from tlaam.inference.engine import Engine
from tlaam.inference.looking import look_for
from tlaam.inference.objects import surroundings
from tlaam.inference.prediction import NOTHING

GREY = (90, 90, 90)
RED, GREEN, BLUE = (230, 20, 20), (20, 230, 20), (20, 20, 230)


class Colours(StubModel):
    """Names colours; how sure it is of the foreground is how strong they are."""

    classes = ("red", "green", "blue")
    source_size = 64

    def __init__(self, *, takes_boxes: bool = True) -> None:
        self.takes_boxes, self.batches, self.looks = takes_boxes, [], 0

    def require_objects(self) -> None:
        """Be able to."""

    def find(self, inputs: NDArray[np.uint8]) -> Objects:
        """Return strongly coloured components."""
        self.looks += len(inputs)
        found = np.zeros((len(inputs), MOST_OBJECTS, 7))
        for row, pixels in enumerate(inputs.astype(float)):
            sure = np.clip((pixels.max(0) - pixels.mean(0)) / 140, 0, 1)
            labels, _ = ndimage.label(sure > 0.6, np.ones((3, 3)))
            several = []
            for number, (y, x) in enumerate(ndimage.find_objects(labels), start=1):
                inside = sure[labels == number]
                several.append((x.start, y.start, x.stop, y.stop, inside.size / sure.size, inside.max(), inside.mean()))
            several = sorted(several, key=lambda each: -each[4])[:MOST_OBJECTS]
            found[row, : len(several)] = np.array(several).reshape(-1, 7)
        return Objects(found[..., :4], found[..., 4], found[..., 5], found[..., 6])

    def answer(self, inputs: NDArray[np.uint8], boxes: Floats | None = None) -> Answers:
        """Answer by the mean colour in the boxes; of the raw branch, of the whole."""
        self.batches.append((len(inputs), boxes))
        whole = np.tile([0.0, 0.0, 64.0, 64.0], (len(inputs), 1))
        where = whole if boxes is None else boxes
        means = []
        for pixels, (x0, y0, x1, y1) in zip(inputs, where.round().astype(int), strict=True):
            means.append(pixels[:, y0:y1, x0:x1].reshape(3, -1).mean(1))
        raw, fused = softmax(inputs.reshape(len(inputs), 3, -1).mean(2)), softmax(np.array(means))
        return Answers({"raw": raw, "fused": fused}, None, where, None)


def softmax(values: Floats) -> Floats:
    powers = np.exp((values - values.max(1, keepdims=True)) / 20)
    return powers / powers.sum(1, keepdims=True)


def picture(*squares: tuple[tuple[int, int, int, int], tuple[int, int, int]], size: Any = (400, 200)) -> Image.Image:
    image = Image.new("RGB", size, GREY)
    for (x0, y0, x1, y1), colour in squares:
        ImageDraw.Draw(image).rectangle((x0, y0, x1 - 1, y1 - 1), fill=colour)
    return image


TWO = picture(((40, 40, 120, 120), BLUE), ((220, 30, 360, 170), RED))


def classifier(**settings: Any) -> Classifier:
    return Classifier(Engine(Colours(**settings), batch_size=2))


def test_each_object_has_a_box_and_a_name_of_its_own_the_largest_first() -> None:
    found = classifier().predict(TWO, objects="all")
    assert found.objects is not None and [each.label for each in found.objects] == ["red", "blue"]
    np.testing.assert_allclose(found.objects[0].object_box, [220, 30, 360, 170], atol=8)
    np.testing.assert_allclose(found.objects[1].object_box, [40, 40, 120, 120], atol=8)
    assert found.label == "red" and found.object_box is found.objects[0].object_box
    record = found.to_dict(2)
    assert [each["predictions"][0]["label"] for each in record["objects"]] == ["red", "blue"]
    assert {**record["objects"][0]}.items() <= record.items()
    assert set(record["objects"][0]) == {
        "predictions", "branches", "verdict", "similarity", "object_box", "part_boxes"
    }  # fmt: skip


def test_tables_have_a_row_an_object() -> None:
    found = classifier().predict([TWO, picture()], objects="all")
    _, *rows = found.to_csv().splitlines()
    assert [row.split(",")[:2] for row in rows] == [["image 0", "red"], ["image 0", "blue"], ["image 1", ""]]
    assert len(found.to_pandas()) == 3 and found._repr_html_().count("<tr>") == 4
    assert found[0].plot().width > 0


def test_at_most_so_many_are_named() -> None:
    found = classifier().predict([TWO, TWO], objects=1)
    assert [len(each.objects or ()) for each in found] == [1, 1] and found[0].label == "red"


def test_names_do_not_mix() -> None:
    """What stands beside an object is not in its surroundings, so that the raw branch does not see it."""
    blue = classifier().predict(TWO, objects="all").objects[1]  # type: ignore[index]
    assert blue.top(1, "raw")[0][0] == "blue"


def test_one_object_is_answered_for_as_without_the_option() -> None:
    image = picture(((100, 50, 200, 150), GREEN))
    alone, found = classifier().predict(image), classifier().predict(image, objects="all")
    record = found.to_dict()
    (only,) = record.pop("objects")
    assert record == alone.to_dict() and only["object_box"] == record["object_box"]
    assert "objects" not in alone.to_dict()


@pytest.mark.parametrize(
    "image",
    [
        picture(),
        picture(((100, 50, 110, 56), GREEN)),  # small
        picture(((100, 50, 200, 150), (150, 85, 85))),  # pale
    ],
)
def test_nothing_large_and_sure_enough_is_nothing_found(image: Image.Image) -> None:
    model = Colours()
    found = Classifier(Engine(model)).predict(image, objects="all")
    assert found.verdict == NOTHING == "nothing found" and found.objects == () and found.error is None
    assert found.label is None and found.score is None and found.object_box is None and not model.batches
    record = found.to_dict()
    assert record["predictions"] == record["objects"] == [] and record["branches"] == {}
    assert record["verdict"] == "nothing found" and record["object_box"] is None and record["error"] is None
    with pytest.raises(DataError, match="nothing found"):
        found.plot()
    assert (
        "nothing found" in found._repr_html_()
        and not found.is_unjudged
        and found.doubt == "nothing found"
        and found.size == image.size
    )


def test_many_are_named_in_batches(tmp_path: Path) -> None:
    model = Colours()
    images = [TWO, picture(), picture(((100, 50, 200, 150), GREEN)), TWO]
    images[1].save(tmp_path / "none.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    given = [TWO, tmp_path / "none.png", tmp_path / "broken.png", images[2], TWO]
    found = Classifier(Engine(model, batch_size=3)).predict(given, objects="all")
    assert [len(each.objects or ()) for each in found] == [2, 0, 0, 1, 2]
    assert [each.error is None for each in found] == [True, True, False, True, True] and found[2].objects is None
    assert max(count for count, _ in model.batches) <= 3


def test_given_boxes_are_named_in_their_order_and_nothing_is_looked_for() -> None:
    model = Colours()
    boxes = np.array([[40, 40, 120, 120], [220.5, 30, 360, 170]])
    found = Classifier(Engine(model)).predict(TWO, boxes=boxes)
    assert found.objects is not None and [each.label for each in found.objects] == ["blue", "red"] and not model.looks
    np.testing.assert_allclose([each.object_box for each in found.objects], boxes)
    assert Classifier(Engine(model)).predict(TWO, boxes=[]).verdict == NOTHING
    several = Classifier(Engine(model)).predict([TWO, TWO], boxes=[boxes, boxes[:1]])
    assert [len(each.objects or ()) for each in several] == [2, 1]
    assert len(Classifier(Engine(model)).predict(TWO, boxes=boxes, objects=1).objects or ()) == 1


def test_a_model_without_an_object_level_sees_what_is_cut_out() -> None:
    found = classifier(takes_boxes=False).predict(TWO, boxes=[[40, 40, 120, 120], [220, 30, 360, 170]])
    assert [each.label for each in found.objects or ()] == ["blue", "red"]


def test_a_reduced_photograph_has_boxes_in_its_own_pixels(tmp_path: Path) -> None:
    big = TWO.resize((4000, 2000), Image.Resampling.NEAREST)
    big.save(tmp_path / "big.jpg", quality=95)
    found = classifier().predict(tmp_path / "big.jpg", objects="all")
    assert found.size == (4000, 2000)
    np.testing.assert_allclose([each.object_box for each in found.objects or ()],
                               [[2200, 300, 3600, 1700], [400, 400, 1200, 1200]], atol=80)  # fmt: skip


def test_surroundings_stay_in_the_photograph() -> None:
    cut = surroundings(np.array([0.0, 10.0, 100.0, 30.0]), (400, 200))
    assert cut[0] == 0 and cut[1] == 0 and 100 < cut[2] < 200 and 30 < cut[3] <= 130
    np.testing.assert_allclose(surroundings(np.array([0.0, 0.0, 400.0, 200.0]), (400, 200)), [0, 0, 400, 200])


@pytest.mark.parametrize(
    ("boxes", "error", "message"),
    [
        ([[0, 0, 10]], InputError, "shapes"),
        ([["a", "b", "c", "d"]], InputError, "no boxes"),
        (7, InputError, "shapes"),
        ({"a": 1}, InputError, "no boxes"),
    ],
)
def test_what_are_no_boxes_is_refused(boxes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        classifier().predict(TWO, boxes=boxes)


@pytest.mark.parametrize(
    "box", [(-50, 0, 40, 40), (0, 0, 0, 10), (10, 10, 5, 5), (0, 0, float("nan"), 1), (0, 0, 900, 9)]
)
def test_a_box_that_is_no_part_of_the_image_is_an_error_of_this_image(box: tuple[float, ...]) -> None:
    bad, good = classifier().predict([TWO, TWO], boxes=[[box], [[40, 40, 120, 120]]])
    assert bad.error is not None and "box 1" in bad.error and bad.objects is None
    assert good.error is None and good.label == "blue"


@pytest.mark.parametrize("objects", [0, -1, True, "some", 1.5])
def test_an_impossible_number_is_refused(objects: Any) -> None:
    with pytest.raises(ConfigError, match="objects is"):
        classifier().predict(TWO, objects=objects)


def test_boxes_of_too_few_images_are_told() -> None:
    engine = Engine(Colours())
    look_for(engine, boxes=NumberedBoxes([[[40, 40, 120, 120]]]))
    first, second = engine.predict([TWO, TWO])
    assert first.error is None and second.error is not None and "number 2" in second.error


def test_a_model_that_finds_one_says_so(tmp_path: Path) -> None:
    from small_runs import small_run

    model = tlaam.load(small_run(tmp_path / "run", localizer="oaam"), device="cpu")
    with pytest.raises(ModelError, match="localizer=foreground"):
        model.predict(TWO, objects="all")
    found = model.predict(TWO, boxes=[[40, 40, 120, 120]])
    np.testing.assert_allclose(found.object_box, [40, 40, 120, 120])
    assert isinstance(found.label, str)
    with pytest.raises(DataError):
        model.predict(tmp_path / "missing.jpg", boxes=tmp_path / "none.csv")


def test_a_network_is_told_where_objects_are_and_finds_them_where_it_is_not(tmp_path: Path) -> None:
    from small_runs import small_run

    from tlaam.inference.store import load_model

    model = load_model(small_run(tmp_path / "run", localizer="foreground", zoom_steps=2))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), dtype=np.uint8)
    alone, told = model.answer(pixels), model.answer(pixels, np.array([[0.0, 0, 0, 0], [10, 10, 50, 60]]))
    assert alone.object_boxes is not None and told.object_boxes is not None
    np.testing.assert_allclose(told.object_boxes, [alone.object_boxes[0], [10, 10, 50, 60]])
    np.testing.assert_allclose(told.probabilities["fused"][0], alone.probabilities["fused"][0], atol=1e-6)
    assert not np.allclose(told.probabilities["object"][1], alone.probabilities["object"][1])
    np.testing.assert_allclose(told.probabilities["raw"], alone.probabilities["raw"], atol=1e-6)


def test_all_objects_are_drawn() -> None:
    found = classifier().predict(TWO, objects="all")
    alone = replace(found, objects=None)
    for name, one, other in (
        ("plot", found.plot(), alone.plot()),
        ("view", next(iter(found.views().values())), next(iter(alone.views().values()))),
    ):
        changed = np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max(2) > 60
        assert changed.any(), f"{name}: the blue one has a box"
        columns = np.flatnonzero(changed.any(0))
        assert columns.max() < (0.45 if name == "view" else 0.5) * one.width, f"{name}: the red one had it"
