"""Images in Parquet files, as on the Hugging Face hub: a column with the images' bytes and one with labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tlaam.data.container import PARQUET, kept_of, reference
from tlaam.data.labels import LabelFault, label_of, sorted_labels
from tlaam.data.parquet_columns import Columns, columns_of, listed_names
from tlaam.data.parquet_images import unpacked
from tlaam.data.rules import require_usable_classes, split_of
from tlaam.data.sample import LabelledImages, Sample, Split
from tlaam.data.shards import Shard, holds_shards, shards_of
from tlaam.data.split_columns import MANY, ColumnFault, split_columns
from tlaam.errors import DataError, MissingPackageError, TlaamError
from tlaam.utils.collector import collector_paused
from tlaam.utils.extras import install_hint
from tlaam.utils.reading import require_regular

_YES = frozenset(("1", "1.0", "true", "t", "yes", "y"))
_UNLABELLED = -1  # as in published test sets whose labels are withheld


class _Cells(NamedTuple):
    """A column with few distinct values: for each row the index of its value, -1 if it is empty."""

    numbers: NDArray[np.int64]
    values: list[Any]


class _Read(NamedTuple):
    """The rows of one file: labels and groups by name (None for rows without), and splits; and notes on them."""

    labels: list[str | None]
    splits: list[Split]
    groups: list[str | None]
    notes: list[str]


def is_parquet(path: Path) -> bool:
    """Whether a path is a Parquet file, or a folder of such files that holds no other images."""
    return path.name.lower().endswith(PARQUET) if path.is_file() else holds_shards(path, (PARQUET,))


@collector_paused()
def read_parquet(root: Path, /, *, strict: bool = True, label: str | None = None) -> LabelledImages:
    """Read one Parquet file, or a folder of them, and unpack its images into the cache unless that has been done.

    `tlaam.data.parquet_columns` says which columns are read. The split is that of the file's name or folder, of a
    column ``split``, or of a column that names splits as in a manifest. A sample is named by its file and row. Classes
    are the labels, sorted, by value if all are numbers; classes without images are left out.

    Args:
        strict: refuse classes that cannot be learned (`require_usable_classes`).
        label: the label column, if several may be it.

    Raises:
        DataError: a file is damaged or lacks these columns, or a row has no label.
        MissingPackageError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(f"'{root}' is Parquet, which needs pyarrow: {install_hint('parquet')}") from error
    shards, notes = shards_of(root, (PARQUET,))
    read: list[tuple[Shard, _Read, Any]] = []
    said: dict[str, None] = {}
    named: set[str] = set()
    size = 0
    for shard in shards:
        with _opened(shard.path) as table:
            columns = columns_of(shard.path, table.schema_arrow, label)
            said.update(dict.fromkeys(columns.notes))
            named.update(columns.names or ())
            rows = _rows(shard, table, columns)
            said.update(dict.fromkeys(rows.notes))
            if rows.labels and not any(name is not None for name in rows.labels) and {*rows.splits} == {"test"}:
                notes.append(f"Left out: '{shard.name}' with {len(rows.labels):,} test images: unlabelled.")
                continue
            _require_labels(shard, columns, rows)
            places = unpacked(shard.path, table, columns.bytes)
            size += int(places.sizes.sum())
        read.append((shard, rows, places))
    if not any(rows.labels for _, rows, _ in read):
        raise DataError(f"'{root}' has no row with a label. Give Parquet files with images and labels.")
    classes = sorted_labels({name for _, rows, _ in read for name in set(rows.labels) if name is not None})
    if not named and all(name.isdigit() for name in classes):
        said["Classes are called by their numbers: no names stand in the file."] = None
    if absent := sorted(named.difference(classes)):
        said[f"Classes without an image are left out: {listed_names(absent)}."] = None
    number: Mapping[str | None, int] = {name: at for at, name in enumerate(classes)}
    samples = tuple(
        Sample(reference(file, start, size), f"{shard.name}/{row}", number[name], split, group=group)
        for shard, rows, places in read
        for file in [str(shard.path)]
        for row, (start, size, name, split, group) in enumerate(
            zip(places.starts.tolist(), places.sizes.tolist(), rows.labels, rows.splits, rows.groups, strict=True)
        )
    )
    where = kept_of(read[0][0].path).parent
    notes += [*said, f"The images are read from where they are unpacked, '{where}' ({size / 1e9:,.2f} GB)."]
    title = root.stem if root.is_file() else root.resolve().name
    option = "" if label is None else f"label={label}"
    data = LabelledImages(title, root, "parquet", classes, samples, option, notes=tuple(notes))
    return require_usable_classes(data) if strict else data


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file for reading in pieces; faults, also those met while reading, become a DataError that names it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    require_regular(path)
    try:
        with pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False) as table:
            yield table
    except TlaamError:
        raise
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, KeyError, IndexError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        fault = " ".join(str(error).split())[:300].rstrip(".")
        raise DataError(f"'{path}' cannot be read as Parquet ({fault}). Get it anew.") from error


