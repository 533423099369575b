"""The page's scripts beside Python's, in Node: the same input image, record, metadata and tables."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from node_scripts import SCRIPTS, Run
from PIL import Image
from stub_model import StubModel

sys.path.insert(0, str(Path(__file__).parents[1] / "field"))

from cards import ATTACKS, exif_of

from tlaam.data.input_image import to_input
from tlaam.field.answer import answer_of
from tlaam.field.csv_table import csv_table
from tlaam.field.exif import read_shot
from tlaam.inference.backend import Answers
from tlaam.inference.engine import Engine, ReadImage
from tlaam.pocket.facts import facts_of
from tlaam.reference.contrast import Contrast
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.ood_detector import NO_THRESHOLD, NearStrangers, OODDetector
from tlaam.reference.similarity import unit
from tlaam.service.rows import answered
from tlaam.taxonomy.answers import Answering
from tlaam.taxonomy.tree import Taxonomy

SIDE = 32


def text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


SIZES = [
    (SIDE, SIDE), (1, 1), (1, 300), (300, 1), (20, 15), (33, 31), (31, 63), (60, 45), (40, 63), (35, 200), (200, 35),
    (47, 500),
]  # fmt: skip


OF_OLDER_PILLOW = 0 if int(PIL.__version__.partition(".")[0]) >= 13 else 1
"""Levels by which releases before 13 differ: they begin with the other axis in some images (docs/export.md)."""


def test_the_input_image_is_pillows(node: Run) -> None:
    pictures = [np.random.default_rng(n).integers(0, 256, (h, w, 3), np.uint8) for n, (w, h) in enumerate(SIZES)]
    squash = """
