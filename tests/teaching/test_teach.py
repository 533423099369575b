"""An exported model taught: what is written answers as its classifiers do, and nothing else of it changes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from small_runs import small_run

import tlaam.teaching.pupil
from tlaam.cli.main import main
from tlaam.errors import DataError, ModelError, TlaamError
from tlaam.inference.engine import Engine, load_engine
from tlaam.inference.onnx_sealing import seal
from tlaam.inference.prediction import Prediction
from tlaam.probe.linear import LinearProbe
from tlaam.reference.file import digest_of, read_index, write_index
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.similarity import unit
from tlaam.taxonomy.tree import Taxonomy
from tlaam.teaching.heads import Heads, replace_heads
from tlaam.teaching.teach import Taught, _known_already, add_class, merge_classes, remove_class, rename_class
from tlaam.workflows.reference_index import write_reference_index

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def exported(exporting: None, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model of crow, jay and wren, which finds objects without asking its classifiers."""
    folder = tmp_path_factory.mktemp("taught")
    run = small_run(folder / "run", localizer="scda", fusion="joint")
    write_reference_index(run, photos, precision="32-true")
    assert main(["export", str(run), "--out", str(folder / "model.onnx"), "--images", str(photos / "jay")]) == 0
    return folder / "model.onnx"


@pytest.fixture
def model(exported: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    for file in (exported, exported.with_name("model.gallery.npz")):
        shutil.copy(file, tmp_path)
    return tmp_path / exported.name


@pytest.fixture(scope="module")
def robins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs of something else: red on black."""
    folder = tmp_path_factory.mktemp("robins")
    random = np.random.default_rng(5)
    for number in range(6):
        pixels = random.integers(0, 60, (60, 80, 3), dtype=np.uint8)
        x, y = random.integers(5, 40), random.integers(5, 25)
        pixels[y : y + 30, x : x + 30] = (230, 60, 30)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def asked(file: Path, images: list[Path]) -> list[dict[str, np.ndarray]]:
    """Return what a file answers, by output."""
    engine = load_engine(file, embeddings=True)
    engine.pooled = True
    found = []
    for answer in engine.predict(images):
        assert answer.error is None and answer.pooled is not None
        rest = {"boxes": answer.object_box, "parts": answer.part_boxes, "map": answer.heatmap, "pooled": answer.pooled}
        found.append({**answer.probabilities, **rest})
    return found


def test_a_class_is_learnt_and_the_rest_stays(exported: Path, photos: Path, robins: Path, tmp_path: Path) -> None:
    before = exported.read_bytes(), exported.with_name("model.gallery.npz").read_bytes()
    steps: list[tuple[int, int]] = []
    taught = add_class(
        exported, "robin", robins, tmp_path / "new.onnx", progress=lambda done, total: steps.append((done, total))
    )
    assert (exported.read_bytes(), exported.with_name("model.gallery.npz").read_bytes()) == before
    assert taught.classes == ("crow", "jay", "wren", "robin") and taught.photographs == 6 and steps[-1] == (6, 6)
    assert taught.figures is not None and taught.figures.new == 1 and not taught.figures.were_held_out
    assert taught.figures.images == 18 and taught.figures.taken_for == ()
    images = sorted(photos.rglob("*.png")) + sorted(robins.iterdir())
    new, old = asked(tmp_path / "new.onnx", images), asked(exported, images)
    for ours, theirs in zip(new, old, strict=True):
        for name in ("boxes", "parts", "map", "pooled"):
            np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
        assert all(ours[name].shape == (4,) for name in ("raw", "object", "parts_", "fused") if name in ours)
        assert abs(ours["fused"].sum() - 1) < 1e-5
    assert [answer["fused"].argmax() for answer in new[18:]] == [3] * 6, "it knows what it was taught"
    right = [answer["fused"].argmax() for answer in new[:18]]
    assert (np.array(right) == np.repeat([0, 1, 2], 6)).mean() > 0.8, "and the others"


def test_the_answer_is_that_of_the_classifiers_that_were_solved(exported: Path, robins: Path, tmp_path: Path) -> None:
    """W and V are read from the written graph, and held against the written branches' answers, part for part."""
    add_class(exported, "robin", robins, tmp_path / "new.onnx")
    graph = onnx.load(tmp_path / "new.onnx").graph
    (joint,) = (onnx.numpy_helper.to_array(t) for t in graph.initializer if t.name.endswith("joint.weight"))
    (bias,) = (
        onnx.numpy_helper.to_array(t) for t in graph.initializer if t.name.endswith("joint.weight/bias_of_4_classes")
    )
    answer = asked(tmp_path / "new.onnx", [robins / "0.png"])[0]
    scores = joint @ answer["pooled"].ravel() + bias
    np.testing.assert_allclose(answer["fused"], np.exp(scores) / np.exp(scores).sum(), rtol=1e-4)


def test_its_index_knows_the_new_images(exported: Path, robins: Path, tmp_path: Path) -> None:
    add_class(exported, "robin", robins, tmp_path / "new.onnx")
    old, new = read_index(exported.with_name("model.gallery.npz")), read_index(tmp_path / "new.gallery.npz")
    assert new.classes == ("crow", "jay", "wren", "robin") and new.names[18:] == tuple(
        f"robin/{number}.png" for number in range(6)
    )
    np.testing.assert_array_equal(new.embeddings[:18], old.embeddings)
    assert len(new.thumbnails) == 24 and new.pooled is not None and len(new.pooled.values) == 24
    assert np.linalg.norm(new.detector.means[3].astype(float)) == pytest.approx(1, abs=1e-2)
    assert new.detector.chosen_on.endswith("; classes changed since")
    engine = load_engine(tmp_path / "new.onnx")
    (answer,) = engine.predict([robins / "3.png"])
    assert engine.look_alikes(answer, 1)[0].name == "robin/3.png" and answer.verdict != "stranger"
    history = {entry.key: entry.value for entry in onnx.load(tmp_path / "new.onnx").metadata_props}["taught"]
    assert json.loads(history) == ["learnt 'robin' from 6 photographs"]


def test_a_taught_model_is_taught_again(exported: Path, robins: Path, tmp_path: Path) -> None:
    add_class(exported, "robin", robins, tmp_path / "1.onnx")
    rename_class(tmp_path / "1.onnx", "ROBIN", "Erithacus", tmp_path / "2.onnx")
    merge_classes(tmp_path / "2.onnx", ["wren", "crow"], "dark", tmp_path / "3.onnx")
    last = remove_class(tmp_path / "3.onnx", "jay", tmp_path / "4.onnx")
    assert last.classes == ("dark", "Erithacus")
    index = read_index(tmp_path / "4.gallery.npz")
    assert np.bincount(index.labels).tolist() == [12, 6] and len(index.thumbnails) == 18
    assert not any(name.startswith("jay") for name in index.names)
    history = {entry.key: entry.value for entry in onnx.load(tmp_path / "4.onnx").metadata_props}["taught"]
    assert len(json.loads(history)) == 4
    assert [a["fused"].shape for a in asked(tmp_path / "4.onnx", [robins / "1.png"])] == [(2,)]
    assert asked(tmp_path / "4.onnx", [robins / "1.png"])[0]["fused"].argmax() == 1


def test_another_name_changes_no_answer(exported: Path, photos: Path, tmp_path: Path) -> None:
    images = sorted(photos.rglob("*.png"))
    taught = rename_class(exported, "jay", "Garrulus glandarius", tmp_path / "new.onnx")
    assert taught == Taught(tmp_path / "new.onnx", ("crow", "Garrulus glandarius", "wren"))
    for ours, theirs in zip(asked(tmp_path / "new.onnx", images), asked(exported, images), strict=True):
        np.testing.assert_array_equal(ours["fused"], theirs["fused"])
    assert load_engine(tmp_path / "new.onnx").index is not None


def test_a_file_alone_can_be_renamed_and_nothing_else(model: Path, robins: Path, tmp_path: Path) -> None:
    model.with_name("model.gallery.npz").unlink()
    assert rename_class(model, "jay", "magpie", tmp_path / "new.onnx").classes[1] == "magpie"
    assert load_engine(tmp_path / "new.onnx").classes == ("crow", "magpie", "wren")
    with pytest.raises(ModelError, match=r"has no reference index \(model.gallery.npz\) beside it"):
        add_class(model, "robin", robins, tmp_path / "other.onnx")


def test_a_taxonomy_follows(model: Path, robins: Path, tmp_path: Path) -> None:
    file = model.with_name("model.gallery.npz")
    rows = (("crow", "Corvidae"), ("jay", "Corvidae"), ("wren", "Troglodytidae"))
    own = Taxonomy(("crow", "jay", "wren"), ("label", "family"), rows)
    index = read_index(file)
    write_index(type(index)(**{**index.__dict__, "taxonomy": own}), file)
    sealed_anew(model, gallery=digest_of(file.read_bytes()), taxonomy=own.to_text())
    add_class(model, "robin", robins, tmp_path / "1.onnx")
    assert read_index(tmp_path / "1.gallery.npz").taxonomy.taxa[3] == ("robin", "")  # type: ignore[union-attr]
    merge_classes(tmp_path / "1.onnx", ["crow", "jay"], "corvid", tmp_path / "2.onnx")
    assert read_index(tmp_path / "2.gallery.npz").taxonomy.taxa == (  # type: ignore[union-attr]
        ("corvid", "Corvidae"), ("wren", "Troglodytidae"), ("robin", ""),
    )  # fmt: skip
    rename_class(tmp_path / "2.onnx", "wren", "Zaunkönig", tmp_path / "3.onnx")
    assert load_engine(tmp_path / "3.onnx").taxonomy.taxa[1] == ("Zaunkönig", "Troglodytidae")  # type: ignore[union-attr]
    (tmp_path / "taxa.csv").write_text(
        "label,family\ncrow,Corvidae\njay,Corvidae\nwren,Troglodytidae\nrobin,Muscicapidae\n"
    )
    add_class(model, "robin", robins, tmp_path / "4.onnx", taxonomy=tmp_path / "taxa.csv")
    assert load_engine(tmp_path / "4.onnx").taxonomy.taxa[3] == ("robin", "Muscicapidae")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m, o, r: add_class(m, "Jay ", r, o), "has a class 'jay' already"),
        (lambda m, o, r: add_class(m, " \u200b ", r, o), "cannot be empty"),
        (lambda m, o, r: add_class(m, "robin", r, m), "is the given model"),
        (lambda m, o, r: add_class(m, "robin", r, m.with_suffix(".bin")), "is the given model"),
        (lambda m, o, r: add_class(m, "robin", r / "nothing", o), "nothing"),
        (lambda m, o, r: add_class(m.parent, "robin", r, o), "tlaam export"),
        (lambda m, o, r: remove_class(m, "jey", o), "no class 'jey'. Did you mean 'jay'"),
        (lambda m, o, r: merge_classes(m, ["jay", "jay"], "x", o), "two classes at least"),
        (lambda m, o, r: merge_classes(m, ["jay", "crow"], "wren", o), "has a class 'wren' already"),
        (lambda m, o, r: merge_classes(m, ["jay", "crow", "wren"], "bird", o), "but one"),
        (lambda m, o, r: rename_class(m, "jay", "crow", o), "has a class 'crow' already"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    model: Path, robins: Path, tmp_path: Path, change: object, said: str
) -> None:
    held = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TlaamError, match=said) as caught:
        change(model, tmp_path / "new.onnx", robins)  # type: ignore[operator]
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == held


