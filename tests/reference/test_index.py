"""The reference index: what is in distribution, what looks alike, and a file that is believed in nothing."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tlaam.errors import ModelError
from tlaam.reference.file import read_index, to_bytes, write_index
from tlaam.reference.index import ReferenceIndex
from tlaam.reference.ood_detector import OODDetector, quantile, rough, sure_from
from tlaam.reference.similarity import class_means, similarity_left_out, unit
from tlaam.taxonomy.shares import HeldOutAnswers, SharedAnswers
from tlaam.taxonomy.tree import Taxonomy


def jpeg(side: int = 8, colour: tuple[int, int, int] = (9, 90, 9)) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (side, side), colour).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def index() -> ReferenceIndex:
    embeddings = unit(np.array([[1, 0, 0], [1, 1, 0], [0, 0, 2], [0, 1, 1]], dtype=np.float64))
    labels = np.array([0, 0, 1, 1], dtype=np.int32)
    return ReferenceIndex(
        detector=OODDetector(class_means(embeddings, labels, 2), 0.5, 0.75, "4 images"),
        classes=("crow", "jay\udcff"),
        embeddings=embeddings.astype(np.float16),
        labels=labels,
        names=("crow/0.jpg", "crow/1.jpg", "jay/0.jpg", "jay/1.jpg"),
        thumbnails=tuple(jpeg(8 + index) for index in range(4)),
    )


def test_what_is_written_is_read(index: ReferenceIndex, tmp_path: Path) -> None:
    write_index(index, tmp_path / "g.npz")
    found = read_index(tmp_path / "g.npz")
    for name in ("classes", "names", "thumbnails"):
        assert getattr(found, name) == getattr(index, name)
    for name in ("embeddings", "labels"):
        np.testing.assert_array_equal(getattr(found, name), getattr(index, name))
    np.testing.assert_array_equal(found.detector.means, index.detector.means)
    assert (found.detector.threshold, found.detector.sure_from, found.detector.chosen_on) == (0.5, 0.75, "4 images")
    assert len(found.digest) == 32
    with np.load(tmp_path / "g.npz", allow_pickle=False) as arrays:  # anybody's NumPy reads it
        assert arrays["embeddings"].shape == (4, 3)


def test_what_a_promise_rests_on_is_kept(index: ReferenceIndex, tmp_path: Path) -> None:
    plain = to_bytes(index)
    held_out = HeldOutAnswers(np.array([0, 1]), SharedAnswers.of(np.eye(len(index.classes))[:2]))
    taxonomy = Taxonomy.of_labels(index.classes)
    write_index(replace(index, held_out=held_out, taxonomy=taxonomy), tmp_path / "g.npz")
    found = read_index(tmp_path / "g.npz")
    assert found.held_out is not None and found.held_out.labels.tolist() == [0, 1]
    assert found.held_out.answers.shares[:, 0].tolist() == [65535, 65535] and found.taxonomy == taxonomy
    write_index(index, tmp_path / "g.npz")
    assert read_index(tmp_path / "g.npz").held_out is None and (tmp_path / "g.npz").read_bytes() == plain
    strange = replace(index, held_out=HeldOutAnswers(np.array([99]), SharedAnswers.of(np.eye(3)[:1])))
    write_index(strange, tmp_path / "g.npz")
    with pytest.raises(ModelError, match=r"g\.npz is damaged .*\(a class is none\)"):
        read_index(tmp_path / "g.npz")


def test_the_nearest_come_first(index: ReferenceIndex) -> None:
    embedding = np.array([3.0, 0.3, 0.0])
    found = index.nearest(embedding, 3)
    assert [alike.name for alike in found] == ["crow/0.jpg", "crow/1.jpg", "jay/1.jpg"]
    assert [alike.label for alike in found] == ["crow", "crow", "jay\udcff"]
    expected = embedding / np.linalg.norm(embedding) @ unit(np.array([[1.0, 0, 0], [1, 1, 0], [0, 1, 1]])).T
    np.testing.assert_allclose([alike.similarity for alike in found], expected, atol=1e-3)
    assert found[0].thumbnail == index.thumbnails[0]
    assert len(index.nearest(embedding, 9)) == 4 and index.nearest(embedding, 0) == []


def test_familiarity_is_the_cosine_to_the_nearest_class_whatever_the_length(index: ReferenceIndex) -> None:
    means = index.detector.means.astype(np.float64)
    asked = np.array([[0.2, 0.1, 0.9], [5, 0, 0], [0, 0, 0]])
    expected = [max(a @ m / np.linalg.norm(a) / np.linalg.norm(m) for m in means) for a in asked[:2]]
    np.testing.assert_allclose(index.detector.similarity(asked), [*expected, 0], atol=1e-3)
    np.testing.assert_allclose(index.detector.similarity(7 * asked), index.detector.similarity(asked), atol=1e-6)
    assert index.similarity(asked[0]) == pytest.approx(expected[0], abs=1e-3)
    assert index.detector.similarity(np.full((1, 3), np.nan)).tolist() == [-1]


def test_the_verdict_is_a_stranger_first_then_unsure(index: ReferenceIndex) -> None:
    detector = index.detector
    assert [detector.verdict(*asked) for asked in ((0.4, 1.0), (0.5, 0.75), (0.9, 0.74))] == [
        "stranger", "sure", "unsure",
    ]  # fmt: skip
    untold = replace(detector, threshold=-1.0)  # no threshold could be chosen
    assert detector.tells_strangers and not untold.tells_strangers
    assert [untold.verdict(*asked) for asked in ((-1.0, 1.0), (1.0, 1.0), (1.0, 0.1))] == [None] * 3


def test_thresholds_are_those_that_held_out_images_ask_for() -> None:
    probabilities = np.linspace(0.505, 1, 2000)
    right = probabilities > 0.8
    found = sure_from(probabilities, right)
    assert right[probabilities >= found].mean() == pytest.approx(0.95, abs=0.01)
    assert sure_from(probabilities / 2, np.ones(2000, bool)) == 0.5, "less than an even chance"
    assert sure_from(np.full(30, 0.6), np.ones(30, bool)) == 1, "30 right answers against its own word"
    assert sure_from(probabilities, np.zeros(2000, bool)) == 1
    # Equal probabilities stand or fall together, in whatever order they come.
    for order in (slice(None), slice(None, None, -1)):
        equals = np.array([True] * 19 + [False] * 2)[order]
        assert sure_from(np.full(21, 0.9), equals) == 1
    assert quantile(np.array([3.0, 1, 2]), 0.05) == 1
    assert [rough(count) for count in (100, 99, 0)] == ["", " (fewer than 100: rough)", " (none: rough)"]


def test_few_held_out_images_are_no_reason_to_be_sure_too_soon() -> None:
    """Of a calibrated model, 30 images a time: from the threshold on 95 % are right, and seldom many fewer."""
    random = np.random.default_rng(0)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        chances = 0.3 + 0.7 / (1 + np.exp(-random.normal(1.6, 1.8, count)))
        return chances, random.random(count) < chances

    chances = np.sort(drawn(50_000)[0])
    thresholds = [sure_from(*drawn(30)) for _ in range(300)]
    shares = [chances[chances >= threshold].mean() if threshold < 1 else 1.0 for threshold in thresholds]
    assert np.mean(shares) == pytest.approx(0.95, abs=0.01)  # by the images' word alone it is 0.934,
    assert np.quantile(shares, 0.1) > 0.905  # and this 0.877


def test_leaving_one_out_is_what_it_says() -> None:
    random = np.random.default_rng(0)
    directions, labels = unit(random.normal(size=(12, 5))), np.array([0] * 5 + [1] * 6 + [2])
    expected = []
    for index in range(11):  # the last is its class's only one
        others = np.arange(12) != index
        means = [unit(directions[others & (labels == c)].sum(0)[None])[0] for c in range(3)]
        expected.append(max(float(directions[index] @ mean) for mean in means))
    np.testing.assert_allclose(similarity_left_out(directions, labels, 3), expected, atol=1e-6)
    assert (class_means(directions, labels, 4)[3] == 0).all(), "a class without images"


def test_copies_are_left_out_together() -> None:
    random = np.random.default_rng(0)
    directions, labels = unit(random.normal(size=(12, 5))), np.array([0] * 5 + [1] * 6 + [2])
    alone = similarity_left_out(directions, labels, 3)
    copied = np.concatenate([directions, directions[[0, 0, 6, 11]]])  # of the first two copies, one of the other class
    of_copied = np.concatenate([labels, [0, 1, 1, 2]])
    found = similarity_left_out(copied, of_copied, 3)
    expected = []
    for place in (0, 6, 12, 13, 14):  # the copies of the last are their class's only ones
        others = ~np.isin(np.arange(16), [0, 12, 13] if place in (0, 12, 13) else [6, 14])
        means = [unit(copied[others & (of_copied == c)].sum(0)[None])[0] for c in range(3)]
        expected.append(max(float(copied[place] @ mean) for mean in means))
    assert len(alone) == 11 and len(found) == 14
    np.testing.assert_allclose(found[[0, 6, 11, 12, 13]], expected, atol=1e-6)
    assert len(similarity_left_out(np.ones((9, 1)), np.arange(9) % 3, 3)) == 0, "copies of one another tell nothing"


def test_without_images_it_still_tells_strangers(index: ReferenceIndex, tmp_path: Path) -> None:
    write_index(index.without_images(), tmp_path / "g.npz")
    content = (tmp_path / "g.npz").read_bytes()
    assert b"crow/0.jpg" not in content and b"JFIF" not in content
    found = read_index(tmp_path / "g.npz")
    assert found.nearest(np.ones(3)) == [] and found.similarity(np.ones(3)) == index.similarity(np.ones(3))


def test_a_judge_goes_through_text(index: ReferenceIndex) -> None:
    text = index.detector.to_text()
    assert text is not None and text.isascii()
    found = OODDetector.from_text(text, 2)
    np.testing.assert_array_equal(found.means, index.detector.means)
    assert (found.threshold, found.sure_from) == (0.5, 0.75)
    assert replace(index.detector, means=np.zeros((1000, 8192), np.float16)).to_text() is None, "too long for metadata"
    facts = json.loads(text)
    nan = base64.b64encode(np.full(2, np.nan, "<f2").tobytes()).decode()
    for change in (
        {"classes": 3}, {"means": 7}, {"means": "?"}, {"means": ""}, {"means": "AAAA"}, {"threshold": None},
        {"sure_from": float("nan")}, {"chosen_on": 1}, {"means": nan},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"."):
            OODDetector.from_text(json.dumps({**facts, **change}), 2)
    with pytest.raises(ValueError, match="2 classes"):
        OODDetector.from_text("[]", 2)


def test_an_embedding_of_another_model_is_refused(index: ReferenceIndex) -> None:
    for ask in (index.nearest, index.similarity):
        with pytest.raises(ModelError, match=r"compares 3 numbers an image, and this model gives 4"):
            ask(np.ones(4))


def npz(arrays: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            if isinstance(array, bytes):
                content.write(array)
            else:
                np.lib.format.write_array(content, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", content.getvalue())
    return stream.getvalue()


def lying(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> bytes:
    content = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(content, header)
    return content.getvalue() + array.tobytes()


def with_facts(arrays: dict[str, Any], **changes: Any) -> dict[str, Any]:
    facts = {**json.loads(arrays["facts"].tobytes()), **changes}
    return {**arrays, "facts": np.frombuffer(json.dumps(facts).encode(), np.uint8)}


def _counted(content: bytes) -> bytes:
    return content[:-12] + (6).to_bytes(2, "little") + content[-10:]


DAMAGES: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "pickle": lambda a: npz({**a, "labels": np.array([print], dtype=object)}),
    "petabytes": lambda a: npz({**a, "embeddings": lying(a["embeddings"], (1 << 40, 3))}),
    "negative": lambda a: npz({**a, "embeddings": lying(a["embeddings"], (-4, -3))}),
    "compressed": lambda a: npz(a, zipfile.ZIP_DEFLATED),
    "one more": lambda a: npz({**a, "more": a["labels"]}),
    "one less": lambda a: npz({name: a[name] for name in a if name != "labels"}),
    "doubles": lambda a: npz({**a, "embeddings": a["embeddings"].astype(np.float64)}),
    "columns": lambda a: npz({**a, "embeddings": np.asfortranarray(a["embeddings"])}),
    "fewer labels": lambda a: npz({**a, "labels": a["labels"][:3]}),
    "impossible label": lambda a: npz({**a, "labels": a["labels"] + 1}),
    "infinite": lambda a: npz({**a, "embeddings": np.full_like(a["embeddings"], np.inf)}),
    "other width": lambda a: npz({**a, "means": a["means"][:, :2].copy()}),
    "no classes": lambda a: npz(with_facts(a, classes=[])),
    "names are numbers": lambda a: npz(with_facts(a, names=[1, 2, 3, 4])),
    "a threshold is a text": lambda a: npz(with_facts(a, threshold="0")),
    "another format": lambda a: npz(with_facts(a, format=2)),
    "deep": lambda a: npz({**a, "facts": np.frombuffer(b"[" * 100_000, np.uint8)}),
    "no json": lambda a: npz({**a, "facts": np.frombuffer(b"\xff{", np.uint8)}),
    "ends go back": lambda a: npz({**a, "ends": a["ends"][::-1].copy()}),
    "ends beyond": lambda a: npz({**a, "ends": a["ends"] + 1}),
    "a huge picture": lambda a: npz({
        **a, "thumbnails": np.zeros(1 << 18, np.uint8), "ends": np.array([1, 2, 3, 1 << 18]),
    }),
    "a long list": lambda a: npz({**a, **{str(number): b"" for number in range(2000)}}),
    "a longer list than it says": lambda a: _counted(npz({**a, **{str(number): b"" for number in range(2000)}})),
    "cut": lambda a: npz(a)[:-40],
    "a flipped byte": lambda a: npz(a).replace(a["embeddings"].tobytes(), bytes(a["embeddings"].nbytes)),
    "no zip": lambda a: b"no zip",
    "empty": lambda a: b"",
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_hostile_file_is_one_plain_line(index: ReferenceIndex, tmp_path: Path, damage: str) -> None:
    with np.load(io.BytesIO(to_bytes(index))) as loaded:
        arrays = dict(loaded)
    assert read_index(_written(tmp_path, npz(arrays))).names == index.names  # the undamaged one is read
    with pytest.raises(ModelError, match=r"g\.npz is damaged or no reference index .*remove it") as caught:
        read_index(_written(tmp_path, DAMAGES[damage](arrays)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400 + len(str(tmp_path))


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="it is no file"):
        read_index(tmp_path)
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_index(tmp_path / "g.npz")


@pytest.mark.parametrize(
    "thumbnail", [b"GIF89a" + bytes(40), jpeg()[:60], jpeg(600)], ids=["gif", "cut", "larger than it may be"]
)
def test_a_thumbnail_that_is_no_small_jpeg_is_not_passed_on(index: ReferenceIndex, thumbnail: bytes) -> None:
    damaged = replace(index, thumbnails=(thumbnail, *index.thumbnails[1:]))
    assert damaged.nearest(np.array([0.0, 1, 1]), 1)[0].thumbnail == index.thumbnails[3]
    with pytest.raises(ModelError, match=r"picture of crow/0\.jpg cannot be shown"):
        damaged.nearest(np.array([1.0, 0, 0]), 1)


def test_it_needs_no_torch() -> None:
    code = "import sys, tlaam.reference.index; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def _written(folder: Path, content: bytes) -> Path:
    (folder / "g.npz").write_bytes(content)
    return folder / "g.npz"
