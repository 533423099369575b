"""Predicting any number of images into files of a thousand each, in one or many processes, safe against kills.

Each file holds the answers for consecutive images and is written atomically. Existing files are not computed again, so
repeating the command after a kill finishes the work: no row is lost and none occurs twice. Each file has a hidden
checksum file beside it; a file that was damaged since is computed again. Processes divide the files among them by
number and need no communication.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from tlaam.errors import MissingPackageError, RunError
from tlaam.inference.engine import Engine
from tlaam.inference.inputs import iter_images, left_out_of_inputs
from tlaam.inference.prediction import Prediction
from tlaam.utils.atomic import full_disk_named, remove_leftovers, write_atomically, write_json, write_text
from tlaam.utils.checksums import checksum, checksum_of, sidecar, sidecar_path
from tlaam.utils.lock import locked
from tlaam.utils.reading import read_text
from tlaam.utils.work_sharing import Share

Format = Literal["jsonl", "parquet"]
SHARD = 1000
PLAN = "plan.json"
"""Name of the file that records which images and which model the answers in a folder belong to."""


@dataclass(frozen=True)
class Summary:
    """What a process did.

    Attributes:
        images: total number of images.
        predicted: number of images that this process answered for in this call.
        found: number of its images that were answered for before.
        failures: number of images in this call that could not be read.
    """

    images: int
    predicted: int
    found: int
    failures: int


def predict_into(
    folder: Path | str,
    engine: Engine,
    inputs: str | Path | Iterable[str | Path],
    *,
    top_k: int = 5,
    kind: Format = "jsonl",
    shard_size: int = SHARD,
    share: Share | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda line: None,
    describe: Callable[[Prediction], dict[str, Any]] = lambda prediction: {},
    done_with: Callable[[Path], None] = lambda file: None,
) -> Summary:
    """Predict images into ``part-000000.jsonl`` (or ``.parquet``) and so on, with `shard_size` rows each.

    Rows are those of ``predict --json`` plus the image's number, ``row``, counted from 0 over all images.

    Args:
        folder: where the files go; a folder with part of the same work is continued.
        engine: computes the answers; the work of another model is not continued.
        inputs: files, folders, patterns and CSV manifests (`iter_images`). They are iterated twice and never held in
            memory.
        top_k: number of classes per image.
        kind: format of the files.
        shard_size: images per file.
        share: which files belong to this process; by default as torchrun or SLURM define it, else all.
        progress: called with (images passed by this process, images in all).
        say: called with one line of text for each damaged file that is computed again, and for pictures of a type that
            is not read.
        describe: returns additional fields for a row.
        done_with: called with each file of this process, in order, once it exists.

    Raises:
        RunError: the folder holds the predictions of other images, another model or other options, another process of
            the same number works there, or the disk is full.
        DataError: a folder or pattern contains no image, or a manifest cannot be used.
        MissingPackageError: Parquet is requested, and pyarrow is not installed.
    """
    share = share or Share.of_environment()
    folder = Path(folder)
    if not isinstance(inputs, (str, Path)):
        inputs = list(inputs)
    if kind == "parquet":
        _require_pyarrow()
    folder.mkdir(parents=True, exist_ok=True)
    with (
        full_disk_named(folder, "continue with the same command."),
        locked(folder / f".lock-{share.rank}", folder),
    ):
        count = _settle_plan(folder, inputs, engine, top_k, kind, shard_size)
        for line in left_out_of_inputs(inputs) if share.rank == 0 else ():
            say(line)
        if share.world_size == 1:
            remove_leftovers(folder)
        predicted = found = failures = passed = 0
        images = iter_images(inputs)
        for number, paths in enumerate(_cut(images, shard_size)):
            file = folder / f"part-{number:06d}.{kind}"
            if share.has(number):
                if _is_intact(file, say):
                    found += len(paths)
                else:
                    rows = []
                    for row, answer in enumerate(engine.predict(paths), start=number * shard_size):
                        rows.append({"row": row, **answer.to_dict(top_k), **describe(answer)})
                        failures += answer.error is not None
                        progress(passed + len(rows), count)
                    _write(file, _lines(rows) if kind == "jsonl" else _parquet(rows, engine.answering is not None))
                    predicted += len(paths)
                done_with(file)
            passed += len(paths)
            progress(passed, count)
    return Summary(count, predicted, found, failures)


def _write(file: Path, content: bytes) -> None:
    """Write a file of answers, and before it its checksum in the format of ``sha256sum``, so that no file lacks one."""
    for path in (sidecar_path(file), file):
        remove_leftovers(file.parent, path.name)
    write_text(sidecar_path(file), sidecar(file.name, content))
    write_atomically(file, content)


def _is_intact(file: Path, say: Callable[[str], None]) -> bool:
    """Return whether a file of answers exists unchanged; older versions wrote no checksum."""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return False
    try:
        stated = sidecar_path(file).read_bytes()
    except FileNotFoundError:
        return True
    if stated == sidecar(file.name, content).encode():
        return True
    say(f"{file} is damaged: its checksum does not fit its content. It is made anew.")
    return False


def _cut(images: Iterator[str], size: int) -> Iterator[list[str]]:
    while piece := list(islice(images, size)):
        yield piece


def _settle_plan(
    folder: Path,
    inputs: str | Path | list[str | Path],
    engine: Engine,
    top_k: int,
    kind: Format,
    shard_size: int,
) -> int:
    """Record the plan of the work, or check it against the existing one; return the number of images."""
    count, of = _counted(iter_images(inputs))
    plan = {
        "images": count,
        "of": of,
        "model": engine.model.checksum,
        "classes": checksum("\0".join(engine.classes).encode("utf-8", "surrogateescape")),
        "top_k": top_k,
        "format": kind,
        "shard_size": shard_size,
        "precision": engine.model.precision,
        "answering": None if engine.answering is None else engine.answering.digest(),
        "objects": engine.objects,
        "boxes": None if engine.boxes is None else engine.boxes.digest(),
    }
    path = folder / PLAN
    if not path.exists():
        write_json(path, plan)
        return count
    try:
        begun = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged; give a new folder.") from error
    if not isinstance(begun, dict):
        raise RunError(f"{path} is damaged; give a new folder.")
    others = {"images": "images", "of": "images", "model": "model", "classes": "model"}
    for name in ("precision", "model"):  # older versions did not always record them
        begun[name] = plan[name] if begun.get(name) is None else begun[name]
    differing = dict.fromkeys(others.get(name, name) for name, value in plan.items() if begun.get(name) != value)
    if differing:
        raise RunError(
            f"{folder} holds predictions that were begun with other {' and '.join(differing)}; give the same again to "
            "continue, or begin anew: with another folder (of a table, another file), or after removing this one."
        )
    return count


def checksum_of_images(images: Iterable[str]) -> str:
    """Return the checksum of images, by their paths in order, that a folder's plan stores."""
    return _counted(images)[1]