def test_names_may_be_kept_by_their_own_class(exported: Path, tmp_path: Path) -> None:
    assert rename_class(exported, "jay", "Jay", tmp_path / "1.onnx").classes == ("crow", "Jay", "wren")
    assert merge_classes(exported, ["crow", "jay"], "Crow", tmp_path / "2.onnx").classes == ("Crow", "wren")


def test_a_model_whose_boxes_ask_its_classifiers_is_refused(exported_file: Path, robins: Path, tmp_path: Path) -> None:
    """OAAM explains the class that V says: with another V it sees another object than the kept features are of."""
    with pytest.raises(ModelError, match=r"by what its classifiers say \(localizer=oaam"):
        add_class(exported_file, "robin", robins, tmp_path / "new.onnx")


def test_an_index_without_features_is_refused(model: Path, robins: Path, tmp_path: Path) -> None:
    file = model.with_name("model.gallery.npz")
    index = read_index(file)
    write_index(type(index)(**{**index.__dict__, "pooled": None}), file)
    sealed_anew(model, gallery=digest_of(file.read_bytes()))
    with pytest.raises(ModelError, match=r"kept no features; write it again \(tlaam index RUN\)"):
        add_class(model, "robin", robins, tmp_path / "new.onnx")


def sealed_anew(model: Path, **texts: str) -> None:
    """Let a file say something else of itself."""
    proto = onnx.load(model)
    model.write_bytes(seal(proto, {**{entry.key: entry.value for entry in proto.metadata_props}, **texts}))


