"""A model asked about images inside archives answers, measures and remembers as it does of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from packed_images import class_folders, packed, table_of
from small_runs import small_run

import tlaam
from tlaam.data.open import open_dataset
from tlaam.inference.engine import load_engine
from tlaam.reference.file import read_index
from tlaam.reference.index import ReferenceIndex
from tlaam.workflows.reference_index import write_reference_index


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the same images as a folder, a tar archive and Parquet, and the folder of a model."""
    root = tmp_path_factory.mktemp("packed")
    folder = class_folders(root / "birds")
    for split in ("train", "val"):
        files = sorted((folder / split).rglob("*.png"))
        columns = {"image": [f.read_bytes() for f in files], "label": [f.parent.name for f in files]}
        table_of(root / "table" / f"{split}.parquet", columns)
    places = {"folder": folder, "tar": packed(root / "birds.tar", folder), "parquet": root / "table"}
    return {**places, "model": small_run(root / "model")}


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_they_are_measured_and_reported_as_files_are(places: dict[str, Path], kind: str, tmp_path: Path) -> None:
    classifier = tlaam.load(places["model"])
    of_files = classifier.evaluate(places["folder"], split="val").to_dict()
    packed = classifier.evaluate(places[kind], split="val").to_dict()
    assert packed["images"] == of_files["images"] == 6
    assert packed["classification"] == of_files["classification"]
    page = classifier.report(tmp_path / "report.html", places[kind], split="val").read_text()
    assert page.count("<img") >= 4 and str(places["folder"]) not in page


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_reference_index_is_that_of_the_files(places: dict[str, Path], kind: str, tmp_path: Path) -> None:
    def index(source: Path, name: str) -> ReferenceIndex:
        engine = load_engine(small_run(tmp_path / name))
        return read_index(write_reference_index(engine, open_dataset(source)))

    of_files, packed = index(places["folder"], "a"), index(places[kind], "b")
    np.testing.assert_array_equal(packed.embeddings, of_files.embeddings)
    assert packed.labels.tolist() == of_files.labels.tolist() and len(packed.labels) == 6