def _counted(images: Iterable[str]) -> tuple[int, str]:
    count = 0

    def names() -> Iterator[bytes]:
        nonlocal count
        for image in images:
            count += 1
            yield os.fsencode(image) + b"\0"

    of = checksum_of(names())
    return count, of


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode("ascii") + b"\n" for row in rows)


def _require_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise MissingPackageError("Parquet needs pyarrow: pip install pyarrow, or leave --format jsonl.") from error


def _parquet(rows: list[dict[str, Any]], ranked: bool) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet

    top = pa.list_(pa.struct([("label", pa.string()), ("probability", pa.float64())]))
    box = pa.list_(pa.float64())
    branches = list(dict.fromkeys(name for row in rows for name in row["branches"]))
    schema = pa.schema([
        ("row", pa.int64()), ("path", pa.string()), ("predictions", top),
        ("branches", pa.struct([(name, top) for name in branches or ["none"]])),
        ("verdict", pa.string()), ("similarity", pa.float64()),
        ("confidence", pa.string()), ("familiarity", pa.float64()), ("object_box", box), ("part_boxes", pa.list_(box)),
        ("error", pa.string()),
    ])  # fmt: skip
    if "photo" in rows[0]:
        schema = schema.append(pa.field("photo", pa.struct([
            ("width", pa.int64()), ("height", pa.int64()), ("time", pa.string()), ("camera", pa.string()),
            ("latitude", pa.float64()), ("longitude", pa.float64()),
        ])))  # fmt: skip
    if any("objects" in row for row in rows):
        schema = schema.append(pa.field("objects", pa.string()))
        rows = [{**row, "objects": json.dumps(row["objects"])} if "objects" in row else row for row in rows]
    if ranked:
        taxa = [("rank", pa.string()), ("taxon", pa.string()), ("taxon_probability", pa.float64())]
        for name, kind in (*taxa, ("lineage", pa.string()), ("outside", top.value_type)):
            schema = schema.append(pa.field(name, kind))
        rows = [{**row, "lineage": json.dumps(row["lineage"])} if "lineage" in row else row for row in rows]
    # Parquet's text is UTF-8; other bytes in a file name are written as JSON escapes.
    safe = json.loads(json.dumps(rows).encode("ascii"), object_hook=_valid_text)
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(safe, schema=schema), stream)
    return stream.getvalue()


def _valid_text(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in values.items()
    }
