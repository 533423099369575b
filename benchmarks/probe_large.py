"""The probe beyond memory: random features of 100,000 images of 1,000 classes, in a file, λ by a held-out fold.

    python benchmarks/probe_large.py --out benchmarks/results/probe-large.json

Features are class means plus noise, 3 views of 1,792 (2.15 GB), images in the order of classes. References: the nearest
of the true means, which nothing can beat, and of the means of the images that were not held out, which is the best rule
there is for somebody who knows that the noise is the same everywhere.
"""

from __future__ import annotations

from tlaam.utils.allocator import keep_freed_memory

keep_freed_memory()

import argparse  # noqa: E402
import json  # noqa: E402
import shlex  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402
from unittest.mock import patch  # noqa: E402

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from tlaam.probe.features import FeatureStore  # noqa: E402
from tlaam.probe.minibatch import MinibatchPath  # noqa: E402
from tlaam.probe.solver import fit_probe  # noqa: E402
from tlaam.runs.environment import environment  # noqa: E402

FOLDS = 5
L2S = tuple(10.0**-number for number in range(7))
BATCH = 1000


def measured(images: int, classes: int, views: int, width: int, apart: float, folder: Path) -> dict[str, Any]:
    """Return what the probe made of random features, and what it took.

    Args:
        images: N.
        classes: C.
        views: V.
        width: features of a view.
        apart: standard deviation of the class means in each feature; the noise's is 1.
        folder: of the features' file.
    """
    random = np.random.default_rng(0)
    means = apart * random.standard_normal((classes, views, width), dtype=np.float32)
    labels = np.sort(np.arange(images) % classes)
    folds = np.arange(images) % FOLDS
    steps: list[dict[str, Any]] = []
    at = MinibatchPath.at

    def noted(path: MinibatchPath, l2: float, *wanted: Any, **others: Any) -> Any:
        began, worked, before = time.perf_counter(), time.process_time(), path.passes
        probe = at(path, l2, *wanted, **others)
        steps.append({
            "l2": l2, "images": len(path.rows), "passes": path.passes - before,
            "objective": round(path.objective, 6), "above the least, at most": round(path.gap, 7),
            "seconds": round(time.perf_counter() - began, 1),
            "processor seconds": round(time.process_time() - worked, 1),
        })  # fmt: skip
        print(steps[-1], file=sys.stderr)
        return probe

    with FeatureStore(images, views, width, folder) as store, memory() as peak:
        began = time.perf_counter()
        for start in range(0, images, BATCH):
            batch = labels[start : start + BATCH]
            store.append(means[batch] + random.standard_normal((len(batch), views, width), dtype=np.float32))
        filled, worked = time.perf_counter() - began, time.process_time()
        features = store.array.reshape(images, -1)
        held = peak()
        with patch.object(MinibatchPath, "at", noted):
            fit = fit_probe(features, labels, classes, folds, L2S)
        fitted, worked = time.perf_counter() - began - filled, time.process_time() - worked
        away = fit.held_out
        answers = fit.out_of_fold[away].argmax(1)
        learnt = np.stack([features[(labels == label) & ~away].mean(0) for label in range(classes)])
        known = {
            "nearest true mean": nearest(features, np.flatnonzero(away), means.reshape(classes, -1)),
            "nearest mean of the images not held out": nearest(features, np.flatnonzero(away), learnt),
        }
        return {
            "images": images, "classes": classes, "views": views, "features of a view": width,
            "GB of features": round(features.nbytes / 1e9, 2), "in a file": store.on_disk,
            "standard deviation of the means, of the noise's": apart,
            "seconds to fill the store": round(filled, 1),
            "seconds to fit": round(fitted, 1),
            "processor seconds to fit, of all cores together": round(worked, 1),
            "passes": round(sum(step["passes"] * step["images"] for step in steps) / images, 1),
            "GB of memory at most, without the file's pages": round(peak() / 1e9, 2),
            "GB of memory before the fit": round(held / 1e9, 2),
            "l2": fit.l2, "temperature": round(fit.temperature, 3),
            "held out": int(away.sum()),
            "top-1 of the held out": float((answers == labels[away]).mean()),
            **{f"top-1 of the held out, {name}": float((of == labels[away]).mean()) for name, of in known.items()},
            "objective of the probe": steps[-1]["objective"],
            "of it, above the least, at most": steps[-1]["above the least, at most"] / steps[-1]["objective"],
            "steps": steps,
        }  # fmt: skip


def nearest(features: NDArray[np.float32], rows: NDArray[np.int64], means: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the class ``(n,)`` whose mean ``(C, K)`` is nearest to each of some rows of features ``(N, K)``."""
    half = np.square(means).sum(1) / 2
    return np.concatenate([(features[part] @ means.T - half).argmax(1) for part in np.array_split(rows, 10)])


@contextmanager
def memory() -> Iterator[Any]:
    """Yield a function that returns the most memory in bytes that the process has had of its own (Linux).

    The pages of a mapped file are not counted: the system takes them back when something else needs room.
    """
    most, done = [0], threading.Event()

    def look() -> None:
        while True:
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            most[0] = max(most[0], *(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)
            if done.wait(0.05):
                return

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield lambda: most[0]
    finally:
        done.set()
        thread.join()


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="of the features' file; the system's temporary one by default")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--width", type=int, default=1792, help="features of each of three views")
    parser.add_argument("--apart", type=float, default=0.1)
    parser.add_argument("--note", help="what else there is to know of the machine")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.gettempdir())
    figures = measured(given.images, given.classes, 3, given.width, given.apart, folder)
    record = {"command": shlex.join(sys.argv), "note": given.note, "machine": environment(), **figures}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
