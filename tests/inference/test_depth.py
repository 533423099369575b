"""A model reads images of more than 8 bits as those that it learnt from, whatever they lie among and computes it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from deep_files import tiff
from onnx_files import FACTS, small_model, written
from PIL import Image
from small_runs import small_run
from stub_model import StubModel

from tlaam.cli.main import main
from tlaam.data.depth import LEGACY, Depth
from tlaam.data.images import ImageBytes, load_image
from tlaam.data.sample import Sample
from tlaam.errors import ModelError
from tlaam.inference.backend import Answers
from tlaam.inference.engine import load_engine
from tlaam.inference.onnx_file import read_model_file
from tlaam.inference.store import load_model
from tlaam.utils.checksums import with_checksum

TWELVE = Depth(whole=(0.0, 4095.0))


class _Learnt(StubModel):
    """A model of 12-bit images that is sure of what it is shown."""

    depth = TWELVE

    def answer(self, inputs: np.ndarray) -> Answers:
        fused = np.tile([0.25, 0.75], (len(inputs), 1))
        return Answers({"raw": fused, "fused": fused}, None, None, None)


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A picture of 12 bits whose brightest level is an eighth of white, 32 of 255."""
    values = (np.random.default_rng(0).random((40, 40)) * 500).astype(np.uint16)
    values[:8, :8] = 514
    (tmp_path / "night.tif").write_bytes(tiff(values))
    return tmp_path / "night.tif"


def test_however_an_image_is_given_it_is_read_as_those_learnt_from(night: Path) -> None:
    engine = load_engine(_Learnt())
    with Image.open(night) as opened:
        in_memory = Image.fromarray(np.asarray(opened))
    asked = [str(night), night, ImageBytes("night.tif", night.read_bytes()), in_memory]
    asked += [Sample(str(night), "night.tif", 0, "test"), Sample(str(night), "night.tif", 0, "test", depth=LEGACY)]
    expected = load_image(night, depth=TWELVE)
    assert np.asarray(expected).max() == 32
    for given, prediction in zip(asked, engine.predict(asked), strict=True):
        pixels = engine.read(given).pixels
        assert pixels is not None and pixels.max() == 32
        assert prediction.image() == expected
    assert np.asarray(load_image(night)).max() > 100  # by itself it would be brightened


def test_a_run_keeps_it(tmp_path: Path) -> None:
    run = small_run(tmp_path, depth=TWELVE)
    assert load_model(run).depth == load_engine(run).model.depth == TWELVE
    assert json.loads((run / "config.json").read_text())["preprocessing"]["depth"] == {"whole": [0, 4095]}


def test_a_run_of_an_earlier_version_goes_on_as_it_learnt_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    description = json.loads((small_run(tmp_path) / "config.json").read_text())
    assert load_model(tmp_path).depth == Depth()
    for depth in (None, {"whole": [5, 5]}):
        if depth is None:
            description["preprocessing"].pop("depth")
        else:
            description["preprocessing"]["depth"] = depth
        (tmp_path / "config.json").write_text(json.dumps(with_checksum(description)))
        if depth is None:
            assert load_model(tmp_path).depth == LEGACY
        else:
            with pytest.raises(ModelError, match=r"config\.json does not describe.*white must be above black"):
                load_model(tmp_path)


def test_an_exported_file_says_it(tmp_path: Path) -> None:
    def facts(**preprocessing: object) -> dict[str, str]:
        return {**FACTS, "preprocessing": json.dumps({"source_size": 32, **preprocessing})}

    assert read_model_file(written(tmp_path / "old.onnx", small_model(facts()))).depth == LEGACY
    file = written(tmp_path / "new.onnx", small_model(facts(depth=TWELVE.to_dict())))
    assert read_model_file(file).depth == load_engine(file).model.depth == TWELVE
    damaged = written(tmp_path / "damaged.onnx", small_model(facts(depth={"whole": "wide"})))
    with pytest.raises(ModelError, match=r"damaged\.onnx: 'depth' of its metadata cannot be used"):
        read_model_file(damaged)


@pytest.mark.usefixtures("without_heif")
def test_predict_and_evaluate_say_what_they_leave_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for colour in ("red", "green"):
        (tmp_path / "photos" / colour).mkdir(parents=True)
        Image.new("RGB", (40, 40), colour).save(tmp_path / "photos" / colour / "1.png")
        (tmp_path / "photos" / colour / "2.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    model = written(tmp_path / "m.onnx", small_model())
    line = "2 files of a type that is not read (2 .heic; convert them"
    for arguments in (
        ["predict", model, tmp_path / "photos"],
        ["predict", model, tmp_path / "photos", "--into", tmp_path / "out"],
        ["evaluate", model, tmp_path / "photos"],
    ):
        assert main(list(map(str, arguments))) == 0
        assert capsys.readouterr().err.count(line) == 1, arguments
