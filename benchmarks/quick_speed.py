"""What a user waits for, in minutes instead of hours: ``benchmarks/speed.py --quick [--against SRC]``.

Import, help, a prediction of some images as a whole process, answering and a training epoch within one. With
``--against`` the same is done with another version's source, in turns, so that a busy machine slows both alike; ratios
are medians over rounds. The other version may be as old as 0.1.0.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

IMAGES, ROUNDS = 48, 5
SETTINGS = [
    "--backbone", "tf_efficientnet_lite0", "--pretrained", "none", "--image-size", "224", "--source-size", "448",
    "--localizer", "foreground", "--pseudo-mask-size", "224", "--epochs", "2", "--raw-epochs", "1", "--batch-size", "8",
    "--workers", "0", "--val-fraction", "0", "--no-report", "--no-gallery", "--accelerator", "cpu",
]  # fmt: skip

_ANSWERING = """
import glob, statistics, sys, time
run, photos = sys.argv[1:]
try:
    from tlaam.utils.allocator import keep_freed_memory
    from tlaam.inference.engine import load_engine
except ImportError:  # version 0.1.0
    from tlaam.allocator import keep_freed_memory
    from tlaam.prediction import Predictor as load_engine
keep_freed_memory()
began = time.perf_counter()
engine = load_engine(run)
loaded = time.perf_counter() - began
files, seconds = sorted(glob.glob(photos + "/*/*.jpg")), []
for _ in range(3):
    began = time.perf_counter()
    assert all(answer.error is None for answer in engine.predict(files))
    seconds.append((time.perf_counter() - began) / len(files))
print(loaded, statistics.median(seconds))
"""


def quick(against: Path | None) -> dict[str, Any]:
    """Return the medians of each measure in seconds, and of their ratios to the other version's, where there is one."""
    sources = {"now": Path(__file__).parents[1] / "src", **({} if against is None else {"before": against})}
    times: dict[str, dict[str, list[float]]] = {name: {} for name in sources}
    with tempfile.TemporaryDirectory() as folder:
        photos = _photographs(Path(folder) / "photos")
        for turn in range(ROUNDS):
            for name, source in sources.items():
                for measure, seconds in _measured(source, Path(folder) / f"{name}-{turn}", photos).items():
                    times[name].setdefault(measure, []).append(seconds)
                print(f"round {turn + 1} of {ROUNDS}, {name} done", file=sys.stderr)
    found: dict[str, Any] = {
        name: {measure: statistics.median(values) for measure, values in measures.items()}
        for name, measures in times.items()
    }
    if against is not None:
        found["ratio"] = {
            measure: statistics.median(now / then for now, then in zip(values, times["before"][measure], strict=True))
            for measure, values in times["now"].items()
        }
    return found


def _photographs(folder: Path) -> Path:
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("crow", "jay", "wren"):
        (folder / name).mkdir(parents=True)
        for number in range(IMAGES // 3):
            cells = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            Image.fromarray(cells).resize((800, 600), Image.Resampling.BICUBIC).save(folder / name / f"{number}.jpg")
    return folder


def _measured(source: Path, run: Path, photos: Path) -> dict[str, float]:
    def timed(*arguments: object) -> tuple[float, str]:
        began = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(source), "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(
            [sys.executable, *map(str, arguments)], env=environment, capture_output=True, text=True, cwd=run.parent
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        return time.perf_counter() - began, done.stdout

    imported = min(timed("-c", "import tlaam")[0] for _ in range(3))
    helped = min(timed("-m", "tlaam", "--help")[0] for _ in range(3))
    timed("-m", "tlaam", "train", photos, "--out", run, *SETTINGS)
    rows = (run / "history.csv").read_text(encoding="utf-8").splitlines()
    epoch = float(rows[2].rpartition(",")[2])  # the second: all branches
    whole, _ = timed("-m", "tlaam", "predict", run, photos, "--json", run / "answers.jsonl")
    _, said = timed("-c", _ANSWERING, run, photos)
    loaded, answered = map(float, said.split())
    return {
        "import tlaam": imported, "tlaam --help": helped, "training epoch": epoch, "tlaam predict": whole,
        "loading": loaded, "answering an image": answered,
    }  # fmt: skip
