"""MATLAB's files: what SciPy writes is read as SciPy reads it, and damaged ones are refused by name."""

from __future__ import annotations

import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat, savemat

pytest.importorskip("hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as some

from tlaam.data.public.matlab import read_mat
from tlaam.errors import DataError

_KINDS = [("fname", "O"), ("class", "O"), ("box", "O")]
VARIABLES: dict[str, Any] = {
    "numbers": np.arange(7.0)[None],
    "column": np.arange(5, dtype=np.uint8)[:, None],
    "one": 3,
    "single": np.float32([[1.5, -2]]),
    "large": np.array([[2**40, -1]]),
    "texts": np.array(["crow", "Jäy", "wren"], dtype=object),
    "one text": np.array(["crow"], dtype=object),
    "records": np.array([("a.jpg", 1, 2.5), ("b.jpg", 2, 300)], dtype=_KINDS),
    "one record": np.array([("a.jpg", 1, 2.5)], dtype=_KINDS),
}


def rows_of(path: Path, name: str) -> list[Any]:
    rows = np.atleast_1d(loadmat(path, squeeze_me=True)[name])
    if rows.dtype.names:
        return [{field: row[field] for field in rows.dtype.names} for row in rows]
    return rows.tolist()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", VARIABLES)
def test_it_is_read_as_scipy_reads_it(tmp_path: Path, name: str, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    savemat(path, {key.replace(" ", "_"): value for key, value in VARIABLES.items()}, do_compression=compressed)
    name = name.replace(" ", "_")
    assert read_mat(path, "a data set", name).tolist() == rows_of(path, name)


def test_texts_in_a_matrix_and_big_ends(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"names": ["crow", "jay"]})
    assert read_mat(tmp_path / "a.mat", "a data set", "names").tolist() == ["crow", "jay "]
    flags = struct.pack(">IIII", 6, 8, 6, 0) + struct.pack(">IIii", 5, 8, 1, 2) + struct.pack(">HH4s", 1, 1, b"n")
    matrix = flags + struct.pack(">IIdd", 9, 16, 1.5, 7)
    head = b"MATLAB".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    (tmp_path / "b.mat").write_bytes(head + struct.pack(">II", 14, len(matrix)) + matrix)
    assert read_mat(tmp_path / "b.mat", "a data set", "n").tolist() == [1.5, 7]


def test_what_unfolds_beyond_measure_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.mat"
    bomb = zlib.compress(bytes(100 << 20), 9)
    path.write_bytes(
        b"MATLAB".ljust(124) + struct.pack("<H", 0x0100) + b"IM" + struct.pack("<II", 15, len(bomb)) + bomb
    )
    with pytest.raises(DataError, match=r"bomb\.mat.*unfolds beyond measure"):
        read_mat(path, "a data set", "a")


def test_cells_in_cells_have_an_end(tmp_path: Path) -> None:
    inner: Any = 1
    for _ in range(40):
        outer = np.empty(1, dtype=object)
        outer[0] = inner
        inner = outer
    savemat(tmp_path / "a.mat", {"deep": inner})
    with pytest.raises(DataError, match="cells in cells"):
        read_mat(tmp_path / "a.mat", "a data set", "deep")


@settings(max_examples=200, deadline=None)
@given(data=some.data(), compressed=some.booleans())
def test_damaged_files_are_read_or_refused_by_name(data: some.DataObject, compressed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.mat"
        savemat(path, {"records": VARIABLES["records"], "texts": VARIABLES["texts"]}, do_compression=compressed)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(some.integers(1, 6))):
            content[data.draw(some.integers(0, len(content) - 1))] = data.draw(some.integers(0, 255))
        path.write_bytes(content[: data.draw(some.integers(100, len(content)))])
        try:
            read_mat(path, "a data set", "records", "fname", "class")
        except DataError as error:
            assert "list.mat" in str(error) and "\n" not in str(error)
