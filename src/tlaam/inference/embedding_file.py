"""Files of embeddings, ``.npz`` or ``.parquet``, written row by row: memory holds names and labels but no vectors."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tlaam.errors import ConfigError, MissingPackageError
from tlaam.utils.atomic import full_disk_named

KINDS = (".npz", ".parquet")
_ROWS = 1024
"""Rows per row group of a Parquet file."""


class Row(NamedTuple):
    """One image in a file of embeddings.

    Attributes:
        name: its path as given, or its name in the data set.
        predicted: the most probable class.
        score: the probability of that class.
        embedding: ``(E,)``.
        label: its class in the data set; None for an image outside a data set.
        split: the split that it belongs to; None for an image outside a data set.
    """

    name: str
    predicted: str
    score: float
    embedding: NDArray[np.floating[Any]]
    label: str | None = None
    split: str | None = None


class _Writer(Protocol):
    def add(self, row: Row) -> None: ...

    def finish(self) -> None: ...


def require_kind(path: Path) -> None:
    """Check that a file of this name can be written.

    Raises:
        ConfigError: the name has another ending, or it is a folder.
        MissingPackageError: it is a Parquet file, and pyarrow is not installed.
    """
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"'{path}' ends in '{path.suffix}'; a file of embeddings ends in {' or '.join(KINDS)}.")
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder; give the name of a file in it.")
    if path.suffix.lower() == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise MissingPackageError("Parquet needs pyarrow: pip install pyarrow, or give a file .npz.") from error


@contextmanager
def embedding_file(path: Path, *, labelled: bool) -> Iterator[_Writer]:
    """Yield a writer for rows; the file appears when the block ends without an exception.

    An existing file is replaced. If no row was added, no file is written.

    The arrays of an ``.npz`` file are ``names``, ``predicted``, ``scores``, for a data set ``labels`` and ``splits``,
    and ``embeddings`` ``(N, E)``, float32. `numpy.load` reads them without ``allow_pickle``. The columns of a Parquet
    file are ``name``, ``predicted``, ``score``, for a data set ``label`` and ``split``, and ``embedding``, a list of
    fixed size.

    Args:
        path: the file; its folder is created if it does not exist.
        labelled: whether rows have a label and a split.

    Raises:
        ConfigError, MissingPackageError: see `require_kind`.
        RunError: the disk is full.
    """
    require_kind(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with full_disk_named(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            kind = _Npz if path.suffix.lower() == ".npz" else _Parquet
            with kind(temporary, labelled) as writer:
                yield writer
                writer.finish()
            if temporary.exists():
                with temporary.open("rb+") as stream:
                    os.fsync(stream.fileno())
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


class _Npz:
    """Writer of an ``.npz`` file. Vectors go to an unnamed temporary file until their number is known."""

    def __init__(self, path: Path, labelled: bool) -> None:
        self._path, self._width = path, 0
        self._texts: dict[str, list[str]] = {"names": [], "predicted": []}
        if labelled:
            self._texts |= {"labels": [], "splits": []}
        self._scores: list[float] = []

    def __enter__(self) -> _Npz:
        self._vectors = tempfile.TemporaryFile(dir=self._path.parent)  # until the block ends
        return self

    def __exit__(self, *_: object) -> None:
        self._vectors.close()

    def add(self, row: Row) -> None:
        for values, value in zip(self._texts.values(), (row.name, row.predicted, row.label, row.split), strict=False):
            values.append(value or "")
        self._scores.append(row.score)
        vector = np.ascontiguousarray(row.embedding, dtype="<f4")
        self._width = vector.size
        self._vectors.write(vector.tobytes())

    def finish(self) -> None:
        if not self._scores:
            return
        arrays: dict[str, NDArray[Any]] = {name: np.array(values) for name, values in self._texts.items()}
        arrays["scores"] = np.array(self._scores, dtype="<f4")
        with zipfile.ZipFile(self._path, "w") as archive:
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, array, allow_pickle=False)
            with archive.open(zipfile.ZipInfo("embeddings.npy"), "w", force_zip64=True) as stream:
                shape = len(self._scores), self._width
                np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": shape})
                self._vectors.seek(0)
                shutil.copyfileobj(self._vectors, stream)


class _Parquet:
    """Writer of a Parquet file, one row group at a time."""

    def __init__(self, path: Path, labelled: bool) -> None:
        self._path, self._labelled = path, labelled
        self._rows: list[Row] = []
        self._writer: Any = None

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) == _ROWS:
            self._write()

    def finish(self) -> None:
        if self._rows:
            self._write()
        if self._writer is not None:
            self._writer.close()

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet

        rows, self._rows = self._rows, []
        vectors = np.stack([row.embedding for row in rows]).astype(np.float32)
        columns = {
            "name": _texts([row.name for row in rows]),
            "predicted": _texts([row.predicted for row in rows]),
            "score": pa.array([row.score for row in rows], pa.float32()),
        }
        if self._labelled:
            columns |= {
                "label": _texts([row.label or "" for row in rows]), "split": _texts([row.split or "" for row in rows])
            }  # fmt: skip
        columns["embedding"] = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        table = pa.table(columns)
        if self._writer is None:
            self._writer = pyarrow.parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)


def _texts(values: Sequence[str]) -> Any:
    """Return a column of text; bytes of a file name that are not valid UTF-8 are written as escapes."""
    import pyarrow as pa

    return pa.array([value.encode("utf-8", "backslashreplace").decode() for value in values], pa.string())