def _rows(shard: Shard, table: Any, columns: Columns) -> _Read:
    cells = _cells(table, columns.label)
    names = [_name(shard, columns, cells, value) for value in cells.values]
    labels = [names[number] if number >= 0 else None for number in cells.numbers.tolist()]
    split: Split = shard.split or "train"
    splits: list[Split] = [split] * len(labels)
    by: tuple[str, ...] = ()
    if columns.split:
        given = _cells(table, columns.split)
        found = [_split(shard, value) for value in given.values]
        splits = [found[number] if number >= 0 else "train" for number in given.numbers.tolist()]
        if shard.split is not None and {*splits} - {shard.split}:
            raise DataError(
                f"'{shard.path}' is {shard.split} by its name, but column 'split' says otherwise. Rename it."
            )
    elif shard.split is None:
        marked, by = _marked(shard, table, columns.others) or (splits, ())
        splits = marked
    groups: list[str | None] = [None] * len(labels)
    if columns.group:
        given = _cells(table, columns.group)
        texts = [str(value).strip() or None for value in given.values]
        groups = [texts[number] if number >= 0 else None for number in given.numbers.tolist()]
    said = [f"Taken for the splits: the column{'s' if len(by) > 1 else ''} {listed_names(by)}."] if by else []
    unread = [name for name in columns.rest if name.lower() not in by]
    said += [f"Not read: the column{'s' if len(unread) > 1 else ''} {listed_names(unread)}."] if unread else []
    return _Read(labels, splits, groups, said)


def _marked(shard: Shard, table: Any, others: Sequence[str]) -> tuple[list[Split], tuple[str, ...]] | None:
    """Return the splits from columns with other names (`tlaam.data.split_columns`); None if there are none."""
    found: dict[str, _Cells] = {}
    for name in others if table.metadata.num_row_groups else ():
        if (
            table.read_row_group(0, columns=[name], use_threads=False)
            .column(0)
            .combine_chunks()
            .unique()
            .to_pylist()[MANY:]
        ):
            continue
        cells = _cells(table, name)
        if len(cells.values) <= MANY:
            found[name.lower()] = _Cells(cells.numbers, [*(str(value).strip().lower() for value in cells.values), ""])
    seen = {
        name: frozenset(cells.values[number] for number in np.unique(cells.numbers)) for name, cells in found.items()
    }
    shares = {
        name: float(np.isin(cells.numbers, [n for n, v in enumerate(cells.values) if v in _YES]).mean())
        for name, cells in found.items()
        if len(cells.numbers)
    }
    try:
        marks = split_columns({name: seen[name] for name in shares}, shares)
        if marks is None:
            return None
        columns = [found[name] for name in marks.columns]
        rows = zip(*(cells.numbers.tolist() for cells in columns), strict=True)
        known: dict[tuple[int, ...], Split] = {}
        splits = [
            known[row]
            if row in known
            else known.setdefault(row, marks.read([c.values[n] for c, n in zip(columns, row, strict=True)]))
            for row in rows
        ]
        return splits, marks.columns
    except ColumnFault as error:
        raise DataError(f"'{shard.path}': {error.args[0]}. {error.args[1]}") from error


def _cells(table: Any, column: str) -> _Cells:
    cells = table.read(columns=[column], use_threads=False).column(0).combine_chunks()
    if len(cells) != table.metadata.num_rows:
        raise ValueError(f"of {table.metadata.num_rows:,} rows, column '{column}' has {len(cells):,}")
    cells = cells if hasattr(cells, "indices") else cells.dictionary_encode()
    if hasattr(cells, "chunks"):  # an empty column, in some versions
        return _Cells(np.zeros(0, np.int64), [])
    return _Cells(
        cells.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), cells.dictionary.to_pylist()
    )


def _name(shard: Shard, columns: Columns, cells: _Cells, value: Any) -> str | None:
    """Return the class name for a value of the label column; None if the value says that there is no label."""
    if value is None:
        return None
    fault, remedy = "", "Correct it."
    if columns.names is not None and isinstance(value, int):
        if value == _UNLABELLED:
            return None
        if 0 <= value < len(columns.names):
            return columns.names[value]
        fault = f"holds {value}, but the file names {len(columns.names)} classes"
    elif isinstance(value, str):
        try:
            return label_of(value.strip()) if value.strip() else None
        except LabelFault as error:
            fault, remedy = error.args
    else:
        return str(value)
    row = int(np.flatnonzero(cells.numbers == cells.values.index(value))[0])
    raise DataError(f"'{shard.path}' row {row}: column '{columns.label}' {fault}. {remedy}")


def _require_labels(shard: Shard, columns: Columns, rows: _Read) -> None:
    if None in rows.labels:
        raise DataError(
            f"'{shard.path}' row {rows.labels.index(None)}: column '{columns.label}' holds no label. Fill it in, or "
            "leave the row out."
        )


def _split(shard: Shard, value: Any) -> Split:
    split = split_of(str(value)) if str(value).strip() else "train"
    if split is None:
        raise DataError(f"'{shard.path}': column 'split' holds '{value}', but must be train, val or test. Correct it.")
    return split


__all__ = ["is_parquet", "read_parquet"]
