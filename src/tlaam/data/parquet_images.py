"""The images of a Parquet file, unpacked once: their positions in it are of no use if its pages are compressed.

The cache (`tlaam.data.container.kept_of`) holds them unchanged in one file, one after the other. A row group of a
Parquet file may be of any size, so reading one image at random would mean decoding all of it each time.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.data.container import IMAGES, forget_places, kept_of
from tlaam.errors import DataError, RunError
from tlaam.utils.arrays import UNFIT, arrays_of, to_bytes
from tlaam.utils.atomic import full_disk_named, write_atomically
from tlaam.utils.lock import locked
from tlaam.utils.progress import progress_bar

_KINDS = {"starts": ("<i8", 1), "sizes": ("<i8", 1)}
_PLACES = "places.npz"
_ROWS = 256  # rows decoded at a time; writers keep dictionary values, which rows share, below 1 MB
_BYTES = 1 << 25


class Places(NamedTuple):
    """Where the images of a file lie in the file that they are unpacked to.

    Attributes:
        starts: position of the first byte of each row's image, int64.
        sizes: its number of bytes, int64; 0 if a row has no image.
    """

    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


def unpacked(path: Path, table: Any, column: str) -> Places:
    """Unpack the images of a file, unless that has been done, and return their places.

    Args:
        path: path of the Parquet file.
        table: the file, opened as a `pyarrow.parquet.ParquetFile`.
        column: column that holds the bytes; a field of a struct is written after a dot.

    Raises:
        DataError: there is no room in the cache.
        OSError: the file is damaged, or the disk is full.
        ValueError: the file is damaged.
    """
    kept = kept_of(path)
    if (found := _read_kept(kept)) is not None:
        return found
    kept.parent.mkdir(parents=True, exist_ok=True)
    with _alone(kept), full_disk_named(kept.parent, "make room, or set TLAAM_CACHE to a folder on another disk."):
        if (found := _read_kept(kept)) is not None:
            return found
        _require_room(path, table, column, kept.parent)
        made = kept.with_name(f".{kept.name}.tmp")
        shutil.rmtree(made, ignore_errors=True)  # left by a process that was killed
        made.mkdir()
        places = _write(made / IMAGES, table, column)
        write_atomically(made / _PLACES, to_bytes(places._asdict(), _KINDS))
        shutil.rmtree(kept, ignore_errors=True)
        made.replace(kept)
    forget_places()
    return places


def _write(file: Path, table: Any, column: str) -> Places:
    """Write the bytes of all rows and return their places."""
    starts, sizes, end = [], [], 0
    rows = max(1, min(_ROWS, _BYTES * max(1, table.metadata.num_rows) // max(1, _bytes_of(table, column))))
    done = 0
    with file.open("wb") as stream, progress_bar("unpacking images") as show:
        for batch in table.iter_batches(batch_size=rows, columns=[column], use_threads=False):
            array = batch.column(0)
            if column.endswith(".bytes") and array.type.num_fields:
                array = array.flatten()[0]
            kind = np.int64 if str(array.type).startswith("large") else np.int32
            _, offsets, content = array.buffers()
            ends = np.frombuffer(offsets, kind)[array.offset : array.offset + len(array) + 1].astype(np.int64)
            if content is not None:
                stream.write(memoryview(content)[int(ends[0]) : int(ends[-1])])
            size = np.diff(ends)
            starts.append(end + ends[:-1] - ends[0])
            sizes.append(
                np.where(array.is_null().to_numpy(zero_copy_only=False), 0, size) if array.null_count else size
            )
            end += int(ends[-1] - ends[0])
            done += len(array)
            show(done, table.metadata.num_rows)
    if done != table.metadata.num_rows:
        raise ValueError(f"of {table.metadata.num_rows:,} rows there are images of {done:,}")
    empty = [np.zeros(0, np.int64)]
    return Places(np.concatenate(starts or empty), np.concatenate(sizes or empty))


def _bytes_of(table: Any, column: str) -> int:
    """Return the uncompressed size of a column in bytes, as stated in the file."""
    groups = (table.metadata.row_group(number) for number in range(table.metadata.num_row_groups))
    chunks = (group.column(place) for group in groups for place in range(group.num_columns))
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)


def _require_room(path: Path, table: Any, column: str, folder: Path) -> None:
    needed, free = _bytes_of(table, column), shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"The images of '{path}' take {needed / 1e9:,.1f} GB unpacked, and '{folder}' has {free / 1e9:,.1f} GB "
            "left. Make room, or set TLAAM_CACHE to a folder on another disk."
        )


def _read_kept(kept: Path) -> Places | None:
    try:
        places = Places(**arrays_of((kept / _PLACES).read_bytes(), _KINDS))
        held = (kept / IMAGES).stat().st_size
    except UNFIT:  # none yet, or damaged
        return None
    ends = places.starts + places.sizes
    return places if len(places.starts) == len(places.sizes) and int(ends.max(initial=0)) <= held else None


@contextmanager
def _alone(kept: Path) -> Iterator[None]:
    """Wait until no other process is unpacking the same file."""
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(kept.with_name(f"{kept.name}.lock"), kept))
                break
            except RunError:
                time.sleep(0.2)
        yield


__all__ = ["Places", "unpacked"]
