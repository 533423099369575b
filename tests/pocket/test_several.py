"""Several objects on the page, in Node beside Python: the parts that are looked at, what is found, how it is named."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from node_scripts import Run
from numpy.typing import NDArray
from PIL import Image
from several_file import several_file
from stub_model import StubModel

from tlaam.data.in_memory import rgb_image
from tlaam.data.input_image import to_input
from tlaam.errors import ModelError
from tlaam.inference.backend import Answers, Objects
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.onnx_file import default_boxes_name_at
from tlaam.pocket.facts import facts_of

SIDE = 32
OF_OLDER_PILLOW = 0 if int(PIL.__version__.partition(".")[0]) >= 13 else 1
"""Levels by which releases before 13 differ: they begin with the other axis in some images (docs/export.md)."""
PHOTO = """
import { Squasher } from "./pixels.js";
const photo = ({ width, height, pixels }) => ({
  width, height,
  input(side, options) {
    const squasher = new Squasher(width, height, side, options);
    const { x, y, width: across, height: down } = squasher.window;
    for (let row = 0; row < down; row++) {
      const line = [];
      const from = width * (y + row) + x;
      for (let at = from; at < from + across; at++) line.push(...pixels.subarray(3 * at, 3 * at + 3), 255);
      squasher.take(Uint8Array.from(line));
    }
    return squasher.done();
  },
});
const text = (content) => Buffer.from(content).toString("base64");
"""


def encoded(pixels: NDArray[np.uint8]) -> str:
    return base64.b64encode(pixels.tobytes()).decode("ascii")


def decoded(content: str) -> NDArray[np.int64]:
    return np.frombuffer(base64.b64decode(content), np.uint8).reshape(SIDE, SIDE, 3).astype(int)


def noise(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("by", [1, 2, 4, 8])
def test_a_part_of_a_photograph_is_pillows(by: int, node: Run) -> None:
    width, height = 203, 150
    pixels = noise(width, height)
    cuts = [
        (0.0, 0.0, 203.0, 150.0), (10.3, 20.7, 150.25, 77.1), (0.0, 90.9, 33.3, 150.0), (160.01, 3.0, 203.0, 149.9),
        (50.0, 50.0, 58.5, 60.25), (100.0, 0.0, 103.0, 150.0), (0.0, 70.0, 203.0, 73.0),
    ]  # fmt: skip
    program = PHOTO + "const one = photo({ ...given, pixels: bytes(given.pixels) });\n"
    program += "done(given.cuts.map((cut) => text(one.input(given.side, { by: given.by, cut }))));"
    found = node(
        program, {"side": SIDE, "width": width, "height": height, "pixels": encoded(pixels), "by": by, "cuts": cuts}
    )
    for cut, content in zip(cuts, found, strict=True):
        small = Image.fromarray(pixels).reduce(by) if by > 1 else Image.fromarray(pixels)
        box = tuple(edge / by for edge in cut)
        squashed = small.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)  # type: ignore[arg-type]
        wanted = np.asarray(squashed, dtype=int)
        atol = OF_OLDER_PILLOW if by == 1 else 1  # Pillow reduces by a rounded share
        np.testing.assert_allclose(decoded(content), wanted, atol=atol, err_msg=str(cut))


class _Seeing(StubModel):
    """Sees what it is told to, and notes what it was shown, row by row."""

    classes = ("wren", "jay", "crow")

    def __init__(self, first: list[list[float]], closer: list[list[list[float]]], told: bool) -> None:
        self.left, self.takes_boxes = [np.array([first]), np.array(closer)], told
        self.calls: list[dict[str, Any]] = []
        self.random = np.random.default_rng(3)

    def require_objects(self) -> None:
        """Be one that finds several."""

    def find(self, inputs: NDArray[np.uint8]) -> Objects:
        values = self.left.pop(0).astype(np.float32).astype(np.float64)
        self._note(inputs, None, {"objects": values})
        return Objects(values[..., :4], values[..., 4], values[..., 5], values[..., 6])

    def answer(self, inputs: NDArray[np.uint8], boxes: NDArray[np.floating] | None = None) -> Answers:
        rows = len(inputs)
        drawn = {
            "probabilities": self.random.dirichlet(np.ones(3), rows),
            "raw_probabilities": self.random.dirichlet(np.ones(3), rows),
            "object_boxes": self.random.uniform(0, 32, (rows, 4)),
            "part_boxes": self.random.uniform(0, 32, (rows, 2, 4)),
            "heatmaps": self.random.normal(size=(rows, 4, 4)),
        }
        drawn = {name: values.astype(np.float32).astype(np.float64) for name, values in drawn.items()}
        self._note(inputs, boxes, drawn)
        return Answers(
            {"raw": drawn["raw_probabilities"], "fused": drawn["probabilities"]}, drawn["heatmaps"],
            drawn["object_boxes"], drawn["part_boxes"],
        )  # fmt: skip

    def _note(self, inputs: NDArray[np.uint8], boxes: Any, outputs: dict[str, Any]) -> None:
        for row, pixels in enumerate(inputs):
            values = {name: each[row] for name, each in outputs.items()}
            self.calls.append({
                "pixels": encoded(np.ascontiguousarray(pixels.transpose(1, 2, 0))),
                "box": None if boxes is None else boxes[row].astype(np.float32).tolist(),
                "outputs": {name: {"data": v.ravel().tolist(), "dims": [1, *v.shape]} for name, v in values.items()},
            })  # fmt: skip


NONE = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
LEFT, RIGHT, SMALL = [2, 4, 14, 28, 0.3, 0.97, 0.9], [18, 5, 30, 20, 0.2, 0.9, 0.8], [1, 1, 2, 2, 0.003, 0.99, 0.9]
INSIDE = [8.0, 8.0, 24.0, 24.0, 0.4, 0.95, 0.95]
CASES = {
    "two": ([LEFT, RIGHT, SMALL], [[INSIDE, NONE, NONE], [INSIDE, NONE, NONE]]),
    "one that has two beside its middle": ([LEFT, NONE, NONE], [[INSIDE, [0, 0, 3, 32, 0.2, 0.9, 0.9], NONE]]),
    "one that parts": ([LEFT, NONE, NONE], [[[6, 4, 16, 28, 0.2, 0.9, 0.9], [17, 6, 26, 28, 0.2, 0.9, 0.9], NONE]]),
    "one seen twice": ([LEFT, [3, 4, 15, 28, 0.2, 0.9, 0.9]], [[INSIDE, NONE], [INSIDE, NONE]]),
    "an unsure one beside a sure one": ([LEFT, RIGHT], [[INSIDE, NONE], [[*INSIDE[:6], 0.57], NONE]]),
    "an unsure one alone": ([RIGHT, NONE], [[[*INSIDE[:6], 0.7], NONE]]),
    "one that is too small": ([LEFT, RIGHT], [[INSIDE, NONE], [[16, 16, 17, 17, 0.01, 0.9, 0.99], NONE]]),
    "nothing": ([SMALL, NONE, NONE], []),
}
COUNTS = {"two": 2, "one that parts": 2, "an unsure one beside a sure one": 2, "an unsure one alone": 0, "nothing": 0}
"""Objects of a case; in all others there is one."""
NAMED = """
import { several } from "./answering.js";
import { prepared } from "./record.js";
const { calls, name, rules } = given;
const facts = { classes: given.classes, source_size: given.side, detector: null, answering: null, objects: rules };
const model = prepared(facts);
const one = photo({ ...given.photo, pixels: bytes(given.photo.pixels) });
const seen = [];
const run = async (pixels, read, box) => {
  const { outputs } = calls[seen.length];
  seen.push({ pixels: text(pixels), box: box ? [...box] : null });
  const single = ([key, { data, dims }]) => [key, { data: Float32Array.from(data), dims }];
  return read(Object.fromEntries(Object.entries(outputs).map(single)));
};
const about = { width: one.width, height: one.height };
done({ record: await several(model, run, one, one.input(given.side), name, about), seen });"""


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_several_objects_are_found_and_named_as_in_python(case: str, told: bool, node: Run, tmp_path: Path) -> None:
    width, height = 120, 60  # not reduced, as images in memory are not
    pixels, model = noise(width, height), _Seeing(*CASES[case], told=told)
    engine = Engine(model)  # type: ignore[arg-type]
    engine.use_objects(9)
    image = rgb_image(pixels)
    (prediction,) = engine.answer([engine.read(image, "a.jpg")])
    assert prediction.objects is not None and len(prediction.objects) == COUNTS.get(case, 1)
    file = several_file(tmp_path / "several.onnx")
    rules = facts_of(load_engine(file), file.read_bytes()).values["objects"] | {"boxes": "told" if told else "cut"}
    given = {
        "photo": {"width": width, "height": height, "pixels": encoded(pixels)}, "classes": model.classes, "side": SIDE,
        "calls": model.calls, "name": "a.jpg", "rules": rules,
    }  # fmt: skip
    found = node(PHOTO + NAMED, given)
    assert len(found["seen"]) == len(model.calls)
    for seen, wanted in zip(found["seen"], model.calls, strict=True):
        np.testing.assert_allclose(decoded(seen["pixels"]), decoded(wanted["pixels"]), atol=OF_OLDER_PILLOW)
        assert seen["box"] == (None if wanted["box"] is None else pytest.approx(wanted["box"], rel=1e-6))
    wanted = prediction.to_dict(5)
    record = {name: value for name, value in found["record"].items() if name in wanted}
    for each in record["objects"]:
        assert each.pop("look_alikes") == []
    assert record == wanted
    drawn = len(prediction.objects) == 1
    assert (found["record"]["heatmap"] is not None) is drawn and found["record"]["size"] == [width, height]


def test_a_whole_photograph_is_what_the_input_image_shows(node: Run) -> None:
    pixels = noise(70, 41)
    program = PHOTO + "done(text(photo({ ...given, pixels: bytes(given.pixels) }).input(given.side)));"
    found = node(program, {"side": SIDE, "width": 70, "height": 41, "pixels": encoded(pixels)})
    wanted = to_input(Image.fromarray(pixels), SIDE).transpose(1, 2, 0).astype(int)
    np.testing.assert_allclose(decoded(found), wanted, atol=OF_OLDER_PILLOW)


def test_the_name_of_boxes_that_are_left_out_is_found_or_refused() -> None:
    content = b"\x0a\x05boxes....\x42\x05boxes\x4a\x10"
    assert content[default_boxes_name_at(content) :].startswith(b"boxes\x4a")
    for other in (b"\x0a\x05boxes", content + content):
        with pytest.raises(ValueError, match="not named exactly once"):
            default_boxes_name_at(other)


def test_at_most_so_many_objects_are_named(node: Run) -> None:
    program = """