def test_a_file_without_features_is_refused(model: Path, robins: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    kept = [output for output in proto.graph.output if output.name != "pooled"]
    del proto.graph.output[:]
    proto.graph.output.extend(kept)
    model.write_bytes(seal(proto, {entry.key: entry.value for entry in proto.metadata_props}))
    with pytest.raises(ModelError, match="by a version that gave no features; export the run again"):
        add_class(model, "robin", robins, tmp_path / "new.onnx")


@pytest.mark.parametrize("text", ["[", "{}", "[" * 100_000, "3"])
def test_a_history_that_is_none_is_refused(model: Path, tmp_path: Path, text: str) -> None:
    sealed_anew(model, taught=text)
    with pytest.raises(ModelError, match="'taught' of its metadata cannot be used"):
        rename_class(model, "jay", "magpie", tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_photographs_that_it_knows_or_cannot_read_are_named(
    exported: Path, photos: Path, robins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = [str(robins), str(photos / "jay" / "2.png"), str(tmp_path / "broken.png")]
    assert main(["add-class", str(exported), "robin", *images, "--out", str(tmp_path / "new.onnx")]) == 0
    said = capsys.readouterr()
    assert "2.png is among what the model learnt from already, as 'jay'." in said.err
    assert "left out" in said.err and "broken.png" in said.err
    assert "'robin': " in said.out and "of its 7 photographs" in said.out and "(4 classes)" in said.out
    assert "18 training images, out of fold; that flatters" in said.out


def test_a_photograph_is_known_again_in_another_arithmetic() -> None:
    random = np.random.default_rng(0)
    kept = random.normal(size=(30, 256)).astype(np.float32)
    kept[5] = kept[4]  # a copy in the index is no other image
    crowded = kept + 100  # of a network to which all images are nearly the same
    answers = [Prediction(str(number)) for number in range(3)]

    def known(embeddings: NDArray[np.float32]) -> tuple[tuple[str, str], ...]:
        index = SimpleNamespace(embeddings=embeddings, classes=("jay", "crow"), labels=np.arange(30) % 2)
        noise = 0.02 * np.linalg.norm(embeddings, axis=1, keepdims=True) / 16
        asked = embeddings + noise * random.normal(size=embeddings.shape)
        asked[1] = random.normal(size=256)  # another photograph
        return _known_already(answers, unit(asked[[3, 1, 4]]), cast("ReferenceIndex", index))

    assert known(kept) == (("0", "crow"), ("2", "jay"))
    assert known(crowded) == ()


def test_a_graph_that_answers_otherwise_is_not_written(
    exported: Path, robins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrongly(proto: onnx.ModelProto, heads: Heads) -> None:
        replace_heads(proto, Heads(heads.shared, LinearProbe(heads.joint.weight[::-1], heads.joint.bias)))

    monkeypatch.setattr(tlaam.teaching.pupil, "replace_heads", wrongly)
    with pytest.raises(ModelError, match="was not written: its graph answers otherwise"):
        add_class(exported, "robin", robins, tmp_path / "new.onnx")
    assert not list(tmp_path.iterdir())


def test_it_is_said_where_the_new_class_is_an_old_one(
    exported: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other photographs of what the model knows: to a model that is sure of them."""
    images = []
    for number in range(4):
        path = tmp_path / f"{number}.png"
        Image.open(photos / "jay" / f"{number}.png").rotate(3).save(path)
        images.append(path)
    predict = Engine.predict

    def surely(self: Engine, given: object) -> object:
        from dataclasses import replace

        for answer in predict(self, given):  # type: ignore[arg-type]
            yield replace(answer, verdict="sure", probabilities={"fused": np.array([0.0, 0.9, 0.1])})

    monkeypatch.setattr(Engine, "predict", surely)
    assert add_class(exported, "robin", images, tmp_path / "new.onnx").alike == ("jay", 4)
    assert main(["add-class", str(exported), "bird", *map(str, images), "--out", str(tmp_path / "2.onnx")]) == 0
    assert (
        "is sure of 4 of the 4 photographs, as 'jay'. If that is what they show, 'bird' is" in capsys.readouterr().err
    )


def test_no_pytorch_is_needed(exported: Path, robins: Path, tmp_path: Path) -> None:
    program = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "lightning"):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Without())
from tlaam.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
    arguments = ["add-class", str(exported), "robin", str(robins), "--out", str(tmp_path / "new.onnx")]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "'robin': 100.0% of its 6 photographs" in done.stdout


def test_a_single_photograph_is_learnt_and_nothing_is_known_of_it(
    exported: Path, robins: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new.onnx"
    assert main(["add-class", str(exported), "robin", str(robins / "0.png"), "--out", str(file)]) == 0
    assert "'robin': of a single photograph nothing is known; give more." in capsys.readouterr().out


def test_hostile_names_stay_names(exported: Path, robins: Path, tmp_path: Path) -> None:
    name = "=cmd|' /C calc'!A0<script>\n../../x"
    assert add_class(exported, name, robins, tmp_path / "new.onnx").classes[3] == name
    assert load_engine(tmp_path / "new.onnx").classes[3] == name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.gallery.npz", "new.onnx"]


def test_none_of_the_photographs_can_be_read(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match="none of 1 photographs of 'robin' can be read"):
        add_class(exported, "robin", tmp_path / "a.jpg", tmp_path / "new.onnx")
