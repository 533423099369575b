"""The same drawn images as folders, tar archives and Parquet."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ("crow", "jay")


def picture(seed: int, side: int = 24, kind: str = "PNG") -> bytes:
    """Return the file of an image of noise."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def class_folders(root: Path, each: int = 3) -> Path:
    """Write ``train/<class>/<n>.png`` and ``val/…``, each image another."""
    seed = 0
    for split in ("train", "val"):
        for name in CLASSES:
            for number in range(each):
                file = root / split / name / f"{number}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(picture(seed))
                seed += 1
    return root


def packed(archive: Path, root: Path, format: int = tarfile.PAX_FORMAT) -> Path:
    """Pack what lies in a folder."""
    with tarfile.open(archive, "w", format=format) as tar:
        tar.add(root, arcname=".")
    return archive


def archive_of(path: Path, members: dict[str, bytes]) -> Path:
    """Write an archive of these files."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def table_of(path: Path, columns: dict[str, Any], names: dict[str, list[str]] | None = None, **options: Any) -> Path:
    """Write a Parquet file; `names` are those of the classes by column, as Hugging Face's datasets writes them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(columns)
    if names:
        features = {name: {"names": given, "_type": "ClassLabel"} for name, given in names.items()}
        info = {"info": {"features": {"image": {"_type": "Image"}, **features}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def as_parquet(root: Path, into: Path) -> Path:
    """Write the images of class folders as shards, in the order in which they are read."""
    for split, title in (("train", "train"), ("val", "validation")):
        files = sorted((root / split).rglob("*.png"))
        table_of(
            into / "data" / f"{title}-00000-of-00001.parquet",
            {
                "image": [{"bytes": file.read_bytes(), "path": file.name} for file in files],
                "label": [CLASSES.index(file.parent.name) for file in files],
            },
            {"label": list(CLASSES)},
            row_group_size=4,
        )
    return into
