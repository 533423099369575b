"""Files of embeddings, ``.npz`` or ``.parquet``, written row by row: memory holds names and labels, not vectors."""

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
"""Of a Parquet file's row group."""


class Row(NamedTuple):
    """An image in a file of embeddings.

    Attributes:
        name: its path as it was given, or its name in the data set.
        predicted: the most probable class.
        score: its probability.
        embedding: ``(E,)``.
        label: its class in a data set; None of an image without one.
        split: the part of the data set that it belongs to; None likewise.
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
        ConfigError: its name ends in something else, or it is a folder.
        MissingPackageError: it is to be Parquet, and pyarrow is not installed.
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
    """Yield what takes rows; the file appears, or replaces an older one, when the block ends without an exception.

    The arrays of an ``.npz`` are ``names``, ``predicted``, ``scores``, of a data set ``labels`` and ``splits``, and
    ``embeddings`` ``(N, E)``, float32; `numpy.load` reads them without ``allow_pickle``. The columns of a Parquet file
    are ``name``, ``predicted``, ``score``, ``label``, ``split`` and ``embedding``, a list of fixed size. Without a row
    there is no file.

    Args:
        path: the file; its folder is made where it is missing.
        labelled: rows have label and split.

    Raises:
        ConfigError, MissingPackageError: as of `require_kind`.
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
    """Vectors go to a file without a name until their number is known."""

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
    """A row group at a time."""

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
    """Return a column of text; bytes of a file name that are no UTF-8 are written as escapes."""
    import pyarrow as pa

    return pa.array([value.encode("utf-8", "backslashreplace").decode() for value in values], pa.string())