import { Squasher } from "./pixels.js";
done(given.map(({ width, height, rows }) => {
  const squasher = new Squasher(width, height, %d);
  const pixels = bytes(rows);
  for (let top = 0; top < height; top += 7) squasher.take(pixels.subarray(4 * width * top, 4 * width * (top + 7)));
  return Buffer.from(squasher.done()).toString("base64");
}));"""

    def asked(pixels: np.ndarray[Any, Any]) -> dict[str, Any]:
        rows = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.uint8)], 2)
        return {"width": pixels.shape[1], "height": pixels.shape[0], "rows": text(rows.tobytes())}

    found = node(squash % SIDE, [asked(pixels) for pixels in pictures])
    for size, pixels, content in zip(SIZES, pictures, found, strict=True):
        image = np.frombuffer(base64.b64decode(content), np.uint8).reshape(SIDE, SIDE, 3)
        wanted = to_input(Image.fromarray(pixels), SIDE).transpose(1, 2, 0)
        np.testing.assert_allclose(image.astype(int), wanted.astype(int), atol=OF_OLDER_PILLOW, err_msg=str(size))
    large = [(64, 64), (130, 67), (129, 300), (1000, 257), (263, 3000)]
    pictures = [np.random.default_rng(n).integers(0, 256, (h, w, 3), np.uint8) for n, (w, h) in enumerate(large)]
    found = node(squash % SIDE, [asked(pixels) for pixels in pictures])
    for (width, height), pixels, content in zip(large, pictures, found, strict=True):
        by = next(by for by in (8, 4, 2) if min(width, height) >= by * SIDE)
        small = Image.fromarray(pixels).reduce(by)
        squashed = small.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(0, 0, width / by, height / by))
        image = np.frombuffer(base64.b64decode(content), np.uint8).reshape(SIDE, SIDE, 3)
        np.testing.assert_allclose(
            image.astype(int), np.asarray(squashed, dtype=int), atol=1, err_msg=f"{width} {height}"
        )


CLASSES = ("hooded crow", "carrion crow", "jay", "<b>wren</b>")
TAXA = (
    ("Corvus cornix", "Corvus"),
    ("Corvus corone", "Corvus"),
    ("Garrulus glandarius", "Garrulus"),
    ("Troglodytes", ""),
)


def drawn_answers(rows: int, classes: int) -> Answers:
    random = np.random.default_rng(5)
    fused = random.dirichlet(np.full(classes, 0.4), rows).astype(np.float32).astype(np.float64)
    fused[0] = (0.5, 0.5, 0, 0)  # equally probable: the first comes first
    boxes = random.uniform(0, 32, (rows, 3, 4)).round(2)
    boxes[0] = [2.125, 2.375, 30.5, 31.625]  # ties of the second digit
    maps = random.normal(size=(rows, 5, 6)).astype(np.float32).astype(np.float64)
    maps[1] = 3
    embeddings = random.normal(size=(rows, 7)).astype(np.float32).astype(np.float64)
    return Answers(
        {"raw": fused[::-1].copy(), "fused": fused}, maps, boxes[:, 0].astype(np.float32).astype(np.float64),
        boxes[:, 1:].astype(np.float32).astype(np.float64), embeddings,
    )  # fmt: skip


class _Told(StubModel):
    """Answers what it is told to."""

    def __init__(self, answers: Answers) -> None:
        self.classes, self.source_size, self.answers = CLASSES, SIDE, answers

    def answer(self, inputs: Any) -> Answers:
        return self.answers


def index_of(threshold: float, *, near: bool = False) -> ReferenceIndex:
    random = np.random.default_rng(6)
    buffer = BytesIO()
    Image.new("RGB", (8, 6), "teal").save(buffer, "JPEG")
    detector = OODDetector(random.normal(size=(4, 7)).astype(np.float16), threshold, 0.6)
    if near:
        labels = np.arange(60) % 4
        contrast = Contrast.fit(unit(random.normal(size=(60, 7)) + 2 * np.eye(4, 7)[labels]), labels)
        assert contrast is not None
        detector = replace(detector, near=NearStrangers(contrast, 1.0, 0.05))
    embeddings = random.normal(size=(20, 7)).astype(np.float16)
    embeddings[3] = embeddings[9]
    names = tuple(map(str, range(20)))
    labels = np.arange(20, dtype=np.int32) % 4
    return ReferenceIndex(detector, CLASSES, embeddings, labels, names, (buffer.getvalue(),) * 20)


RECORD = """
import { prepared, record } from "./record.js";
const model = prepared(given.facts, given.alike && bytes(given.alike), given.pictures && bytes(given.pictures));
const float = ({ data, dims }) => ({ data: Float32Array.from(data), dims });
done(given.outputs.map((outputs, row) => {
  const named = Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, float(value)]));
  const [width, height] = given.sizes[row];
  return record(model, named, `${row}.jpg`, { width, height });
}));"""


@pytest.mark.parametrize("kind", ["alone", "index", "cannot tell", "taxonomy", "near"])
def test_the_record_is_pythons(kind: str, node: Run) -> None:
    rows = 12
    answers = drawn_answers(rows, len(CLASSES))
    model = _Told(answers)
    index = None if kind == "alone" else index_of(NO_THRESHOLD if kind == "cannot tell" else 0.3, near=kind == "near")
    engine = Engine(model, index=index)  # type: ignore[arg-type]
    if kind == "near":
        assert engine.detector is not None and answers.embeddings is not None
        told = engine.detector.similarity(answers.embeddings)
        assert (told < replace(engine.detector, near=None).similarity(answers.embeddings)).sum() >= 3, "it decides some"
    if kind == "taxonomy":
        taxonomy = Taxonomy(CLASSES, ("species", "genus"), TAXA)
        engine.use_answering(Answering(taxonomy, promise=0.95, thresholds=(45000, 40000), chosen_on=300))
    sizes = [(32, 32), (640, 480), (1, 1), *[(1000 + row, 777) for row in range(rows - 3)]]
    pixels = np.zeros((3, SIDE, SIDE), np.uint8)
    batch = [ReadImage(f"{row}.jpg", size, pixels) for row, size in enumerate(sizes)]
    expected = []
    for prediction in engine.answer(batch):
        row = answered(prediction, top_k=5, heatmap=True, look_alikes=lambda each: engine.look_alikes(each, 4))
        expected.append(row)
    facts = facts_of(engine, b"")

    def outputs(row: int) -> dict[str, Any]:
        values = {
            "probabilities": answers.probabilities["fused"], "raw_probabilities": answers.probabilities["raw"],
            "heatmaps": answers.heatmaps, "object_boxes": answers.object_boxes, "part_boxes": answers.part_boxes,
            "embeddings": answers.embeddings,
        }  # fmt: skip
        return {
            name: {"data": each[row].ravel().tolist(), "dims": [1, *each[row].shape]} for name, each in values.items()
        }

    found = node(
        RECORD,
        {
            "facts": facts.values, "alike": text(facts.alike), "pictures": text(facts.pictures), "sizes": sizes,
            "outputs": [outputs(row) for row in range(rows)],
        },
    )  # fmt: skip
    for row, wanted in zip(found, expected, strict=True):
        assert list(row.pop("photo")) == ["width", "height"]
        for name in ("similarity", "familiarity"):  # float32 sums in another order
            assert row[name] == (None if wanted[name] is None else pytest.approx(wanted[name], abs=1.01e-4))
            row[name] = wanted[name]
        assert [each["label"] for each in row["look_alikes"]] == [each["label"] for each in wanted["look_alikes"]]
        assert [each["thumbnail"] for each in row["look_alikes"]] == [
            each["thumbnail"] for each in wanted["look_alikes"]
        ]
        row["look_alikes"] = wanted["look_alikes"]
        assert row == wanted
    if kind == "taxonomy":
        assert {row["rank"] for row in expected} == {"species", "genus", None}
    if kind == "index":
        assert {row["verdict"] for row in expected} == {"sure", "unsure", "stranger"}


def test_a_model_that_is_damaged_answers_nothing(node: Run) -> None:
    engine = Engine(_Told(drawn_answers(2, 4)))  # type: ignore[arg-type]
    output = {"probabilities": {"data": [0.5, "NaN", 0.1, 0.1], "dims": [1, 4]}}
    (found,) = node(RECORD, {"facts": facts_of(engine, b"").values, "sizes": [(9, 9)], "outputs": [output]})
    assert found["predictions"] == [] and "is not finite" in found["error"] and found["code"] == "failed"


def test_rounding_is_pythons(node: Run) -> None:
    values = [0.125, 0.375, 12.125, -0.125, 2.675, 1.005, 0.5, 1.5, 2.5, 1e-9, 123456.785, 30.625, 0.1 + 0.2]
    program = (
        'import { rounded } from "./record.js";\ndone(given.map((value) => [0, 2, 4].map((d) => rounded(value, d))));'
    )
    assert node(program, values) == [[round(value, digits) for digits in (0, 2, 4)] for value in values]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_metadata_are_read_as_in_python(kind: str, node: Run, tmp_path: Path) -> None:
    hostile = exif_of()
    hostile[0x010F], hostile[0x0110] = "<script>alert(1)</script>\n=1+1", "b\x07" + "x" * 200
    broken = exif_of(inner={0x9003: "2023:02:31 10:00:00", 0x9004: "2023:02:03 25:00:00"}, gps={1: "Q"})
    broken[0x0132] = "2023:02:03 04:05:06"
    files = []
    for number, exif in enumerate([None, exif_of(), hostile, broken, exif_of(gps={9: "V"})]):
        files.append(tmp_path / f"{number}.{kind.lower()}")
        Image.new("RGB", (8, 6)).save(files[-1], kind, **({} if exif is None else {"exif": exif.tobytes()}))
    files.append(tmp_path / "cut")
    files[-1].write_bytes(files[1].read_bytes()[:90])
    program = """
