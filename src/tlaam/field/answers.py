"""The answers of ``predict --into FOLDER``, read one by one from their files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tlaam.errors import MissingPackageError, RunError
from tlaam.field.answer import Answer, answer_of
from tlaam.inference.shards import PLAN
from tlaam.utils.reading import read_text


class Answers(Iterable[Answer]):
    """The answers in a folder, in the order of the input images; they are read lazily, not held in memory.

    Args:
        folder: the folder given to ``--into``.

    Attributes:
        plan: identifies the images and the model of these answers.
        shard_size: number of images per file.

    Raises:
        RunError: the folder holds no answers.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.plan: dict[str, Any] = json.loads(read_text(folder / PLAN))
            self._count, self.shard_size = int(self.plan["images"]), int(self.plan["shard_size"])
            kind, files = self.plan["format"], range(-(-self._count // self.shard_size))
        except FileNotFoundError as error:
            raise RunError(f"{folder} holds no answers of tlaam predict --into.") from error
        except (ValueError, KeyError, TypeError, ZeroDivisionError, RecursionError) as error:
            raise RunError(f"{folder / PLAN} is damaged; give a new folder.") from error
        self.files = [folder / f"part-{number:06d}.{kind}" for number in files]

    def __len__(self) -> int:
        return self._count

    @property
    def are_complete(self) -> bool:
        """Whether there is an answer for every image."""
        return all(file.exists() for file in self.files)

    @property
    def are_ranked(self) -> bool:
        """Whether answers are given by taxonomic rank."""
        return self.plan.get("answering") is not None

    def __iter__(self) -> Iterator[Answer]:
        return (answer_of(record) for record in self.records())

    def paths(self) -> Iterator[str]:
        """Yield the paths of the images."""
        return (record["path"] for record in self.records())

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the rows as stored.

        Raises:
            RunError: a file is missing or damaged.
        """
        for file in self.files:
            yield from records_of(file)


def records_of(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one file of answers.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        if file.suffix == ".parquet":
            yield from _table(file)
            return
        with file.open(encoding="ascii") as stream:
            for line in stream:
                yield json.loads(line)
    except FileNotFoundError as error:
        raise RunError(f"{file} is missing; give the same command again, which makes it.") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} is damaged; give the same command again, which makes it anew.") from error


def _table(file: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingPackageError("Parquet needs pyarrow: pip install pyarrow, or leave --format jsonl.") from error
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(file).to_pylist()
    for row in rows:
        row["predictions"] = row["predictions"] or []
        for name in ("objects", "lineage"):  # stored as JSON, since all rows of a table share one schema
            if isinstance(row.get(name), str):
                row[name] = json.loads(row[name])
    return rows
