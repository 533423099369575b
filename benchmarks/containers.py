"""What it takes to train from a tar archive or from Parquet: the start, its memory, and images a second.

    python benchmarks/containers.py FOLDER --out results/containers.json [--rows 1000000]

One small picture is repeated in FOLDER, which gets the containers, a folder of some of the same files, and a cache of
its own. The start is that of `tlaam train` with a network of a few thousand weights until its first image is asked for,
in a process of its own; the first time nothing is in the cache, the second time it is. Loading takes turns in one
process on one thread, with a folder of the same files, and picks images at random; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 10
GROUP = 1000  # rows of a row group, as Hugging Face's datasets writes images
SIDE = 64


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--images", type=int, default=1000, help="that are loaded in a round [1000]")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--started", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.started:
        start(given.folder, Path(given.started[0]), float(given.started[1]))
    picture = _picture()
    given.folder.mkdir(parents=True, exist_ok=True)
    sources = {
        "folder": _folder(given.folder / "photos", picture, given.images),
        "tar": _tar(given.folder / f"photos-{given.rows}.tar", picture, given.rows),
        "Parquet": _parquet(given.folder / f"table-{given.rows}", picture, given.rows),
    }
    cache = given.folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    os.environ["TLAAM_CACHE"] = str(cache)
    starts: dict[str, Any] = {}
    for name in ("tar", "Parquet"):
        starts[name] = {turn: _started(given.folder, sources[name]) for turn in ("first", "again")}
    loading = _loading(sources, given.images, given.rounds)

    from tlaam.runs.environment import environment

    record = {
        "command": shlex.join(["python", *sys.argv]),
        "machine": environment(),
        "rows": given.rows,
        "bytes of the picture": len(picture),
        "start": starts,
        **loading,
    }
    print(json.dumps(record, indent=2))
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def start(folder: Path, source: Path, began: float) -> None:
    """Train until the first image is asked for, print the seconds since `began` and the most memory held, and end."""
    import resource

    from tlaam.cli.main import main as tlaam
    from tlaam.training.dataset import TrainingImages

    def first(images: TrainingImages, key: object) -> None:
        images.samples[0].picture()
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        used = {"seconds": time.time() - began, "processor seconds": time.process_time(), "gigabytes": most / 1e9}
        print(json.dumps({name: round(value, 3) for name, value in used.items()}), flush=True)
        os._exit(0)

    TrainingImages.__getitem__ = first  # type: ignore[method-assign, assignment]
    options = ["--backbone", "test_efficientnet", "--pretrained", "none", "--image-size", "64", "--source-size", "64"]
    options += ["--epochs", "1", "--workers", "0", "--batch-size", "8", "--accelerator", "cpu", "--localizer", "oaam"]
    shutil.rmtree(folder / "run", ignore_errors=True)
    sys.exit(tlaam(["train", str(source), "--out", str(folder / "run"), *options]) or 1)


def _started(folder: Path, source: Path) -> dict[str, float]:
    command = [sys.executable, __file__, str(folder), "--started", str(source), repr(time.time())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _loading(sources: dict[str, Path], count: int, rounds: int) -> dict[str, Any]:
    import torch

    from tlaam.data.open import open_dataset
    from tlaam.training.dataset import TrainingImages
    from tlaam.training.transforms import Augment

    torch.set_num_threads(1)
    augment = Augment(SIDE, flip=True, jitter=0.2, crop_scale=1)
    ways = {n: TrainingImages(open_dataset(s).split("train"), SIDE, augment, 0) for n, s in sources.items()}
    random = np.random.default_rng(0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, images in ways.items():
            chosen = random.integers(len(images), size=count).tolist()
            began = time.perf_counter()
            for index in chosen:
                images[0, index]
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {
        "images a second and core": {name: round(count / statistics.median(times)) for name, times in seconds.items()},
        "times as many as from a folder": {
            name: round(statistics.median(a / b for a, b in zip(seconds["folder"], times, strict=True)), 3)
            for name, times in seconds.items()
        },
    }


def _picture() -> bytes:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    noise = np.random.default_rng(0).integers(0, 24, (SIDE, SIDE, 3))
    pixels = (noise + np.stack([rows * 2, columns * 2, rows + columns], axis=-1)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


def _splits(rows: int) -> dict[str, int]:
    return {"train": rows - rows // 100, "validation": rows // 100}


def _folder(root: Path, picture: bytes, images: int) -> Path:
    for number in range(images):
        file = root / f"class{number % CLASSES}" / f"{number:07d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(picture)
    return root


def _tar(path: Path, picture: bytes, rows: int) -> Path:
    if not path.exists():
        with path.with_suffix(".part").open("wb") as stream:
            for split, count in _splits(rows).items():
                for number in range(count):
                    info = tarfile.TarInfo(f"{split}/class{number % CLASSES}/{number:07d}.jpg")
                    info.size = len(picture)
                    stream.write(info.tobuf(tarfile.USTAR_FORMAT) + picture + bytes(-len(picture) % 512))
            stream.write(bytes(10240))
        path.with_suffix(".part").rename(path)
    return path


def _parquet(root: Path, picture: bytes, rows: int) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    features = {
        "image": {"_type": "Image"},
        "label": {"names": [f"c{n}" for n in range(CLASSES)], "_type": "ClassLabel"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    for split, count in _splits(rows).items():
        path = root / "data" / f"{split}-00000-of-00001.parquet"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        images = pa.array(
            [{"bytes": picture, "path": None}] * GROUP, pa.struct({"bytes": pa.binary(), "path": pa.string()})
        )
        table = pa.table({"image": images, "label": [n % CLASSES for n in range(GROUP)]})
        table = table.replace_schema_metadata(metadata)
        part = path.with_suffix(".part")
        with pq.ParquetWriter(part, table.schema, use_dictionary=False) as writer:
            for start in range(0, count, GROUP):
                writer.write_table(table.slice(0, min(GROUP, count - start)))
        part.rename(path)
    return root


if __name__ == "__main__":
    main()