import { shot } from "./exif.js";
done(await Promise.all(given.map((file) => shot(new Blob([bytes(file)])))));"""
    found = node(program, [text(file.read_bytes()) for file in files])
    expected = [vars(read_shot(file)) for file in files]
    assert found == expected
    assert expected[1]["camera"] and expected[1]["latitude"] and expected[2]["camera"].startswith("<script>")


@pytest.mark.parametrize("ranked", [False, True])
def test_the_tables_are_pythons(ranked: bool, node: Run, tmp_path: Path) -> None:
    photo = {
        "width": 64,
        "height": 48,
        "time": "2024-05-01T06:07:08",
        "camera": "=1+1",
        "latitude": 1.5,
        "longitude": -2.25,
    }
    genus = {
        "rank": "genus",
        "taxon": "=Corvus",
        "taxon_probability": 0.97,
        "lineage": {"genus": "=Corvus", "order": "P"},
    }
    nameless = {"rank": None, "taxon": None, "taxon_probability": None, "lineage": {}}
    names = [*ATTACKS, 'quoted "name", with comma', "'=already"]
    records: list[dict[str, Any]] = [
        {
            "path": name,
            "predictions": [{"label": name, "probability": 0.75}, {"label": "wren", "probability": 0.125}],
            "branches": {}, "verdict": "sure", "similarity": 0.5, "object_box": [1.5, 2.25, 30.0, 40.75],
            "part_boxes": None, "error": None, "photo": photo, **((genus if number else nameless) if ranked else {}),
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    first = records[0]
    records.append({**first, "predictions": first["predictions"][:1], "object_box": None, "verdict": None})
    records.append({**first, "objects": [first, {**records[1], "verdict": "unsure"}, {**first, "similarity": None}]})
    records.append({**first, "predictions": [], "object_box": None, "verdict": "nothing found", "objects": []})
    records.append(
        {**first, "predictions": [], "object_box": None, "verdict": None, "similarity": None, "error": "broken"}
    )
    with csv_table(tmp_path / "python.csv", ranked=ranked) as table:
        for record in records:
            table.add(answer_of(record))
    program = """
import { csv, jsonLines, manifest } from "./tables.js";
const entries = given.map((record, number) => ({ record, decided: number % 2 ? "jay, \\"grey\\"" : null }));
done({ csv: csv(given), lines: jsonLines(given), manifest: manifest(entries) });"""
    found = node(program, records)
    wanted = (tmp_path / "python.csv").read_bytes().decode()
    assert found["csv"].replace(",30,", ",30.0,") == wanted
    assert [json.loads(line) for line in found["lines"].splitlines()] == records
    assert (
        found["manifest"].startswith("image,label\n")
        and found["manifest"].count('"jay, ""grey"""') == len(records) // 2
    )


def test_no_script_has_a_fault_of_grammar() -> None:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on this machine")
    scripts = [*SCRIPTS.glob("*.js"), *(SCRIPTS.parents[1] / "service" / "static").glob("*.js")]
    for script in scripts:
        module = script.read_text().replace("__FILES__", "{}")
        ended = subprocess.run([found, "--input-type=module", "--check"], input=module, capture_output=True, text=True)
        assert ended.returncode == 0, f"{script.name}: {ended.stderr}"