import { foundIn } from "./objects.js";
const rules = { most: 3, least: 0, least_box: 0, closer: 0, perhaps: 0, sure: 0, same: 0.5, inside: 0.7 };
const box = (at) => [20 * at, 0, 20 * at + 10 - at, 10];
const boxes = [0, 1, 2, 3, 4].map((at) => ({ box: box(at), area: 0.1, peak: 1, mean: 1 }));
const whole = (cut) => cut[2] - cut[0] > 50;
const look = async (cut) => (whole(cut) ? boxes : [{ box: cut, area: 1, peak: 1, mean: 1 }]);
done(await foundIn({ width: 100, height: 10 }, rules, look));"""
    assert node(program, None) == [[0, 0, 10, 10], [20, 0, 29, 10], [40, 0, 48, 10]]


def test_what_a_page_knows_of_several_objects(tmp_path: Path, colours: Path) -> None:
    file = several_file(tmp_path / "several.onnx")
    content = file.read_bytes()
    rules = facts_of(load_engine(file), content).values["objects"]
    assert rules["boxes"] == "told" and content[rules["default_at"] :].startswith(b"boxes")
    assert facts_of(load_engine(colours), colours.read_bytes()).values["objects"] is None, "it finds one alone"
    with pytest.raises(ModelError, match="cannot be used on a page"):
        facts_of(load_engine(file), content.replace(b"boxes", b"bexes"))
