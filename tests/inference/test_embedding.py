"""`tlaam embed`: a row an image with the vector that the model's pooled features are."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from onnx_files import FACTS, small_model, written
from PIL import Image
from small_runs import small_run

import tlaam
from tlaam.cli.main import main
from tlaam.inference import embedding_file as files
from tlaam.inference.embedding_file import Row, embedding_file
from tlaam.inference.store import load_model


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network sees the input image alone, as it is."""
    return small_run(
        tmp_path_factory.mktemp("runs") / "plain", source_size=64, localizer="none", parts="none", attention="none"
    )


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders with images of the network's own size, in a training and a test split."""
    folder = tmp_path_factory.mktemp("squares")
    random = np.random.default_rng(0)
    for split, count in {"train": 2, "test": 1}.items():
        for label in ("crow", "jay"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / label / f"{number}.png")
    return folder


NAMES = [
    "test/crow/0.png", "test/jay/0.png", "train/crow/0.png", "train/crow/1.png", "train/jay/0.png", "train/jay/1.png",
]  # fmt: skip


def by_hand(run: Path, images: list[Path]) -> np.ndarray:
    """Return the mean over the last map of each image, ``(N, E)``."""
    network = load_model(run).network
    pixels = torch.stack([torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) for path in images])
    with torch.no_grad():
        maps = network.backbone((pixels / 255 - network.mean) / network.std)
    assert maps.ndim == 4
    means: np.ndarray = maps.mean((2, 3)).numpy()
    return means


def test_a_data_set_with_labels_and_splits(plain: Path, squares: Path, tmp_path: Path) -> None:
    options = ["--precision", "32-true", "--batch-size", "4"]
    assert main(["embed", str(plain), str(squares), "--out", str(tmp_path / "a" / "f.npz"), *options]) == 0
    with np.load(tmp_path / "a" / "f.npz") as file:
        found = dict(file)
    assert sorted(found) == ["embeddings", "labels", "names", "predicted", "scores", "splits"]
    order = np.argsort(found["names"])
    assert found["names"][order].tolist() == NAMES
    assert found["labels"][order].tolist() == ["crow", "jay", "crow", "crow", "jay", "jay"]
    assert found["splits"][order].tolist() == ["test"] * 2 + ["train"] * 4
    assert found["embeddings"].dtype == np.float32
    expected = by_hand(plain, [squares / name for name in NAMES])
    np.testing.assert_allclose(found["embeddings"][order], expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3  # or any image would do

    classifier = tlaam.load(plain, precision="32-true", batch_size=4)
    vectors = classifier.embed([squares / name for name in found["names"]])
    np.testing.assert_array_equal(vectors.astype(np.float32), found["embeddings"])
    answers = classifier.predict([squares / name for name in found["names"]])
    assert found["predicted"].tolist() == [answer.label for answer in answers]
    np.testing.assert_allclose(found["scores"], [answer.score for answer in answers], rtol=1e-6)
    assert answers[0].embedding is None  # asked for embeddings once, it gives none unasked

    assert main(["embed", str(plain), str(squares), "--out", str(tmp_path / "f.parquet"), *options]) == 0
    table = pyarrow.parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names == ["name", "predicted", "score", "label", "split", "embedding"]
    assert str(table.schema.field("embedding").type) == f"fixed_size_list<element: float>[{expected.shape[1]}]"
    for column, array in {"name": "names", "predicted": "predicted", "label": "labels", "split": "splits"}.items():
        assert table[column].to_pylist() == found[array].tolist()
    np.testing.assert_array_equal(np.array(table["embedding"].to_pylist(), np.float32), found["embeddings"])


def test_images_alone_and_those_that_cannot_be_read(
    plain: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(squares / "train" / "jay", tmp_path / "flat")
    (tmp_path / "flat" / "0a.png").write_bytes(b"none")
    out = tmp_path / "f.npz"
    assert main(["embed", str(plain), str(tmp_path / "flat"), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert f"tlaam: left out {tmp_path / 'flat' / '0a.png'}: " in said.err and "2 images)" in said.out
    with np.load(out) as file:
        assert sorted(file) == ["embeddings", "names", "predicted", "scores"]
        assert file["names"].tolist() == [str(tmp_path / "flat" / name) for name in ("0.png", "1.png")]

    before = out.read_bytes()
    assert main(["embed", str(plain), str(tmp_path / "flat" / "0a.png"), "--out", str(out)]) == 1
    assert "none of 1 images could be read" in capsys.readouterr().err
    assert out.read_bytes() == before and sorted(path.name for path in tmp_path.iterdir()) == ["f.npz", "flat"]

    assert main(["embed", str(plain), str(squares), "--images", "--out", str(out)]) == 0
    with np.load(out) as file:
        assert "labels" not in file and len(file["names"]) == 6


def test_tables_of_images(plain: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One column is images; with more it is a data set, and refused as one where it is none."""
    image = squares / "train" / "jay" / "0.png"
    for text, labelled in ((f"image\n{image}\n", False), (f"image,label\n{image},jay\n", True)):
        (tmp_path / "table.csv").write_text(text)
        assert main(["embed", str(plain), str(tmp_path / "table.csv"), "--out", str(tmp_path / "f.npz")]) == 0
        with np.load(tmp_path / "f.npz") as file:
            assert ("labels" in file) is labelled
    (tmp_path / "table.csv").write_text(f"image,seen\n{image},1999\n")
    assert main(["embed", str(plain), str(tmp_path / "table.csv"), "--out", str(tmp_path / "f.npz")]) == 1
    said = capsys.readouterr().err
    assert "label" in said and said.endswith("(--images takes it as images without labels.)\n")


def test_what_cannot_be_is_one_line(
    plain: Path, squares: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(plain), str(squares), "--out", str(tmp_path / "f.csv")]) == 1
    assert "a file of embeddings ends in .npz or .parquet" in capsys.readouterr().err
    old = written(tmp_path / "old.onnx", small_model(FACTS))
    assert main(["embed", str(old), str(squares), "--out", str(tmp_path / "f.npz")]) == 1
    said = capsys.readouterr().err
    assert f"{old} gives no embeddings" in said and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]


@pytest.mark.parametrize("suffix", files.KINDS)
def test_rows_of_any_number_and_name(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_ROWS", 3)
    path = tmp_path / f"f{suffix}"
    names = ["a", "ä" * 300, "caf\udce9.png", "d", "e", "f", "g"]
    contents = []
    for _ in range(2):
        with embedding_file(path, labelled=False) as file:
            for number, name in enumerate(names):
                file.add(Row(name, "jay", 0.5, np.array([number, -1.5])))
        contents.append(path.read_bytes())
    assert contents[0] == contents[1]
    if suffix == ".npz":
        with np.load(path) as arrays:
            assert arrays["names"].tolist() == names
            np.testing.assert_array_equal(arrays["embeddings"], [[number, -1.5] for number in range(7)])
    else:
        table = pyarrow.parquet.read_table(path)
        assert table["name"].to_pylist() == [*names[:2], "caf\\udce9.png", *names[3:]]
        assert table["embedding"].to_pylist() == [[number, -1.5] for number in range(7)]

    with pytest.raises(KeyboardInterrupt), embedding_file(path, labelled=False) as file:
        file.add(Row("a", "jay", 0.5, np.zeros(2)))
        raise KeyboardInterrupt
    assert path.read_bytes() == contents[0] and [found.name for found in tmp_path.iterdir()] == [path.name]
